//! The calls of one endpoint: the bounded queue of those that wait, those with a task, and those whose replies wait for writes.
//!
//! Plain state of the dispatcher's task, which decides when a call starts; no connection, no locks. The memory of waiting requests is
//! bounded, and no call is ever dropped here.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_nats::Message;
use futures::future::CatchUnwind;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::server::dispatch::reply::{Caller, PendingReply, Responder};
use crate::transport::budget::{Charge, MemoryBudget, detached, held_by_headers};

/// How many requests wait for one endpoint while `max_in_flight` calls run. Further requests are refused at once. The memory of all
/// that wait is bounded by the budget of the server.
const MAX_WAITING: usize = 16_384;
/// What a waiting request takes besides its payload and its headers.
const WAITING_OVERHEAD: usize = size_of::<Waiting>() + 128;

/// A first poll that takes longer than this is taken for computation. The next calls then run on tasks of their own, to use the other
/// cores.
const COMPUTE_THRESHOLD: Duration = Duration::from_micros(100);
/// The bounds of a spawn run: how many calls are spawned without a first poll in place, before another call is polled in place. A run
/// is twice as long as the one before. The first one is short, since a slow poll is most often an interrupted thread.
const MIN_SPAWN_RUN: u32 = 4;
const MAX_SPAWN_RUN: u32 = 256;

/// The calls of one endpoint. Each is in exactly one of `waiting`, `running` and `replying`; `running` and `replying` are in flight.
pub(crate) struct Calls {
    /// The calls with a task of their own.
    pub(crate) running: JoinSet<()>,
    /// The calls whose handlers have returned in the dispatcher's task, and whose replies wait for writes or for the connection.
    pub(crate) replying: FuturesUnordered<ReplyingCall>,
    /// The requests that wait for their turn, oldest first.
    pub(crate) waiting: VecDeque<Waiting>,
    /// When the deadlines of `waiting` are checked next, while the queues of writes are full.
    pub(crate) next_expiry_check: Instant,
    /// How many calls of the current spawn run are left.
    left_to_spawn: u32,
    /// The length of the current spawn run; 0 after a fast poll.
    spawn_run: u32,
}

/// A request that waits for its turn.
pub(crate) struct Waiting {
    pub(crate) message: Message,
    pub(crate) received: Instant,
    /// The memory that it holds; `None` if its turn comes at once.
    _charge: Option<Charge>,
}

/// A call whose handler has returned and whose reply is pending.
pub(crate) struct ReplyingCall {
    pub(crate) caller: Caller,
    pending: CatchUnwind<AssertUnwindSafe<PendingReply>>,
    responder: Arc<Responder>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self {
            running: JoinSet::new(),
            replying: FuturesUnordered::new(),
            waiting: VecDeque::new(),
            next_expiry_check: Instant::now(),
            left_to_spawn: 0,
            spawn_run: 0,
        }
    }

    /// The memory for a request that has to wait; none if there is no room for it.
    pub(crate) fn reserve(&self, message: &Message, budget: &Arc<MemoryBudget>) -> Option<Charge> {
        let subjects =
            message.subject.len() + message.reply.as_ref().map_or(0, |reply| reply.len());
        let held = message.payload.len() + held_by_headers(message.headers.as_ref()) + subjects;
        let charge = budget.charge(WAITING_OVERHEAD + held)?;
        (self.waiting.len() < MAX_WAITING).then_some(charge)
    }

    /// Queues a request. One with a charge holds nothing but its own bytes from then on.
    pub(crate) fn enqueue(
        &mut self,
        mut message: Message,
        received: Instant,
        charge: Option<Charge>,
    ) {
        if charge.is_some() {
            message.payload = detached(&message.payload);
        }
        self.waiting.push_back(Waiting {
            message,
            received,
            _charge: charge,
        });
    }

    pub(crate) fn dequeue(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// Removes and returns the waiting requests that `is_taken` chooses.
    pub(crate) fn take_waiting(
        &mut self,
        mut is_taken: impl FnMut(&Waiting) -> bool,
    ) -> Vec<Waiting> {
        let (taken, waiting): (Vec<_>, _) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| is_taken(waiting));
        self.waiting = VecDeque::from(waiting);
        taken
    }

    /// Whether the next call is spawned without a first poll in place. Counts it as a call of the spawn run.
    pub(crate) fn spawn_next(&mut self) -> bool {
        let spawns = self.left_to_spawn > 0;
        self.left_to_spawn = self.left_to_spawn.saturating_sub(1);
        spawns
    }

    /// Starts a spawn run after a slow first poll, and ends it after a fast one.
    pub(crate) fn record_first_poll(&mut self, took: Duration) {
        self.spawn_run = if took < COMPUTE_THRESHOLD {
            0
        } else {
            (self.spawn_run * 2).clamp(MIN_SPAWN_RUN, MAX_SPAWN_RUN)
        };
        self.left_to_spawn = self.spawn_run;
    }

    pub(crate) fn add_replying(
        &mut self,
        caller: Caller,
        pending: PendingReply,
        responder: Arc<Responder>,
    ) {
        self.replying.push(ReplyingCall {
            caller,
            pending: AssertUnwindSafe(pending).catch_unwind(),
            responder,
        });
    }

    /// Removes the calls that have finished.
    pub(crate) fn reap_finished(&mut self) {
        while self.running.try_join_next().is_some() {}
        while let Some(Some(())) = self.replying.next().now_or_never() {}
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.running.len() + self.replying.len()
    }

    /// In flight or waiting.
    pub(crate) fn open(&self) -> usize {
        self.in_flight() + self.waiting.len()
    }
}

impl Future for ReplyingCall {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(panic) = ready!(self.pending.poll_unpin(cx)) {
            // No code of a service runs here, but a `tracing` subscriber may panic.
            self.responder.endpoint.panicked(panic.as_ref());
        }
        Poll::Ready(())
    }
}
