//! Compares what rustc says about each case of `fail/` with the `.stderr` file next to it.
//!
//! The cases of `pass/` are examples of this package, so `cargo test`, `cargo check` and `cargo clippy` compile them.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The compiler that the `.stderr` files are recorded with. The words of another one differ; what must not compile does not.
const RECORDED_WITH: &str = "1.95";

/// Only the cases whose path contains the value of this variable are run.
const FILTER: &str = "UI_CASE";

#[test]
fn fail() {
    let cases = fail_cases();
    let version = compiler_version();
    if minor(&version) == RECORDED_WITH {
        compile_fail(&cases);
    } else if env::var_os("TRYBUILD").is_none() {
        // Written directly, since `println!` in a test that passes shows nothing.
        writeln!(
            io::stdout(),
            "\nthe messages are recorded with Rust {RECORDED_WITH}: on {version} the cases of `fail/` need only fail to compile"
        )
        .expect("stdout is open");
        again_without_comparison();
    } else {
        compile_fail(&copies(&cases));
    }
}

#[test]
fn every_pass_case_is_an_example() {
    let manifest = fs::read_to_string("Cargo.toml").expect("the manifest is in the package");
    for case in rust_files(Path::new("pass")) {
        let entry = format!("path = \"{}\"", slashed(&case));
        assert!(
            manifest.contains(&entry),
            "{entry} is missing in ui-tests/Cargo.toml"
        );
    }
}

#[test]
fn every_fail_case_says_what_is_wrong_and_has_a_message() {
    let cases = all_fail_cases();
    for case in &cases {
        let source = fs::read_to_string(case).expect("a case can be read");
        assert!(
            source.starts_with("// "),
            "{} does not begin with a comment that says what is wrong",
            slashed(case)
        );
    }
    let groups = fs::read_dir("fail").expect("`fail/` is in the package");
    for group in groups {
        let group = group.expect("`fail/` can be read").path();
        for stderr in files(&group, "stderr") {
            assert!(
                cases.contains(&stderr.with_extension("rs")),
                "{} belongs to no case",
                slashed(&stderr)
            );
        }
    }
}

fn compile_fail(cases: &[PathBuf]) {
    let trybuild = trybuild::TestCases::new();
    for case in cases {
        trybuild.compile_fail(case);
    }
}

/// Runs the test `fail` once more and lets trybuild write down whatever the compiler says.
fn again_without_comparison() {
    let this_test = env::current_exe().expect("a running test has a path");
    let status = Command::new(this_test)
        .args(["fail", "--exact", "--nocapture"])
        .env("TRYBUILD", "overwrite")
        .status()
        .expect("a test can be started twice");
    assert!(status.success(), "a case compiles that should not");
}

/// The cases in a place where trybuild finds no `.stderr` to compare with, and can write its own.
fn copies(cases: &[PathBuf]) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui");
    if directory.exists() {
        fs::remove_dir_all(&directory).expect("the copies of an earlier run can be removed");
    }
    let copy = |case: &PathBuf| {
        let copy = directory.join(case);
        let group = copy.parent().expect("a case is in a group");
        fs::create_dir_all(group).expect("the target directory can be written");
        fs::copy(case, &copy).expect("a case can be copied");
        copy
    };
    cases.iter().map(copy).collect()
}

fn fail_cases() -> Vec<PathBuf> {
    let mut cases = all_fail_cases();
    if let Ok(filter) = env::var(FILTER) {
        cases.retain(|case| slashed(case).contains(&filter));
        assert!(!cases.is_empty(), "no case has `{filter}` in its path");
    }
    cases
}

fn all_fail_cases() -> Vec<PathBuf> {
    let groups = fs::read_dir("fail").expect("`fail/` is in the package");
    let mut cases: Vec<PathBuf> = groups
        .flat_map(|group| rust_files(&group.expect("`fail/` can be read").path()))
        .collect();
    cases.sort();
    cases
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    files(directory, "rs")
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .expect("a directory of cases can be read")
        .map(|entry| entry.expect("a directory of cases can be read").path())
        .filter(|path| path.extension() == Some(OsStr::new(extension)))
        .collect()
}

/// A path as it is written on every system.
fn slashed(path: &Path) -> String {
    path.display().to_string().replace('\\', "/")
}

/// `1.95.0 (59807616e 2026-04-14)` of `rustc 1.95.0 (59807616e 2026-04-14)`.
fn compiler_version() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-V")
        .output()
        .expect("rustc says its version");
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    version.trim().trim_start_matches("rustc ").to_owned()
}

/// `1.95` of `1.95.0 (..)`; a nightly of the same number is another compiler.
fn minor(version: &str) -> &str {
    let number = version.split(' ').next().unwrap_or_default();
    if number.contains('-') {
        return number;
    }
    number.rsplit_once('.').map_or(number, |(minor, _)| minor)
}
