use std::{error::Error, fmt};

/// What went wrong with a [`NatsServer`](super::NatsServer) or a [`NatsCluster`](super::NatsCluster).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatsServerErrorKind {
    /// No nats-server binary was found, and none could be fetched.
    NotFound,
    /// The server did not start, or ended before it was ready.
    Start,
    /// A connection to the server could not be made.
    Connect,
    /// The server was not started by this handle, so it cannot be killed, restarted or paused.
    NotOwned,
    /// The server is not running: it was killed, or it ended by itself.
    NotRunning,
    /// A file, directory or process could not be used.
    Io,
}

impl fmt::Display for NatsServerErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no usable nats-server",
            Self::Start => "nats-server did not start",
            Self::Connect => "cannot connect to nats-server",
            Self::NotOwned => "nats-server was not started by this handle",
            Self::NotRunning => "nats-server is not running",
            Self::Io => "io error",
        })
    }
}

/// The error of everything in [`testing`](super): a kind to branch on, a message for people, and the cause if there is one.
///
/// `Debug` prints the same text as `Display`, because tests show errors with `unwrap` and `main` returns them, and
/// the message can be several lines long: the log of a server that did not start, or what was tried to find one.
pub struct NatsServerError {
    kind: NatsServerErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl NatsServerError {
    pub(super) fn new(kind: NatsServerErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(super) fn with_source(
        kind: NatsServerErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            message: message.into(),
            source: Some(source.into()),
        }
    }

    /// What went wrong, to branch on.
    #[must_use]
    pub fn kind(&self) -> NatsServerErrorKind {
        self.kind
    }
}

impl fmt::Display for NatsServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for NatsServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for NatsServerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}
