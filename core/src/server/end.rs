//! The end of a server: leave the queue groups, finish the calls, drain the queues of writes, and report what was lost.
//!
//! One task owns the parts of a started server and ends them, whoever asks for it: a stop, the loss of the connection, or the drop of the
//! `RunningServer`. It uses the dispatchers through [`Phase`] and their tasks only. A stop takes no longer than the drain timeout and about
//! two seconds more, and the end after a lost connection less than a second. What was accepted and not done is in the [`Losses`].

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join_all};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::backoff;
use crate::context::{Names, Stopping};
use crate::log::error_limited;
use crate::persist::queue::{AllLost, Queue};
use crate::server::dispatch::Phase;
use crate::server::losses::{ConnectionLost, Losses, PanickedEndpoint, StopError, UnfinishedCalls};
use crate::transport::gate::Gate;
use crate::transport::outgoing::PublishError;
use crate::transport::round_trip::round_trip;

/// How long calls and writes go on after the connection is lost. Writes may be made through another connection, and short calls end.
const GRACE_WITHOUT_CONNECTION: Duration = Duration::from_millis(250);
/// How long a handler may block its thread when its call is dropped, while there is a connection.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

/// What is to be ended.
pub(crate) struct Parts {
    pub(crate) gate: Gate,
    /// The connection of the JetStream context, if anything is stored.
    pub(crate) jetstream: Option<Gate>,
    pub(crate) drain_timeout: Duration,
    pub(crate) discovery: Vec<Task>,
    pub(crate) endpoints: Vec<RunningEndpoint>,
    pub(crate) phase: watch::Sender<Phase>,
    /// Tells handlers that the server is stopping.
    pub(crate) stopping: watch::Sender<Stopping>,
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
    /// The calls that run or wait, at least `min`.
    fn unfinished(&self, min: usize) -> UnfinishedCalls {
        UnfinishedCalls {
            service: self.names.service.clone(),
            endpoint: self.names.endpoint.clone(),
            calls: self.unfinished.load(Ordering::Relaxed).max(min),
        }
    }

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

/// How a server has ended.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    Stopped(Result<(), StopError>),
    ConnectionLost(ConnectionLost),
    /// The `RunningServer` was dropped. Its calls and writes end by themselves, and nobody counts them.
    Dropped,
}

/// Waits until the server has to end, and ends it.
pub(crate) async fn run(
    mut parts: Parts,
    mut stop: watch::Receiver<bool>,
    mut alive: mpsc::Receiver<Infallible>,
    ended: watch::Sender<Option<Ended>>,
) {
    let lost = connections_lost(&parts).boxed().shared();
    let end = tokio::select! {
        biased;
        true = is_asked(&mut stop) => Ended::Stopped(parts.end(lost).await.into_result()),
        _ = alive.recv() => {
            drop(parts);
            Ended::Dropped
        }
        () = lost.clone() => {
            // Those that end by themselves from here on cannot be answered either.
            let unanswered = parts.open_calls();
            let losses = parts.end(lost).await.with_unanswered(unanswered);
            let lost = losses.into_connection_lost();
            error_limited!("{lost}");
            Ended::ConnectionLost(lost)
        }
    };
    ended.send_replace(Some(end));
}

/// Waits until somebody asks for a stop; false if nobody can any more.
async fn is_asked(stop: &mut watch::Receiver<bool>) -> bool {
    stop.wait_for(|stop| *stop).await.is_ok()
}

/// Waits until a connection of the server is closed for good.
fn connections_lost(parts: &Parts) -> impl Future<Output = ()> + use<> {
    let (gate, jetstream) = (parts.gate.clone(), parts.jetstream.clone());
    async move {
        let of_jetstream = async {
            match jetstream {
                Some(jetstream) => jetstream.closed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = gate.closed() => {}
            () = of_jetstream => {}
        }
    }
}

/// The time that an end may take: until its deadline, or shortly after the connection is lost.
#[derive(Clone)]
struct TimeLeft {
    deadline: Instant,
    connection_lost: Shared<BoxFuture<'static, ()>>,
    over: Shared<BoxFuture<'static, ()>>,
}

impl TimeLeft {
    fn new(deadline: Instant, connection_lost: Shared<BoxFuture<'static, ()>>) -> Self {
        let lost = connection_lost.clone();
        let over = async move {
            let without_connection = async {
                lost.await;
                tokio::time::sleep(GRACE_WITHOUT_CONNECTION).await;
            };
            // Ready or timed out, the time is over.
            let _ = timeout_at(deadline, without_connection).await;
        };
        Self {
            deadline,
            connection_lost,
            over: over.boxed().shared(),
        }
    }

    /// Awaits something as long as there is time.
    async fn wait<F: Future>(&self, something: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            done = something => Some(done),
            () = self.over.clone() => None,
        }
    }

    /// How long a handler may block its thread when its call is dropped.
    fn drop_timeout(&self) -> Duration {
        if self.connection_lost.peek().is_some() {
            GRACE_WITHOUT_CONNECTION
        } else {
            DROP_TIMEOUT
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl Parts {
    /// The calls that run or wait.
    fn open_calls(&self) -> Vec<UnfinishedCalls> {
        let endpoints = self.endpoints.iter();
        let open = endpoints.map(|running| running.unfinished(0));
        open.filter(|open| open.calls > 0).collect()
    }

    async fn end(&mut self, lost: Shared<BoxFuture<'static, ()>>) -> Losses {
        self.stopping.send_replace(Stopping::Told);
        let deadline = backoff::after(Instant::now(), self.drain_timeout);
        let time = TimeLeft::new(deadline, lost);
        let left = self.leave_queue_groups(&time).await;

        self.phase.send_replace(Phase::Draining);
        let Finished {
            unfinished,
            panicked,
        } = finish_calls(&mut self.endpoints, &self.phase, &self.stopping, &time).await;
        join_all(self.queues.iter().map(|queue| drain(queue, &time))).await;
        self.discovery.clear();
        let arrived = self.replies_arrived(&time).await;
        Losses {
            unfinished,
            panicked,
            connection: left.and(arrived).err(),
            lost: self.lost.lock().clone(),
        }
    }

    /// Returns when all requests that the NATS server sent to these subscriptions have arrived, and no more will follow.
    async fn leave_queue_groups(&mut self, time: &TimeLeft) -> Result<(), String> {
        self.phase.send_replace(Phase::Leaving);
        if time.wait(self.left_queue_groups.recv()).await.is_none() {
            return Err(self.fault("the connection does not take commands"));
        }
        match time.wait(round_trip(&self.gate, time.left())).await {
            Some(arrived) => arrived.map(drop).map_err(|error| self.fault(&error)),
            None => Err(self.fault("the NATS server did not answer in time")),
        }
    }

    /// Waits until the NATS server has the replies and the refusals: at least a second, also if the drain time is over.
    async fn replies_arrived(&self, time: &TimeLeft) -> Result<(), String> {
        let timeout = time.left().max(Duration::from_secs(1));
        let end = Instant::now() + timeout;
        if timeout_at(end, self.gate.drained()).await.is_err() {
            return Err(self.fault("the connection does not take messages"));
        }
        let left = end.saturating_duration_since(Instant::now());
        let arrived = round_trip(&self.gate, left).await;
        arrived.map(drop).map_err(|error| self.fault(&error))
    }

    /// What is wrong with the connection, if it is still there.
    fn fault(&self, otherwise: &str) -> String {
        if self.gate.is_closed() {
            PublishError::Closed.to_string()
        } else {
            otherwise.to_owned()
        }
    }
}

/// Waits until the queue is empty, and gives up what is left when the time is over.
async fn drain(queue: &Queue, time: &TimeLeft) {
    if time.wait(queue.drain(time.deadline)).await.is_none() {
        queue.drain(Instant::now()).await;
    }
}

/// How the endpoints ended.
#[derive(Debug, Default)]
struct Finished {
    unfinished: Vec<UnfinishedCalls>,
    panicked: Vec<PanickedEndpoint>,
}

/// Waits for the calls that run or wait. When the time is over, ends the endpoints, and returns the calls that were dropped.
async fn finish_calls(
    endpoints: &mut [RunningEndpoint],
    phase: &watch::Sender<Phase>,
    stopping: &watch::Sender<Stopping>,
    time: &TimeLeft,
) -> Finished {
    let mut finished = Finished::default();
    let mut late = Vec::new();
    for running in endpoints {
        match time.wait(&mut running.task).await {
            Some(Ok(())) => {}
            Some(Err(_)) => finished.panicked.push(running.panicked()),
            None => late.push(running),
        }
    }
    // First, so that the layers of a call see its end before it is dropped.
    stopping.send_replace(Stopping::Over);
    phase.send_replace(Phase::Ended);
    // A handler that blocks its thread cannot be dropped, so the wait is bounded.
    let end = Instant::now() + time.drop_timeout();
    for running in late {
        let ended = timeout_at(end, &mut running.task).await;
        if let Ok(Err(_)) = ended {
            finished.panicked.push(running.panicked());
        }
        // A handler that blocks in its first poll is not counted yet.
        let unfinished = running.unfinished(usize::from(ended.is_err()));
        if unfinished.calls > 0 {
            finished.unfinished.push(unfinished);
        }
    }
    finished
}

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
        let stopping = watch::Sender::new(Stopping::Told);
        let deadline = Instant::now() + Duration::from_millis(100);
        let time = TimeLeft::new(deadline, std::future::pending().boxed().shared());
        let Finished {
            unfinished,
            panicked,
        } = finish_calls(&mut endpoints, &phase, &stopping, &time).await;
        let losses = Losses {
            unfinished,
            panicked,
            ..Losses::default()
        };
        let error = losses.into_result().unwrap_err();
        assert_eq!(error.panicked_endpoints().len(), 1);
        assert_eq!(error.panicked_endpoints()[0].endpoint, "broken");
        assert_eq!(
            error.to_string(),
            "the server stopped with losses: 1 call of `users.late` dropped; the task of `users.broken` panicked"
        );
    }
}
