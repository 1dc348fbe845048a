use std::path::PathBuf;

use super::{NatsServer, NatsServerError, binary, process::Launch};

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
    pub(super) fn new() -> Self {
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
