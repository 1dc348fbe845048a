//! The task that makes the writes of one queue.
//!
//! The writes to one key are made one after the other, in the order of the queue; those to different keys concurrently.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::persist::QueuedWrite;
use crate::persist::batches::{Batches, EndedBatch, Put};
use crate::persist::queue::{Shared, WriteStart};
use crate::persist::target::{Failure, WriteOutcome};

/// The most keys with a write in flight.
const MAX_IN_FLIGHT: usize = 1024;

/// Keeps up to [`MAX_IN_FLIGHT`] writes in flight, and at most one per key.
pub(crate) struct Worker {
    /// The keys with writes. Each has one write in flight, so that there are never more than [`MAX_IN_FLIGHT`].
    keys: HashMap<Arc<str>, KeyQueue>,
    in_flight: InFlight,
}

/// The key of a write, and its outcome.
type Done = (Arc<str>, WriteOutcome);

/// The writes that were sent, and those of the next batch.
struct InFlight {
    /// The writes that are sent by themselves: all but plain puts, repetitions, and all writes if the bucket takes no batches.
    single: FuturesUnordered<BoxFuture<'static, Done>>,
    /// The writes of the next batch.
    next_batch: VecDeque<Put>,
    batches: Option<Batches>,
    shared: Arc<Shared>,
}

/// The unsettled writes to one key. Invariant: `current` is in flight, and an outcome of it is also that of `replaced`.
struct KeyQueue {
    current: QueuedWrite,
    /// Older writes that are not made, because `current` replaces their values at once.
    replaced: Vec<QueuedWrite>,
    waiting: VecDeque<QueuedWrite>,
}

impl KeyQueue {
    /// Makes the next write the current one. Returns the previous one with those that it replaced; `None` if no write waits.
    fn advance(&mut self) -> Option<(QueuedWrite, Vec<QueuedWrite>)> {
        let mut next = self.waiting.pop_front()?;
        let replaced = std::mem::take(&mut self.replaced);
        while self
            .waiting
            .front()
            .is_some_and(|newer| next.is_replaced_by(newer))
            && let Some(newer) = self.waiting.pop_front()
        {
            self.replaced.push(std::mem::replace(&mut next, newer));
        }
        Some((std::mem::replace(&mut self.current, next), replaced))
    }
}

impl Worker {
    pub(crate) fn new(batches: Option<Batches>, shared: Arc<Shared>) -> Self {
        Self {
            keys: HashMap::new(),
            in_flight: InFlight {
                single: FuturesUnordered::new(),
                next_batch: VecDeque::new(),
                batches,
                shared,
            },
        }
    }

    /// Runs until the queue is dropped and all writes are settled, or until it is stopped; it then gives up the writes that remain.
    pub(crate) async fn run(
        mut self,
        mut queue: mpsc::UnboundedReceiver<QueuedWrite>,
        mut stops: watch::Receiver<bool>,
    ) {
        tokio::select! {
            // If the server is dropped without a stop, the channel closes and the writes are still made.
            Ok(()) = stops.changed() => {}
            () = self.make_writes(&mut queue) => {}
        }
        queue.close();
        for key in self.keys.into_values() {
            let started = key.replaced.into_iter().chain([key.current]);
            for write in started.chain(key.waiting) {
                self.in_flight.shared.settle(write, Err(server_stopped()));
            }
        }
        while let Some(write) = queue.recv().await {
            self.in_flight.shared.settle(write, Err(server_stopped()));
        }
    }

    async fn make_writes(&mut self, queue: &mut mpsc::UnboundedReceiver<QueuedWrite>) {
        let mut arrived = Vec::with_capacity(MAX_IN_FLIGHT);
        let mut is_open = true;
        while is_open || !self.keys.is_empty() {
            let room = MAX_IN_FLIGHT.saturating_sub(self.keys.len());
            let InFlight {
                single, batches, ..
            } = &mut self.in_flight;
            tokio::select! {
                Some((key, result)) = single.next() => self.finish(&key, &result),
                batch = next_ended(batches.as_mut()) => self.finish_batch(&batch),
                count = queue.recv_many(&mut arrived, room), if is_open && room > 0 => {
                    is_open = count > 0;
                    for write in arrived.drain(..) {
                        self.accept(write);
                    }
                }
            }
            self.in_flight.send_batches();
        }
    }

    fn accept(&mut self, write: QueuedWrite) {
        match self.keys.entry(Arc::clone(&write.key)) {
            Entry::Occupied(mut writes) => writes.get_mut().waiting.push_back(write),
            Entry::Vacant(place) => {
                self.in_flight.start(&write);
                place.insert(KeyQueue {
                    current: write,
                    replaced: Vec::new(),
                    waiting: VecDeque::new(),
                });
            }
        }
    }

    /// Finishes the writes that a batch has stored, and repeats the others by themselves.
    fn finish_batch(&mut self, batch: &EndedBatch) {
        let shared = &self.in_flight.shared;
        shared.acknowledged(batch.revision.unwrap_or_default());
        for (index, key) in batch.keys.iter().enumerate() {
            if batch.stored.is_some_and(|stored| index < stored) {
                self.finish(key, &Ok(None));
            } else if let Some(writes) = self.keys.get(key) {
                let since = batch.stored.is_none().then_some(batch.start);
                self.in_flight.start_single(&writes.current, since);
            }
        }
    }

    /// Settles the current write of a key with those that it replaced, and starts the next one.
    fn finish(&mut self, key: &str, result: &WriteOutcome) {
        let Some(writes) = self.keys.get_mut(key) else {
            return;
        };
        if let Err(Failure::Refused(_)) = result {
            // Nothing of it was stored, so the writes that it replaced are made after all.
            for older in writes.replaced.drain(..).rev() {
                writes.waiting.push_front(older);
            }
        }
        let (finished, replaced) = if let Some(finished) = writes.advance() {
            self.in_flight.start(&writes.current);
            finished
        } else {
            let Some(writes) = self.keys.remove(key) else {
                return;
            };
            (writes.current, writes.replaced)
        };
        let shared = &self.in_flight.shared;
        for write in replaced {
            shared.settle(write, result.clone());
        }
        shared.settle(finished, result.clone());
    }
}

impl InFlight {
    fn start(&mut self, write: &QueuedWrite) {
        match &self.batches {
            Some(batches) if write.target.puts_plainly() && batches.accepts(&write.payload) => {
                self.next_batch.push_back(Put {
                    key: Arc::clone(&write.key),
                    value: write.payload.clone(),
                    deadline: self.deadline(write),
                });
            }
            _ => self.start_single(write, None),
        }
    }

    /// Starts one write by itself. With `since`, an attempt in a batch may have stored it since then.
    fn start_single(&mut self, write: &QueuedWrite, since: Option<WriteStart>) {
        let (key, target) = (Arc::clone(&write.key), Arc::clone(&write.target));
        let (payload, expected) = (write.payload.clone(), write.expected);
        let deadline = self.deadline(write);
        self.single.push(Box::pin(async move {
            let result = target
                .write(&key, &payload, expected, since, deadline)
                .await;
            (key, result)
        }));
    }

    fn deadline(&self, write: &QueuedWrite) -> Instant {
        crate::backoff::after(write.queued, self.shared.timeout)
    }

    /// Sends batches as long as the server accepts another one.
    fn send_batches(&mut self) {
        if let Some(batches) = &mut self.batches {
            while batches.can_send(self.next_batch.len()) {
                batches.send(&mut self.next_batch, self.shared.start_write());
            }
        }
    }
}

async fn next_ended(batches: Option<&mut Batches>) -> EndedBatch {
    match batches {
        Some(batches) => batches.next_ended().await,
        None => std::future::pending().await,
    }
}

fn server_stopped() -> Failure {
    Failure::Store("the server stopped before the store acknowledged the write".to_owned())
}
