//! Starts a nats-server, waits until it is ready, and sees to it that it ends.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    error::{NatsServerError, NatsServerErrorKind},
    temp_dir::{TempDir, cannot},
};

/// How long a server may take to become ready. It takes some 10 ms, on a busy machine much longer.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a restart tries to get the port of the server back from whoever took it meanwhile.
const PORT_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
const LOG_TAIL_LINES: usize = 25;

/// Runs the server and watches a pipe that only we hold open. A line on it means "kill the server"; its end
/// means that we are dead, by whatever signal, so that the directory has to be removed too.
///
/// Ends as soon as the server ends, with its status. `SIGTERM` is ignored once the end of the pipe was
/// seen, because the last line but one would otherwise race with the removal.
#[cfg(unix)]
const SUPERVISOR: &str = r#"
dir=$1
shift
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
(
    if read -r _ <&3; then
        kill -9 "$server"
        exit
    fi
    trap '' TERM
    kill -9 "$server"
    while kill -0 "$server"; do sleep 0.01; done
    rm -rf "$dir"
) >/dev/null 2>&1 &
watcher=$!
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// All that is needed to start the same server again: its binary, its arguments, and its directory.
#[derive(Debug)]
pub(super) struct Launch {
    binary: PathBuf,
    args: Vec<OsString>,
    dir: TempDir,
}

impl Launch {
    /// `config` is the text of a nats-server configuration file; what is set here wins over it.
    pub(super) fn new(
        binary: &Path,
        config: &str,
        jetstream: bool,
        debug_trace: bool,
    ) -> Result<Self, NatsServerError> {
        let dir = TempDir::new()?;
        // A name without a slash would be looked up on PATH.
        let binary = std::path::absolute(binary).map_err(|error| cannot("find", binary, error))?;
        let mut args = ["--addr", "127.0.0.1", "--ports_file_dir"]
            .map(OsString::from)
            .to_vec();
        args.push(dir.path().join("ports").into());
        if !config.is_empty() {
            let path = dir.path().join("nats-server.conf");
            fs::write(&path, config).map_err(|error| cannot("write", &path, error))?;
            args.extend(["--config".into(), path.into()]);
        }
        if jetstream {
            args.extend([
                "--jetstream".into(),
                "--store_dir".into(),
                dir.path().into(),
            ]);
        }
        if debug_trace {
            args.push("-DV".into());
        }
        Ok(Self { binary, args, dir })
    }

    /// Starts the server on `port`, or on a free one, and returns when it accepts connections.
    pub(super) async fn start(&self, port: Option<u16>) -> Result<Process, NatsServerError> {
        let since = Instant::now();
        loop {
            let logged = self.log().len();
            match self.start_once(port).await {
                // A free port was ours until the server was killed. An outgoing connection of any process, even our own
                // client's attempt to reconnect, may have got it for a moment.
                Err(error)
                    if error.kind() == NatsServerErrorKind::Start
                        && port.is_some()
                        && since.elapsed() < PORT_TIMEOUT
                        && self.log()[logged..].contains("address already in use") =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn start_once(&self, port: Option<u16>) -> Result<Process, NatsServerError> {
        let ports = self.dir.path().join("ports");
        // A killed server leaves its file behind.
        let _ = fs::remove_dir_all(&ports);
        fs::create_dir(&ports).map_err(|error| cannot("create", &ports, error))?;

        let mut child = Running(self.spawn(port)?);
        let since = Instant::now();
        loop {
            // The server writes the file when all its listeners exist, and a listener accepts from then on.
            if let Some((pid, url)) = read_ports(&ports) {
                return Ok(Process { child, pid, url });
            }
            let failure = match child.0.try_wait() {
                Ok(Some(status)) => format!("ended with {status} before it was ready"),
                Ok(None) if since.elapsed() < START_TIMEOUT => {
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                Ok(None) => format!("was not ready after {START_TIMEOUT:?}"),
                Err(error) => return Err(cannot("wait for", &self.binary, error)),
            };
            let message = format!("`{}` {failure}; {}", self.binary.display(), self.log_tail());
            return Err(NatsServerError::new(NatsServerErrorKind::Start, message));
        }
    }

    fn spawn(&self, port: Option<u16>) -> Result<Child, NatsServerError> {
        let path = self.log_path();
        let log = File::options().create(true).append(true).open(&path);
        let (out, err) = log
            .and_then(|log| Ok((log.try_clone()?, log)))
            .map_err(|error| cannot("open", &path, error))?;

        let port = port.map_or("-1".to_owned(), |port| port.to_string());
        self.command()
            .args(&self.args)
            .args(["--port", &port])
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|error| cannot("run", &self.binary, error))
    }

    #[cfg(unix)]
    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", SUPERVISOR, "natsmicro"])
            .arg(self.dir.path())
            .arg(&self.binary)
            .stdin(Stdio::piped());
        // Ctrl-C goes to the whole group in the foreground; the supervisor has to outlive us to clean up.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command
    }

    #[cfg(not(unix))]
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.stdin(Stdio::null());
        command
    }

    /// All that the server has logged since its first start.
    pub(super) fn log(&self) -> String {
        fs::read(self.log_path()).map_or_else(
            |_| String::new(),
            |log| String::from_utf8_lossy(&log).into_owned(),
        )
    }

    /// The end of the log, as the end of an error message.
    pub(super) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        match &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
            [] => "its log is empty".to_owned(),
            tail => format!("the end of its log:\n    {}", tail.join("\n    ")),
        }
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }
}

/// A server that runs, until this is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Running,
    pid: u32,
    url: String,
}

impl Process {
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The process id of the server itself, unless it has ended.
    pub(super) fn pid(&mut self) -> Option<u32> {
        matches!(self.child.0.try_wait(), Ok(None)).then_some(self.pid)
    }
}

/// The supervisor, or the server itself where there is none. Dropping it ends the server and waits for that.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(mut orders) = self.0.stdin.take() {
            // Fails if the server has ended by itself.
            let _ = std::io::Write::write_all(&mut orders, b"end\n");
        }
        #[cfg(not(unix))]
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal, for instance `STOP`, to a process. The shell's `kill` is there even where the command is not.
#[cfg(unix)]
pub(super) fn signal(pid: u32, name: &str) -> Result<(), NatsServerError> {
    let failed = || format!("cannot send SIG{name} to process {pid}");
    let output = Command::new("sh")
        .args([
            "-c",
            r#"kill -"$1" "$2""#,
            "natsmicro",
            name,
            &pid.to_string(),
        ])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| NatsServerError::with_source(NatsServerErrorKind::Io, failed(), error))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NatsServerError::with_source(
        NatsServerErrorKind::Io,
        failed(),
        text,
    ))
}

/// The process id and the URL in `<binary>_<pid>.ports`; `None` while that file is missing or half written.
fn read_ports(dir: &Path) -> Option<(u32, String)> {
    #[derive(serde::Deserialize)]
    struct Ports {
        nats: Vec<String>,
    }

    let path = fs::read_dir(dir)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension() == Some("ports".as_ref()))?;
    let pid = path
        .file_stem()?
        .to_str()?
        .rsplit('_')
        .next()?
        .parse()
        .ok()?;
    let ports: Ports = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    Some((pid, ports.nats.into_iter().next()?))
}

/// A stop signal takes effect a moment after it was sent, on one thread after the other. Where there is no `/proc`, that moment
/// is not waited for.
#[cfg(unix)]
pub(super) fn wait_until_stopped(pid: u32) {
    let runs = |stat: &str| {
        // The name of the program stands in parentheses, and the state follows.
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        !state.starts_with('T')
    };
    for _ in 0..1_000 {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return;
        };
        let any_runs = threads
            .flatten()
            .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok())
            .any(|stat| runs(&stat));
        if !any_runs {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
