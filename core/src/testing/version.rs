//! Which version of nats-server a binary is.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Asks a binary for its version, which also shows that it runs on this machine.
pub(super) fn version(binary: &Path) -> Result<semver::Version, String> {
    let shown = binary.display();
    let output = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{shown}` cannot be run: {error}"))?;
    // "nats-server: v2.15.1"
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .rsplit_once(": v")
        .and_then(|(_, version)| version.parse().ok())
        .ok_or_else(|| {
            format!(
                "`{shown} --version` does not tell a version of nats-server: {:?}",
                text.trim()
            )
        })
}
