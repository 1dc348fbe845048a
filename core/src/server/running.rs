use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::persist::LostWrite;
use crate::persist::queue::{AllLost, Lost, Queue};
use crate::server::call::Endpoint;
use crate::server::discovery::{Instance, ServiceInfo, ServiceStats};
use crate::server::dispatch::Phase;
use crate::transport::subject;

/// A started [`Server`](crate::Server).
///
/// Dropping it ends the services: no more requests are taken, calls that run are answered, and queued writes are done as
/// long as the runtime lives. [`stop`](Self::stop) waits for all of that, and says whether it succeeded.
#[must_use = "dropping a `RunningServer` ends its services; keep it, and call `stop` in the end"]
pub struct RunningServer {
    pub(crate) nats: async_nats::Client,
    pub(crate) drain_timeout: Duration,
    pub(crate) instances: Vec<Arc<Instance>>,
    pub(crate) discovery: Vec<Task>,
    pub(crate) endpoints: Vec<RunningEndpoint>,
    pub(crate) phase: watch::Sender<Phase>,
    /// Closed when all endpoints have left their queue groups.
    pub(crate) left_queue_groups: mpsc::Receiver<Infallible>,
    pub(crate) queues: Vec<Arc<Queue>>,
    pub(crate) lost: AllLost,
}

pub(crate) struct RunningEndpoint {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) unfinished: Arc<AtomicUsize>,
    pub(crate) task: JoinHandle<()>,
}

/// A task that ends when this is dropped.
pub(crate) struct Task(pub(crate) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RunningServer {
    /// What the services say of themselves, in the order in which they were added.
    #[must_use]
    pub fn info(&self) -> Vec<ServiceInfo> {
        self.instances
            .iter()
            .map(|instance| instance.info())
            .collect()
    }

    /// What the services have done so far, in the order in which they were added.
    #[must_use]
    pub fn stats(&self) -> Vec<ServiceStats> {
        self.instances
            .iter()
            .map(|instance| instance.stats())
            .collect()
    }

    /// Sets the statistics back to zero.
    pub fn reset(&self) {
        for instance in &self.instances {
            instance.reset();
        }
    }

    /// Leaves the queue groups, answers what was accepted, stores what is queued, and ends.
    ///
    /// `Ok` means that nothing was lost: every request that reached this server was answered, and every response that was to
    /// be stored since the start is stored, and every entry deleted that was to be. It takes as long as the calls that run, up to the drain timeout; then they are
    /// dropped, their callers get `UNAVAILABLE`, and the error lists them. The connection stays open.
    pub async fn stop(mut self) -> Result<(), StopError> {
        let deadline = subject::after(Instant::now(), self.drain_timeout);
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut connection = self.leave_queue_groups(deadline).await.err();

        self.phase.send_replace(Phase::Draining);
        let unfinished = self.finish_calls(deadline).await;
        futures::future::join_all(self.queues.iter().map(|queue| queue.drain(deadline))).await;
        self.discovery.clear();
        // The replies are on their way; wait until the server has them. They get a moment even if the time is up.
        let arrived = subject::round_trip(&self.nats, left().max(Duration::from_secs(1))).await;
        connection = connection.or(arrived.err());

        let error = StopError {
            unfinished,
            connection,
            lost: self
                .lost
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        };
        if error.is_nothing() {
            Ok(())
        } else {
            Err(error)
        }
    }

    /// Returns when all requests that the server sent to these subscriptions have arrived, and no more will come.
    async fn leave_queue_groups(&mut self, deadline: Instant) -> Result<(), String> {
        self.phase.send_replace(Phase::Leaving);
        if tokio::time::timeout_at(deadline, self.left_queue_groups.recv())
            .await
            .is_err()
        {
            return Err("the connection does not take commands".to_owned());
        }
        subject::round_trip(
            &self.nats,
            deadline.saturating_duration_since(Instant::now()),
        )
        .await
    }

    /// Waits for the calls that run or wait; at the deadline, drops them and returns what was dropped.
    async fn finish_calls(&mut self, deadline: Instant) -> Vec<UnfinishedCalls> {
        let mut late = Vec::new();
        for running in &mut self.endpoints {
            if tokio::time::timeout_at(deadline, &mut running.task)
                .await
                .is_err()
            {
                late.push(running);
            }
        }
        self.phase.send_replace(Phase::Ended);
        // A handler that blocks its thread cannot be dropped; it is not waited for.
        let end = Instant::now() + Duration::from_secs(1);
        let mut unfinished = Vec::new();
        for running in late {
            let ended = tokio::time::timeout_at(end, &mut running.task)
                .await
                .is_ok();
            let calls = running.unfinished.load(Ordering::Relaxed);
            if calls > 0 || !ended {
                unfinished.push(UnfinishedCalls {
                    service: running.endpoint.names.service.clone(),
                    endpoint: running.endpoint.names.endpoint.clone(),
                    // One that was never left to the runtime is not counted yet.
                    calls: calls.max(1),
                });
            }
        }
        unfinished
    }
}

impl fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningServer")
            .field("services", &self.info())
            .finish_non_exhaustive()
    }
}

/// What a stopped server had to give up.
#[derive(Clone, Debug)]
pub struct StopError {
    unfinished: Vec<UnfinishedCalls>,
    connection: Option<String>,
    lost: Lost,
}

/// Calls that were still running when the drain time was over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnfinishedCalls {
    /// The name of the service.
    pub service: String,
    /// The name of the endpoint.
    pub endpoint: String,
    /// How many there were.
    pub calls: usize,
}

impl StopError {
    fn is_nothing(&self) -> bool {
        if self.lost.count > 0 {
            return false;
        }
        self.unfinished.is_empty() && self.connection.is_none()
    }

    /// The calls that were dropped.
    #[must_use]
    pub fn unfinished_calls(&self) -> &[UnfinishedCalls] {
        &self.unfinished
    }

    /// The responses that were not stored and the entries that were not deleted, since the start of the server: up to 1,000
    /// of them.
    #[must_use]
    pub fn lost_writes(&self) -> &[LostWrite] {
        &self.lost.listed
    }

    /// How many responses were not stored, and entries not deleted.
    #[must_use]
    pub fn lost_write_count(&self) -> usize {
        self.lost.count
    }
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server stopped with losses:")?;
        for UnfinishedCalls {
            service,
            endpoint,
            calls,
        } in &self.unfinished
        {
            write!(f, " {calls} calls of `{service}.{endpoint}` were dropped;")?;
        }
        if self.lost.count > 0 {
            write!(f, " {} writes were given up", self.lost.count)?;
            if let Some(first) = self.lost.listed.first() {
                write!(f, ", the first being the {first}")?;
            }
            f.write_str(";")?;
        }
        if let Some(connection) = &self.connection {
            write!(f, " replies may not have arrived: {connection};")?;
        }
        Ok(())
    }
}

impl StdError for StopError {}
