//! Programs that are not ours: what is on PATH, and what is fetched once into cargo's target directory.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether a program is there; says so loudly if not.
pub fn has(program: &str) -> bool {
    let version = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let is_there = version.is_ok_and(|status| status.success());
    if !is_there {
        not_tested(&format!("there is no `{program}` on PATH"));
    }
    is_there
}

/// Says on the terminal that something is not tested; fails with `NATSMICRO_INTEROP=require`.
pub fn not_tested(reason: &str) {
    let text = format!("INTEROPERABILITY NOT TESTED: {reason}\n");
    assert!(
        std::env::var_os("NATSMICRO_INTEROP").is_none_or(|value| value != "require"),
        "{text}"
    );
    // Not `eprintln`, which the test harness keeps to itself.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

pub fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Fills a directory once, however many processes want it, and gives its path.
pub fn fetched(name: &str, fetch: impl FnOnce(&Path)) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let place = root.join(name);
    let lock = File::create(root.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let done = place.join("fetched");
    if !done.exists() {
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        fetch(&place);
        File::create(done).unwrap();
    }
    place
}
