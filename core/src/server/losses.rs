//! What a server has lost when it ended, as the errors of a stop and of a lost connection tell it.

use std::error::Error as StdError;
use std::fmt;

use crate::persist::LostWrite;
use crate::persist::queue::Lost;

/// What was accepted and not done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses {
    pub(crate) unfinished: Vec<UnfinishedCalls>,
    pub(crate) panicked: Vec<PanickedEndpoint>,
    pub(crate) connection: Option<String>,
    pub(crate) lost: Lost,
}

/// The calls of an endpoint that were not finished when the server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnfinishedCalls {
    /// The name of the service.
    pub service: String,
    /// The name of the endpoint.
    pub endpoint: String,
    /// The number of calls.
    pub calls: usize,
}

/// An endpoint whose dispatcher has panicked, which is a bug of this crate: its requests were not answered since then.
///
/// A panic of a handler does not count here: it ends its call and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PanickedEndpoint {
    /// The name of the service.
    pub service: String,
    /// The name of the endpoint.
    pub endpoint: String,
}

/// What a server has lost when it stopped.
#[derive(Clone, Debug)]
pub struct StopError(Losses);

/// The connection of a server was lost for good, and the server has ended: what it had accepted and could not do any more.
///
/// It is no interruption, which async-nats repairs by itself. The connection was drained or closed, or async-nats's task for it has
/// panicked, as it does when a message with a malformed header arrives. [`RunningServer::closed`](crate::RunningServer::closed) and
/// [`Server::serve_until`](crate::Server::serve_until) return it.
#[derive(Clone, Debug)]
pub struct ConnectionLost(Losses);

impl Losses {
    /// The result of a stop: an error if anything was lost.
    pub(crate) fn into_result(self) -> Result<(), StopError> {
        let is_nothing = self.unfinished.is_empty()
            && self.panicked.is_empty()
            && self.connection.is_none()
            && self.lost.count == 0;
        if is_nothing {
            Ok(())
        } else {
            Err(StopError(self))
        }
    }

    /// Adds calls that were open at a moment from which on none could be answered.
    pub(crate) fn with_unanswered(mut self, unanswered: Vec<UnfinishedCalls>) -> Self {
        for open in unanswered {
            let is_same = |it: &&mut UnfinishedCalls| {
                (&it.service, &it.endpoint) == (&open.service, &open.endpoint)
            };
            match self.unfinished.iter_mut().find(is_same) {
                Some(known) => known.calls = known.calls.max(open.calls),
                None => self.unfinished.push(open),
            }
        }
        self
    }

    pub(crate) fn into_connection_lost(self) -> ConnectionLost {
        ConnectionLost(self)
    }
}

impl StopError {
    /// The calls that were dropped.
    #[must_use]
    pub fn unfinished_calls(&self) -> &[UnfinishedCalls] {
        &self.0.unfinished
    }

    /// The endpoints whose dispatchers have panicked.
    #[must_use]
    pub fn panicked_endpoints(&self) -> &[PanickedEndpoint] {
        &self.0.panicked
    }

    /// The fault of the connection, if there was one: the last replies may not have arrived.
    #[must_use]
    pub fn connection(&self) -> Option<&str> {
        self.0.connection.as_deref()
    }

    /// The writes and deletions that were given up since the start of the server: the first 1,000 of them.
    #[must_use]
    pub fn lost_writes(&self) -> &[LostWrite] {
        &self.0.lost.listed
    }

    /// The number of writes and deletions that were given up since the start of the server.
    #[must_use]
    pub fn lost_write_count(&self) -> usize {
        self.0.lost.count
    }
}

impl ConnectionLost {
    /// The calls that ran or waited. Their callers get no answer.
    #[must_use]
    pub fn unfinished_calls(&self) -> &[UnfinishedCalls] {
        &self.0.unfinished
    }

    /// The writes and deletions that were given up since the start of the server: the first 1,000 of them. Those that were sent and not
    /// acknowledged are among them; they may have been made.
    #[must_use]
    pub fn lost_writes(&self) -> &[LostWrite] {
        &self.0.lost.listed
    }

    /// The number of writes and deletions that were given up since the start of the server.
    #[must_use]
    pub fn lost_write_count(&self) -> usize {
        self.0.lost.count
    }
}

impl From<ConnectionLost> for StopError {
    fn from(lost: ConnectionLost) -> Self {
        Self(lost.0)
    }
}

impl Losses {
    fn list(&self) -> Vec<String> {
        let mut losses = Vec::new();
        for UnfinishedCalls {
            service,
            endpoint,
            calls,
        } in &self.unfinished
        {
            let calls = counted(*calls, "call", "calls");
            losses.push(format!("{calls} of `{service}.{endpoint}` dropped"));
        }
        for PanickedEndpoint { service, endpoint } in &self.panicked {
            losses.push(format!("the task of `{service}.{endpoint}` panicked"));
        }
        if self.lost.count > 0 {
            let writes = counted(self.lost.count, "write", "writes");
            losses.push(match self.lost.listed.first() {
                Some(first) => format!("{writes} given up, the first being the {first}"),
                None => format!("{writes} given up"),
            });
        }
        losses
    }
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut losses = self.0.list();
        if let Some(connection) = &self.0.connection {
            losses.push(format!("replies may not have arrived: {connection}"));
        }
        write!(f, "the server stopped with losses: {}", losses.join("; "))
    }
}

impl fmt::Display for ConnectionLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection to NATS is lost for good, connect and start again; ")?;
        let losses = self.0.list();
        if losses.is_empty() {
            f.write_str("nothing that was accepted is lost")
        } else {
            f.write_str(&losses.join("; "))
        }
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

impl StdError for StopError {}

impl StdError for ConnectionLost {}
