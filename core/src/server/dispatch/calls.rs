//! The calls of one endpoint, from their arrival to their end.

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

use crate::server::dispatch::reply::{Caller, Responder, Rest};

/// How many requests, and of how many bytes in all, wait per endpoint while `max_in_flight` calls run. What comes on top is
/// refused at once.
const MAX_WAITING: usize = 16_384;
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;

/// A handler that keeps the endpoint's task this long is one that computes: the next ones run on tasks of their own, so that
/// the other cores work too.
const COMPUTES: Duration = Duration::from_micros(100);
/// How many calls go to tasks after such a one, before another is tried in place; twice as many each time that one computes
/// too. At first few: most often it was only the thread that was interrupted.
const SPAWNED_AT_FIRST: u32 = 4;
const SPAWNED_AT_MOST: u32 = 256;

/// What the loop of an endpoint keeps from one message to the next.
pub(crate) struct Calls {
    /// Those with a task of their own.
    pub(crate) running: JoinSet<()>,
    /// Those whose handlers are done, and that only wait for acknowledgements.
    pub(crate) ending: FuturesUnordered<Ending>,
    pub(crate) waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// When those that wait are looked through the next time.
    pub(crate) next_look: Instant,
    spawn_next: u32,
    /// How many there were to be spawned the last time.
    spawned: u32,
}

/// A request, and when it was received.
pub(crate) struct Waiting(pub(crate) Message, pub(crate) Instant);

/// A call whose handler is done.
pub(crate) struct Ending {
    pub(crate) caller: Caller,
    rest: CatchUnwind<AssertUnwindSafe<Rest>>,
    responder: Arc<Responder>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self {
            running: JoinSet::new(),
            ending: FuturesUnordered::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            next_look: Instant::now(),
            spawn_next: 0,
            spawned: 0,
        }
    }

    pub(crate) fn has_place(&self, message: &Message) -> bool {
        self.waiting.len() < MAX_WAITING && self.waiting_bytes + message.length <= MAX_WAITING_BYTES
    }

    pub(crate) fn wait(&mut self, message: Message, received: Instant) {
        self.waiting_bytes += message.length;
        self.waiting.push_back(Waiting(message, received));
    }

    pub(crate) fn next_waiting(&mut self) -> Option<Waiting> {
        let next = self.waiting.pop_front()?;
        self.waiting_bytes -= next.0.length;
        Some(next)
    }

    /// Takes out those of which this is true.
    pub(crate) fn take_waiting(
        &mut self,
        mut is_taken: impl FnMut(&Waiting) -> bool,
    ) -> Vec<Waiting> {
        let (taken, waiting): (Vec<_>, _) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| is_taken(waiting));
        self.waiting = VecDeque::from(waiting);
        self.waiting_bytes -= taken.iter().map(|taken| taken.0.length).sum::<usize>();
        taken
    }

    /// Whether the next call gets a task from the start.
    pub(crate) fn spawns_next(&mut self) -> bool {
        let spawns = self.spawn_next > 0;
        self.spawn_next = self.spawn_next.saturating_sub(1);
        spawns
    }

    /// Decides about the next ones.
    pub(crate) fn ran_in_place(&mut self, took: Duration) {
        self.spawned = if took < COMPUTES {
            0
        } else {
            (self.spawned * 2).clamp(SPAWNED_AT_FIRST, SPAWNED_AT_MOST)
        };
        self.spawn_next = self.spawned;
    }

    pub(crate) fn end(&mut self, caller: Caller, rest: Rest, responder: Arc<Responder>) {
        self.ending.push(Ending {
            caller,
            rest: AssertUnwindSafe(rest).catch_unwind(),
            responder,
        });
    }

    /// Forgets what has finished.
    pub(crate) fn join(&mut self) {
        while self.running.try_join_next().is_some() {}
        while let Some(Some(())) = self.ending.next().now_or_never() {}
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.running.len() + self.ending.len()
    }

    /// In flight or waiting.
    pub(crate) fn open(&self) -> usize {
        self.in_flight() + self.waiting.len()
    }
}

impl Future for Ending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(panic) = ready!(self.rest.poll_unpin(cx)) {
            // No code of a service runs here; a subscriber of `tracing` may.
            self.responder.endpoint.panicked(panic.as_ref());
        }
        Poll::Ready(())
    }
}
