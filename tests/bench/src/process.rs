//! The other processes of a run, and what processes use.

use std::fs;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::Sample;

const READY: &str = "ready";

/// Says that the service is ready.
pub(crate) fn say_ready() {
    println!("{READY}");
}

pub(crate) fn print_line(sample: &Sample) {
    println!("{}", serde_json::to_string(sample).expect("JSON"));
}

/// This program in another role; ended on drop.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a process");
        let stdout = child.stdout.take().expect("a pipe");
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    /// Waits until the service says that it is ready.
    pub(crate) async fn ready(&mut self) {
        let line = self.lines.next_line().await.expect("a line");
        assert_eq!(line.as_deref(), Some(READY), "the service has ended");
    }

    /// Waits for what the client has found; `None` if it has failed.
    pub(crate) async fn sample(mut self) -> Option<Sample> {
        let line = self.lines.next_line().await.ok().flatten()?;
        serde_json::from_str(&line).ok()
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }
}

/// The CPU seconds that the threads of a process have used; 0 where the system does not tell.
pub(crate) fn cpu_seconds(id: Option<u32>) -> f64 {
    let tasks = id.and_then(|id| fs::read_dir(format!("/proc/{id}/task")).ok());
    let nanos = tasks.into_iter().flatten().flatten().filter_map(|task| {
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}

/// The memory of this process in MiB; 0 where the system does not tell.
#[must_use]
pub fn memory() -> f64 {
    status("VmRSS:")
}

/// The most that it has ever been.
pub(crate) fn peak_memory() -> f64 {
    status("VmHWM:")
}

fn status(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}
