//! A started server, as its owner and others hold it. Its parts belong to the task of `end`.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::context::Names;
use crate::contract::discovery::{ServiceInfo, ServiceStats};
use crate::server::discovery::Instance;
use crate::server::end::{self, Ended, Parts};
use crate::server::health::Health;
use crate::server::losses::{ConnectionLost, Losses, StopError};
use crate::transport::gate::{ConnectionState, Gate};

/// A started [`Server`](crate::Server).
///
/// Dropping it ends the services: no more requests are accepted, running calls are answered, and queued writes are made as long as the
/// runtime lives. [`stop`](Self::stop) waits for all of that, and returns whether it succeeded.
#[must_use = "dropping a `RunningServer` ends its services; keep it, and call `stop` in the end"]
pub struct RunningServer {
    handle: ServerHandle,
    /// Nothing is ever sent: the server ends when it is dropped.
    _alive: mpsc::Sender<Infallible>,
}

/// A handle of a [`RunningServer`], for probes, signal handlers and others. Cheap to clone. It does not keep the server alive.
///
/// ```no_run
/// use natsmicro::{RunningServer, ServerState};
///
/// # async fn example(server: RunningServer) -> Result<(), Box<dyn std::error::Error>> {
/// let handle = server.handle();
/// tokio::spawn(async move {
///     let _ = tokio::signal::ctrl_c().await;
///     handle.stop().await
/// });
/// if server.handle().state() == ServerState::Serving {
///     println!("ready");
/// }
/// server.closed().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServerHandle(Arc<Shared>);

struct Shared {
    gate: Gate,
    instances: Vec<Arc<Instance>>,
    /// The dispatchers of the endpoints.
    dispatchers: Vec<(Arc<Names>, AbortHandle)>,
    /// Set to true to stop the server.
    stop: watch::Sender<bool>,
    ended: watch::Receiver<Option<Ended>>,
}

/// What a server does; see [`ServerHandle::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerState {
    /// It serves requests.
    Serving,
    /// It was told to stop, and finishes what it has accepted.
    Draining,
    /// The connection is interrupted. async-nats connects again, and the server goes on then.
    Disconnected,
    /// It has ended: it was stopped or dropped, or the connection is lost for good.
    Closed,
}

impl RunningServer {
    /// Starts the task that ends the parts.
    pub(crate) fn new(parts: Parts, instances: Vec<Arc<Instance>>) -> Self {
        let (stop, stops) = watch::channel(false);
        let (ended_sender, ended) = watch::channel(None);
        let (alive, is_alive) = mpsc::channel(1);
        let dispatchers = parts.endpoints.iter();
        let dispatchers = dispatchers.map(|it| (Arc::clone(&it.names), it.task.abort_handle()));
        let handle = ServerHandle(Arc::new(Shared {
            gate: parts.gate.clone(),
            instances,
            dispatchers: dispatchers.collect(),
            stop,
            ended,
        }));
        tokio::spawn(end::run(parts, stops, is_alive, ended_sender));
        Self {
            handle,
            _alive: alive,
        }
    }

    /// A handle of the server, to be kept elsewhere.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// The discovery information of the services, in the order in which they were added.
    #[must_use]
    pub fn info(&self) -> Vec<ServiceInfo> {
        self.handle.info()
    }

    /// The statistics of the services, in the order in which they were added.
    #[must_use]
    pub fn stats(&self) -> Vec<ServiceStats> {
        self.handle.stats()
    }

    /// Sets the statistics back to zero.
    pub fn reset(&self) {
        self.handle.reset();
    }

    /// What the server does at the moment.
    #[must_use]
    pub fn state(&self) -> ServerState {
        self.handle.state()
    }

    /// Whether the server works; see [`ServerHandle::health`].
    #[must_use]
    pub fn health(&self) -> Health {
        self.handle.health()
    }

    /// Waits until the server has ended; see [`ServerHandle::closed`].
    pub async fn closed(&self) -> Result<(), ConnectionLost> {
        self.handle.closed().await
    }

    /// Leaves the queue groups, answers the accepted requests, makes the queued writes, and ends.
    ///
    /// `Ok` means that nothing was lost since the start: every request that reached this server was answered, and every write and deletion
    /// of its methods was made. It takes as long as the running calls, up to the drain timeout; then they are dropped, their callers get
    /// `UNAVAILABLE`, and the error lists them. The connection stays open. If it is lost, there is nothing to wait for, and the error says
    /// so.
    ///
    /// A connection that may not publish to its own inbox cannot prove that the last requests have arrived: then this waits a second for
    /// them, and for the replies until the socket has them.
    ///
    /// A stop goes on if this future is dropped.
    pub async fn stop(self) -> Result<(), StopError> {
        self.handle.stop().await
    }
}

impl ServerHandle {
    /// The discovery information of the services, in the order in which they were added.
    #[must_use]
    pub fn info(&self) -> Vec<ServiceInfo> {
        let instances = &self.0.instances;
        instances.iter().map(|instance| instance.info()).collect()
    }

    /// The statistics of the services, in the order in which they were added.
    #[must_use]
    pub fn stats(&self) -> Vec<ServiceStats> {
        let instances = &self.0.instances;
        instances.iter().map(|instance| instance.stats()).collect()
    }

    fn reset(&self) {
        for instance in &self.0.instances {
            instance.reset();
        }
    }

    /// What the server does at the moment.
    #[must_use]
    pub fn state(&self) -> ServerState {
        if self.0.ended.borrow().is_some() {
            return ServerState::Closed;
        }
        match self.0.gate.state() {
            ConnectionState::Closed => ServerState::Closed,
            _ if *self.0.stop.borrow() => ServerState::Draining,
            ConnectionState::Disconnected => ServerState::Disconnected,
            ConnectionState::Connected => ServerState::Serving,
        }
    }

    /// Whether the server works, for the probes of an orchestrator: one that is not live needs a new start, and one that is not ready
    /// should get no traffic.
    ///
    /// With [`ConnectionEvents`](crate::ConnectionEvents), a server is not live either when NATS has ended a subscription of it, since its
    /// permissions have changed.
    ///
    /// ```no_run
    /// # fn example(handle: natsmicro::ServerHandle) {
    /// let health = handle.health();
    /// if !health.live {
    ///     eprintln!("start again: {}", health.reasons.join(", "));
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn health(&self) -> Health {
        let state = self.state();
        // A dispatcher ends with the server, and before that only by a panic.
        let is_running = matches!(state, ServerState::Serving | ServerState::Disconnected);
        let ended = self.0.dispatchers.iter();
        let ended = ended.filter(|(_, task)| is_running && task.is_finished());
        let refused = self.0.instances.iter().filter(|_| is_running);
        let refused = refused.flat_map(|instance| instance.refused_subjects(&self.0.gate));
        Health::of(state, ended.map(|(names, _)| &**names), refused)
    }

    /// Waits until the server has ended. `Ok` means that it was stopped or dropped.
    ///
    /// When the connection is lost for good, the server ends within a second: its calls are dropped, since nobody can be answered, and its
    /// queued writes are given up. The error lists them. Connect and start again, as [`Server::serve_until`](crate::Server::serve_until) in
    /// a loop does.
    pub async fn closed(&self) -> Result<(), ConnectionLost> {
        match self.ended().await {
            Ended::ConnectionLost(lost) => Err(lost),
            Ended::Stopped(_) | Ended::Dropped => Ok(()),
        }
    }

    /// Stops the server, as [`RunningServer::stop`] does. May be called several times, and by several: all get the same result.
    ///
    /// For a server that was dropped, this is an error, since nobody has counted what it may have lost.
    pub async fn stop(&self) -> Result<(), StopError> {
        self.0.stop.send_replace(true);
        match self.ended().await {
            Ended::Stopped(result) => result,
            Ended::ConnectionLost(lost) => Err(lost.into()),
            Ended::Dropped => Losses {
                connection: Some("the server was dropped before it was stopped".to_owned()),
                ..Losses::default()
            }
            .into_result(),
        }
    }

    async fn ended(&self) -> Ended {
        let mut ended = self.0.ended.clone();
        let known = ended.wait_for(Option::is_some).await;
        // Fails if the runtime of the server has ended.
        let known = known.ok().and_then(|ended| ended.clone());
        known.unwrap_or(Ended::Dropped)
    }
}

impl fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningServer")
            .field("services", &self.info())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.instances.iter().map(|instance| instance.name());
        f.debug_struct("ServerHandle")
            .field("services", &names.collect::<Vec<_>>())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
