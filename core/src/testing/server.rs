use std::{
    env,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_nats::{Client, ConnectOptions};

use super::{
    binary,
    error::{NatsServerError, NatsServerErrorKind},
    process::{self, Launch, Process},
};

/// A nats-server that lives as long as this handle.
///
/// Dropping the handle kills the server, waits for its end, which takes a few milliseconds, and removes its data. If
/// this process dies without dropping it, even by `SIGKILL`, a supervisor does the same (on Unix; on Windows the server
/// then goes on).
///
/// The methods that [cause faults](super#faults) take `&self`, so that a test can share the server with its tasks.
#[derive(Debug)]
pub struct NatsServer {
    url: String,
    /// `None` for a server that somebody else runs.
    launched: Option<Launched>,
}

#[derive(Debug)]
struct Launched {
    /// `None` after [`NatsServer::kill`]. Before `launch`, because the server has to end before its directory goes.
    process: Mutex<Option<Process>>,
    /// Held during a restart: two servers cannot have the same port.
    restarting: tokio::sync::Mutex<()>,
    launch: Launch,
    port: u16,
}

impl NatsServer {
    /// Starts a server with JetStream on a free port of the loopback interface, and returns when it accepts
    /// connections.
    pub async fn start() -> Result<Self, NatsServerError> {
        Self::builder().start().await
    }

    /// Starts a server with other settings.
    pub fn builder() -> NatsServerBuilder {
        NatsServerBuilder::new()
    }

    /// Uses the server that the environment variable `NATS_URL` names, or starts one if it is not set.
    ///
    /// A server from `NATS_URL` is never started, killed, restarted or paused by this handle. The variable can hold
    /// several URLs of one cluster with commas between them.
    pub async fn from_env_or_start() -> Result<Self, NatsServerError> {
        match env::var("NATS_URL") {
            Ok(url) if !url.trim().is_empty() => Ok(Self {
                url: url.trim().to_owned(),
                launched: None,
            }),
            _ => Self::start().await,
        }
    }

    async fn launch(launch: Launch) -> Result<Self, NatsServerError> {
        let process = launch.start(None).await?;
        let url = process.url().to_owned();
        let port = url
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| {
                NatsServerError::new(
                    NatsServerErrorKind::Start,
                    format!("the server listens on `{url}`, which has no port"),
                )
            })?;
        Ok(Self {
            url,
            launched: Some(Launched {
                process: Mutex::new(Some(process)),
                restarting: tokio::sync::Mutex::new(()),
                launch,
                port,
            }),
        })
    }

    /// The URL for clients, like `nats://127.0.0.1:41234`. It stays the same over a [`restart`](Self::restart).
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connects a new client with async-nats's default options.
    pub async fn connect(&self) -> Result<Client, NatsServerError> {
        self.connect_with(ConnectOptions::new()).await
    }

    /// Connects a new client with these options.
    ///
    /// The error has the kind [`Connect`](NatsServerErrorKind::Connect) and async-nats's
    /// [`ConnectError`](async_nats::ConnectError) as its source.
    pub async fn connect_with(&self, options: ConnectOptions) -> Result<Client, NatsServerError> {
        connect(&self.url, options).await
    }

    /// The process id of the server; `None` if it is not running, or was not started by this handle.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.launched.as_ref()?.process().as_mut()?.pid()
    }

    /// All that the server has logged, since its first start if it was restarted. Empty if it was not started by this
    /// handle.
    ///
    /// With [`debug_trace`](NatsServerBuilder::debug_trace) this holds every protocol line. The server may write a line a
    /// moment after the client saw the effect, so look for a line in a loop.
    #[must_use]
    pub fn log(&self) -> String {
        self.launched
            .as_ref()
            .map_or_else(String::new, |launched| launched.launch.log())
    }

    /// Kills the server with `SIGKILL` and waits for its end. Its port and its JetStream data are kept for a
    /// [`restart`](Self::restart). Does nothing if it is not running.
    pub fn kill(&self) -> Result<(), NatsServerError> {
        self.launched()?.process().take();
        Ok(())
    }

    /// Starts the server again, on the same port and with the same JetStream data; kills it first if it is running.
    ///
    /// Clients of async-nats reconnect by themselves, a moment after this returns.
    pub async fn restart(&self) -> Result<(), NatsServerError> {
        let launched = self.launched()?;
        let _alone = launched.restarting.lock().await;
        self.kill()?;
        let process = launched.launch.start(Some(launched.port)).await?;
        *launched.process() = Some(process);
        Ok(())
    }

    /// Stops the server with `SIGSTOP`: connections stay open, and nothing is answered until [`resume`](Self::resume).
    #[cfg(unix)]
    pub fn pause(&self) -> Result<(), NatsServerError> {
        self.signal("STOP")?;
        if let Some(pid) = self.pid() {
            process::wait_until_stopped(pid);
        }
        Ok(())
    }

    /// Lets a [paused](Self::pause) server go on.
    #[cfg(unix)]
    pub fn resume(&self) -> Result<(), NatsServerError> {
        self.signal("CONT")
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) -> Result<(), NatsServerError> {
        // Locked until the signal is sent, so that the process id cannot become somebody else's.
        let mut process = self.launched()?.process();
        match process.as_mut().and_then(Process::pid) {
            Some(pid) => process::signal(pid, name),
            None => Err(NatsServerError::new(
                NatsServerErrorKind::NotRunning,
                format!("cannot send it SIG{name}"),
            )),
        }
    }

    pub(super) fn log_tail(&self) -> String {
        self.launched
            .as_ref()
            .map_or_else(String::new, |launched| launched.launch.log_tail())
    }

    fn launched(&self) -> Result<&Launched, NatsServerError> {
        self.launched.as_ref().ok_or_else(|| {
            let message = format!(
                "`{}` comes from NATS_URL and cannot be killed, restarted or paused",
                self.url
            );
            NatsServerError::new(NatsServerErrorKind::NotOwned, message)
        })
    }
}

impl Launched {
    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        // A panic under the lock leaves a process or none, both of which are fine.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to one of the comma-separated `urls`, which async-nats takes only as a list.
pub(super) async fn connect(
    urls: &str,
    options: ConnectOptions,
) -> Result<Client, NatsServerError> {
    let list: Vec<_> = urls
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .collect();
    options.connect(list).await.map_err(|error| {
        NatsServerError::with_source(NatsServerErrorKind::Connect, format!("`{urls}`"), error)
    })
}

/// The settings of a [`NatsServer`], from [`NatsServer::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `start` is called"]
pub struct NatsServerBuilder {
    binary: Option<PathBuf>,
    jetstream: bool,
    config: String,
    debug_trace: bool,
}

impl NatsServerBuilder {
    fn new() -> Self {
        Self {
            binary: None,
            jetstream: true,
            config: String::new(),
            debug_trace: false,
        }
    }

    /// Runs this binary, of whatever version, in place of the one that is [found](super#where-the-binary-comes-from).
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// Whether the server has JetStream, and with it key-value and object stores. It has by default.
    pub fn jetstream(mut self, enabled: bool) -> Self {
        self.jetstream = enabled;
        self
    }

    /// The size of the largest message that the server takes, headers included. 1 MiB by default.
    pub fn max_payload(self, bytes: usize) -> Self {
        self.config(format!("max_payload: {bytes}"))
    }

    /// Adds text in the [format of nats-server's configuration file](https://docs.nats.io/running-a-nats-service/configuration),
    /// for instance `authorization { token: secret }`. What is added by several calls is put on lines of their own;
    /// a setting that is given twice has its last value.
    ///
    /// The address, the port and the JetStream store directory cannot be changed.
    pub fn config(mut self, text: impl AsRef<str>) -> Self {
        self.config.push_str(text.as_ref());
        self.config.push('\n');
        self
    }

    /// Whether the server logs all that it does and each protocol line that it reads or writes, for
    /// [`NatsServer::log`]. Off by default.
    pub fn debug_trace(mut self, enabled: bool) -> Self {
        self.debug_trace = enabled;
        self
    }

    /// Starts the server, and returns when it accepts connections.
    ///
    /// An error has the kind [`NotFound`](super::NatsServerErrorKind::NotFound) if there is no binary, and
    /// [`Start`](super::NatsServerErrorKind::Start), with the end of the server's log, if it ends before it is ready.
    pub async fn start(self) -> Result<NatsServer, NatsServerError> {
        let binary = match self.binary {
            Some(path) => path,
            None => binary::find().await?,
        };
        NatsServer::launch(Launch::new(
            &binary,
            &self.config,
            self.jetstream,
            self.debug_trace,
        )?)
        .await
    }
}
