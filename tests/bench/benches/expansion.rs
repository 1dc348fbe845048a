//! What the macro costs a build: `cargo check` of traits with a hundred methods in all, as a user writes them and as they are
//! once expanded. Both texts are those of the macro's own tests. Dependencies are built before, without optimisation, as they
//! are for a user who works on a service.
//!
//! `cargo bench -p natsmicro-bench --bench expansion`

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run ends")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Each copy of the trait has two methods, both with a store.
const COPIES: usize = 50;
const ROUNDS: usize = 9;

const MESSAGES: &str = "
#[derive(Clone, PartialEq, prost::Message)]
pub struct SaveProfileRequest { #[prost(string, tag = \"1\")] pub id: String }
#[derive(Clone, PartialEq, prost::Message)]
pub struct Profile { #[prost(string, tag = \"1\")] pub name: String }
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReportRequest { #[prost(string, tag = \"1\")] pub id: String }
#[derive(Clone, PartialEq, prost::Message)]
pub struct Report { #[prost(string, tag = \"1\")] pub text: String }
";

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = fs::canonicalize(root).unwrap();
    let at = Path::new(env!("CARGO_TARGET_TMPDIR")).join("expansion");
    let text = |file: &str| fs::read_to_string(root.join("macros/snapshots").join(file)).unwrap();
    let copies = |text: &str| {
        let copy = |n| {
            format!(
                "pub mod m{n} {{ use messages::*; use natsmicro::{{Context, Status}};\n{text}\n}}\n"
            )
        };
        (0..COPIES).map(copy).collect::<String>()
    };

    write(
        &at.join("Cargo.toml"),
        "[workspace]\nmembers = [\"messages\", \"annotated\", \"expanded\"]\nresolver = \"3\"\n",
    );
    fs::copy(root.join("Cargo.lock"), at.join("Cargo.lock")).unwrap();
    let core = format!("natsmicro = {{ path = {:?} }}\n", root.join("core"));
    package(&at, "messages", "prost = \"0.14\"\n", MESSAGES);
    let dependencies = core + "messages = { path = \"../messages\" }\n";
    let sources = [
        package(
            &at,
            "annotated",
            &dependencies,
            &copies(&text("quickstart.in.rs")),
        ),
        package(
            &at,
            "expanded",
            &dependencies,
            &copies(&text("quickstart.rs")),
        ),
    ];

    let names = ["annotated", "expanded"];
    let mut best = [Duration::MAX; 2];
    for round in 0..=ROUNDS {
        for ((name, source), best) in names.iter().zip(&sources).zip(&mut best) {
            let code = fs::read(source).unwrap();
            fs::write(source, code).unwrap();
            let took = check(&at, name);
            // The first one builds the dependencies.
            if round > 0 {
                *best = took.min(*best);
            }
        }
    }
    let [annotated, expanded] = best;
    println!(
        "cargo check of {} methods in {COPIES} traits, best of {ROUNDS}:",
        2 * COPIES
    );
    println!("  annotated        {annotated:>8.0?}");
    println!("  expanded before  {expanded:>8.0?}");
    println!(
        "  ratio {:.2}, aim 1.20; the macro takes {:.0?} of it, aim 100ms",
        annotated.as_secs_f64() / expanded.as_secs_f64(),
        annotated.saturating_sub(expanded)
    );
}

fn check(at: &Path, package: &str) -> Duration {
    let begin = Instant::now();
    let status = Command::new(env!("CARGO"))
        .args(["check", "--quiet", "--offline", "--package", package])
        .current_dir(at)
        .env("CARGO_TARGET_DIR", at.join("target"))
        .status()
        .unwrap();
    let took = begin.elapsed();
    assert!(
        status.success(),
        "`cargo check` of `{package}` in {} has failed",
        at.display()
    );
    took
}

/// Writes a package; gives the place of its code.
fn package(at: &Path, name: &str, dependencies: &str, code: &str) -> PathBuf {
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[dependencies]\n{dependencies}"
    );
    write(&at.join(name).join("Cargo.toml"), &manifest);
    let source = at.join(name).join("src/lib.rs");
    write(&source, code);
    source
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
