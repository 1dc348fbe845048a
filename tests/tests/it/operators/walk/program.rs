//! The `nats` program, which operators use.

use std::path::{Path, PathBuf};
use std::process::{self, Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::programs::{fetched, has, not_tested, run};

const VERSION: &str = "v0.5.0";
/// How long a command may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The program, for one nats-server, with a directory of its own.
pub struct Program {
    path: PathBuf,
    url: String,
    directory: PathBuf,
}

/// What the program has answered.
pub struct Answer {
    pub is_done: bool,
    pub text: String,
}

/// Finds the program: `NATS_CLI`, or `nats` on PATH if it is of the version that the walks are written for, or one that is installed with Go.
/// Says so if there is none.
fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("NATS_CLI") {
        return Some(path.into());
    }
    if is_right_version(Path::new("nats")) {
        return Some("nats".into());
    }
    let go = process::Command::new("go").arg("version").output();
    if !go.is_ok_and(|output| output.status.success()) {
        not_tested(&format!(
            "there is neither `nats` {VERSION} nor `go` on PATH, and `NATS_CLI` is not set"
        ));
        return None;
    }
    let place = fetched(&format!("natscli-{VERSION}"), |place| {
        run(process::Command::new("go")
            .args(["install", "-buildvcs=false"])
            .arg(format!("github.com/nats-io/natscli/nats@{VERSION}"))
            .env("GOBIN", place)
            .current_dir(place));
    });
    Some(place.join(format!("nats{}", std::env::consts::EXE_SUFFIX)))
}

fn is_right_version(path: &Path) -> bool {
    let output = process::Command::new(path).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == VERSION)
}

impl Program {
    /// `None` if the program is not there.
    pub fn of(url: &str) -> Option<Self> {
        // What the program asks is answered by a script in Python.
        if !has("python3") {
            return None;
        }
        let path = find()?;
        let name = url.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("walk-{name}"));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        Some(Self {
            path,
            url: url.to_owned(),
            directory,
        })
    }

    /// Where it runs, and finds its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs it in a terminal, and says yes to all that it asks.
    pub async fn run(&self, arguments: &[String]) -> Answer {
        answer(self.output(&mut in_terminal(&self.path), arguments).await)
    }

    /// Runs it in a terminal until it prints a text.
    pub async fn run_until(&self, arguments: &[String], text: &str) {
        let mut command = in_terminal(&self.path);
        let mut child = self.command(&mut command, arguments).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut printed = Vec::new();
        let reading = async {
            let mut part = [0; 4096];
            while !String::from_utf8_lossy(&printed).contains(text) {
                let length = stdout.read(&mut part).await.unwrap();
                printed.extend_from_slice(&part[..length]);
                let text = String::from_utf8_lossy(&printed);
                assert!(length > 0, "{arguments:?} ends: {text}");
            }
        };
        let read = tokio::time::timeout(TIMEOUT, reading).await;
        read.unwrap_or_else(|_| panic!("{arguments:?} does not print {text}"));
        child.kill().await.unwrap();
    }

    /// Runs it without a terminal: what it prints is for other programs.
    pub async fn read(&self, arguments: &[&str]) -> Answer {
        let arguments: Vec<String> = arguments.iter().map(|&it| it.to_owned()).collect();
        answer(self.output(&mut Command::new(&self.path), &arguments).await)
    }

    fn command<'a>(&self, command: &'a mut Command, arguments: &[String]) -> &'a mut Command {
        command
            .arg("--no-context")
            .args(arguments)
            .env("NATS_URL", &self.url)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
    }

    async fn output(&self, command: &mut Command, arguments: &[String]) -> Output {
        let output = self.command(command, arguments).output();
        let output = tokio::time::timeout(TIMEOUT, output).await;
        output
            .unwrap_or_else(|_| panic!("{arguments:?} does not end"))
            .unwrap()
    }
}

/// What the program asks is answered by a script.
fn in_terminal(path: &Path) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/operators/walk");
    let mut command = Command::new("python3");
    command.arg(folder.join("terminal.py")).arg(path);
    command
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn answer(output: Output) -> Answer {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    Answer {
        is_done: output.status.success(),
        text,
    }
}
