//! A started server and its stop: leave the queue groups, finish the calls, drain the queues of writes, and report what was lost.
//!
//! Uses the dispatchers through [`Phase`] and their tasks only. A stop takes no longer than the drain timeout and about two seconds more,
//! and its error lists everything that was accepted and not done.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::backoff;
use crate::context::Names;
use crate::contract::discovery::{ServiceInfo, ServiceStats};
use crate::persist::LostWrite;
use crate::persist::queue::{AllLost, Lost, Queue};
use crate::server::discovery::Instance;
use crate::server::dispatch::Phase;
use crate::transport::gate::Gate;

/// A started [`Server`](crate::Server).
///
/// Dropping it ends the services: no more requests are accepted, running calls are answered, and queued writes are made as long as the
/// runtime lives. [`stop`](Self::stop) waits for all of that, and returns whether it succeeded.
#[must_use = "dropping a `RunningServer` ends its services; keep it, and call `stop` in the end"]
pub struct RunningServer {
    pub(crate) gate: Gate,
    pub(crate) drain_timeout: Duration,
    pub(crate) instances: Vec<Arc<Instance>>,
    pub(crate) discovery: Vec<Task>,
    pub(crate) endpoints: Vec<RunningEndpoint>,
    pub(crate) phase: watch::Sender<Phase>,
    /// Closed when all endpoints have left their queue groups: then the last guard of a dispatcher is dropped.
    pub(crate) left_queue_groups: mpsc::Receiver<Infallible>,
    pub(crate) queues: Vec<Arc<Queue>>,
    pub(crate) lost: AllLost,
}

pub(crate) struct RunningEndpoint {
    pub(crate) names: Arc<Names>,
    /// The number of calls that run or wait.
    pub(crate) unfinished: Arc<AtomicUsize>,
    pub(crate) task: JoinHandle<()>,
}

impl RunningEndpoint {
    fn panicked(&self) -> PanickedEndpoint {
        PanickedEndpoint {
            service: self.names.service.clone(),
            endpoint: self.names.endpoint.clone(),
        }
    }
}

/// A task that is aborted when this is dropped.
pub(crate) struct Task(pub(crate) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RunningServer {
    /// The discovery information of the services, in the order in which they were added.
    #[must_use]
    pub fn info(&self) -> Vec<ServiceInfo> {
        self.instances
            .iter()
            .map(|instance| instance.info())
            .collect()
    }

    /// The statistics of the services, in the order in which they were added.
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

    /// Leaves the queue groups, answers the accepted requests, makes the queued writes, and ends.
    ///
    /// `Ok` means that nothing was lost since the start: every request that reached this server was answered, and every write and deletion
    /// of its methods was made. It takes as long as the running calls, up to the drain timeout; then they are dropped, their callers get
    /// `UNAVAILABLE`, and the error lists them. The connection stays open.
    pub async fn stop(mut self) -> Result<(), StopError> {
        let deadline = backoff::after(Instant::now(), self.drain_timeout);
        let time_left = || deadline.saturating_duration_since(Instant::now());
        let mut connection = self.leave_queue_groups(deadline).await.err();

        self.phase.send_replace(Phase::Draining);
        let Finished {
            unfinished,
            panicked,
        } = finish_calls(&mut self.endpoints, &self.phase, deadline).await;
        futures::future::join_all(self.queues.iter().map(|queue| queue.drain(deadline))).await;
        self.discovery.clear();
        // Waits until the NATS server has the replies and the refusals: at least a second, also if the drain time is over.
        let timeout = time_left().max(Duration::from_secs(1));
        let end = Instant::now() + timeout;
        let arrived = match timeout_at(end, self.gate.drained()).await {
            Ok(()) => {
                let left = end.saturating_duration_since(Instant::now());
                self.gate.round_trip(left).await
            }
            Err(_) => Err("the connection does not take messages".to_owned()),
        };
        connection = connection.or(arrived.err());

        let error = StopError {
            unfinished,
            panicked,
            connection,
            lost: self.lost.lock().clone(),
        };
        if error.is_nothing() {
            Ok(())
        } else {
            Err(error)
        }
    }

    /// Returns when all requests that the NATS server sent to these subscriptions have arrived, and no more will follow.
    async fn leave_queue_groups(&mut self, deadline: Instant) -> Result<(), String> {
        self.phase.send_replace(Phase::Leaving);
        if timeout_at(deadline, self.left_queue_groups.recv())
            .await
            .is_err()
        {
            return Err("the connection does not take commands".to_owned());
        }
        self.gate
            .round_trip(deadline.saturating_duration_since(Instant::now()))
            .await
    }
}

/// How the endpoints ended.
#[derive(Debug, Default)]
struct Finished {
    unfinished: Vec<UnfinishedCalls>,
    panicked: Vec<PanickedEndpoint>,
}

/// Waits for the calls that run or wait. At the deadline, ends the endpoints, and returns the calls that were dropped.
async fn finish_calls(
    endpoints: &mut [RunningEndpoint],
    phase: &watch::Sender<Phase>,
    deadline: Instant,
) -> Finished {
    let mut finished = Finished::default();
    let mut late = Vec::new();
    for running in endpoints {
        match timeout_at(deadline, &mut running.task).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => finished.panicked.push(running.panicked()),
            Err(_) => late.push(running),
        }
    }
    phase.send_replace(Phase::Ended);
    // A handler that blocks its thread cannot be dropped, so the wait is bounded.
    let end = Instant::now() + Duration::from_secs(1);
    for running in late {
        let ended = timeout_at(end, &mut running.task).await;
        if let Ok(Err(_)) = ended {
            finished.panicked.push(running.panicked());
        }
        let calls = running.unfinished.load(Ordering::Relaxed);
        if calls > 0 || ended.is_err() {
            finished.unfinished.push(UnfinishedCalls {
                service: running.names.service.clone(),
                endpoint: running.names.endpoint.clone(),
                // A handler that blocks in its first poll is not counted yet.
                calls: calls.max(1),
            });
        }
    }
    finished
}

impl fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningServer")
            .field("services", &self.info())
            .finish_non_exhaustive()
    }
}

/// What a server has lost when it stopped.
#[derive(Clone, Debug)]
pub struct StopError {
    unfinished: Vec<UnfinishedCalls>,
    panicked: Vec<PanickedEndpoint>,
    connection: Option<String>,
    lost: Lost,
}

/// The calls of an endpoint that were not finished when the drain time was over.
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

impl StopError {
    fn is_nothing(&self) -> bool {
        self.unfinished.is_empty()
            && self.panicked.is_empty()
            && self.connection.is_none()
            && self.lost.count == 0
    }

    /// The calls that were dropped.
    #[must_use]
    pub fn unfinished_calls(&self) -> &[UnfinishedCalls] {
        &self.unfinished
    }

    /// The endpoints whose dispatchers have panicked.
    #[must_use]
    pub fn panicked_endpoints(&self) -> &[PanickedEndpoint] {
        &self.panicked
    }

    /// The fault of the connection, if there was one: the last replies may not have arrived.
    #[must_use]
    pub fn connection(&self) -> Option<&str> {
        self.connection.as_deref()
    }

    /// The writes and deletions that were given up since the start of the server: the first 1,000 of them.
    #[must_use]
    pub fn lost_writes(&self) -> &[LostWrite] {
        &self.lost.listed
    }

    /// The number of writes and deletions that were given up since the start of the server.
    #[must_use]
    pub fn lost_write_count(&self) -> usize {
        self.lost.count
    }
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server stopped with losses: ")?;
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
        if let Some(connection) = &self.connection {
            losses.push(format!("replies may not have arrived: {connection}"));
        }
        f.write_str(&losses.join("; "))
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

impl StdError for StopError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: &str, task: JoinHandle<()>, unfinished: usize) -> RunningEndpoint {
        RunningEndpoint {
            names: Arc::new(Names {
                service: "users".to_owned(),
                endpoint: name.to_owned(),
            }),
            unfinished: Arc::new(AtomicUsize::new(unfinished)),
            task,
        }
    }

    #[tokio::test]
    async fn a_dispatcher_that_panicked_is_an_error() {
        let (phase, mut phases) = watch::channel(Phase::Draining);
        let at_end = async move {
            let _ = phases.wait_for(|phase| matches!(phase, Phase::Ended)).await;
        };
        let mut endpoints = [
            endpoint("sound", tokio::spawn(async {}), 0),
            endpoint("broken", tokio::spawn(async { panic!("planted") }), 0),
            endpoint("late", tokio::spawn(at_end), 1),
        ];
        let now = Instant::now();
        let Finished {
            unfinished,
            panicked,
        } = finish_calls(&mut endpoints, &phase, now + Duration::from_millis(100)).await;
        let error = StopError {
            unfinished,
            panicked,
            connection: None,
            lost: Lost::default(),
        };
        assert!(!error.is_nothing());
        assert_eq!(error.panicked_endpoints().len(), 1);
        assert_eq!(error.panicked_endpoints()[0].endpoint, "broken");
        assert_eq!(
            error.to_string(),
            "the server stopped with losses: 1 call of `users.late` dropped; the task of `users.broken` panicked"
        );
    }
}
