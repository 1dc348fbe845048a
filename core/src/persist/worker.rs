//! The task that does the writes of one queue.
//!
//! The writes to one key are done one after the other, in the order of the queue; those to different keys at the same time.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::persist::QueuedWrite;
use crate::persist::batches::{Batches, Ended, Put};
use crate::persist::queue::{Shared, WriteStart};
use crate::persist::target::{Failure, WriteOutcome};

/// How many keys are written to at once.
const WINDOW: usize = 1024;

/// Keeps up to [`WINDOW`] writes in flight, and at most one per key.
pub(crate) struct Worker {
    /// The keys with writes. Each has one write in flight, so that there are never more than [`WINDOW`].
    keys: HashMap<Arc<str>, KeyQueue>,
    in_flight: InFlight,
}

/// The key of a write, and what became of it.
type Done = (Arc<str>, WriteOutcome);

/// The writes that were sent, or are sent next.
struct InFlight {
    /// What is not a plain put, what is repeated, and everything if the bucket takes no batches.
    alone: FuturesUnordered<BoxFuture<'static, Done>>,
    /// The writes of the next batch.
    next: VecDeque<Put>,
    batches: Option<Batches>,
    shared: Arc<Shared>,
}

/// The writes to one key: one in flight, and those that wait for it.
struct KeyQueue {
    current: QueuedWrite,
    /// Older ones, in whose place `current` is written.
    replaced: Vec<QueuedWrite>,
    waiting: VecDeque<QueuedWrite>,
}

impl KeyQueue {
    /// Makes the next write the current one. Gives the one before, with those that it replaced.
    fn advance(&mut self) -> Option<(QueuedWrite, Vec<QueuedWrite>)> {
        let mut next = self.waiting.pop_front()?;
        let replaced = std::mem::take(&mut self.replaced);
        while self
            .waiting
            .front()
            .is_some_and(|newer| next.gives_way_to(newer))
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
                alone: FuturesUnordered::new(),
                next: VecDeque::new(),
                batches,
                shared,
            },
        }
    }

    /// Ends when the queue is dropped and empty, or settles everything as given up when it is stopped.
    pub(crate) async fn run(
        mut self,
        mut queue: mpsc::UnboundedReceiver<QueuedWrite>,
        mut stops: watch::Receiver<bool>,
    ) {
        tokio::select! {
            // A dropped server sends nothing here: its writes are still done.
            Ok(()) = stops.changed() => {}
            () = self.do_writes(&mut queue) => {}
        }
        queue.close();
        for key in self.keys.into_values() {
            let ahead = key.replaced.into_iter().chain([key.current]);
            for write in ahead.chain(key.waiting) {
                self.in_flight.shared.settle(write, Err(stopped()));
            }
        }
        while let Some(write) = queue.recv().await {
            self.in_flight.shared.settle(write, Err(stopped()));
        }
    }

    async fn do_writes(&mut self, queue: &mut mpsc::UnboundedReceiver<QueuedWrite>) {
        let mut arrived = Vec::with_capacity(WINDOW);
        let mut is_open = true;
        while is_open || !self.keys.is_empty() {
            let room = WINDOW.saturating_sub(self.keys.len());
            let InFlight { alone, batches, .. } = &mut self.in_flight;
            tokio::select! {
                Some((key, result)) = alone.next() => self.ended(&key, &result),
                batch = ended(batches.as_mut()) => self.batch_ended(&batch),
                count = queue.recv_many(&mut arrived, room), if is_open && room > 0 => {
                    is_open = count > 0;
                    for write in arrived.drain(..) {
                        self.take(write);
                    }
                }
            }
            self.in_flight.send();
        }
    }

    fn take(&mut self, write: QueuedWrite) {
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

    fn batch_ended(&mut self, batch: &Ended) {
        let shared = &self.in_flight.shared;
        shared.acknowledged(batch.revision.unwrap_or_default());
        for (at, key) in batch.keys.iter().enumerate() {
            if batch.stored.is_some_and(|stored| at < stored) {
                self.ended(key, &Ok(None));
            } else if let Some(writes) = self.keys.get(key) {
                let since = batch.stored.is_none().then_some(batch.start);
                self.in_flight.start_alone(&writes.current, since);
            }
        }
    }

    /// Settles a write, with those that it replaced, and starts the next one of its key.
    fn ended(&mut self, key: &str, result: &WriteOutcome) {
        let Some(writes) = self.keys.get_mut(key) else {
            return;
        };
        if let Err(Failure::Refused(_)) = result {
            // Nothing of it was stored, so what it replaced is written after all.
            for older in writes.replaced.drain(..).rev() {
                writes.waiting.push_front(older);
            }
        }
        let (settled, replaced) = if let Some(done) = writes.advance() {
            self.in_flight.start(&writes.current);
            done
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
        shared.settle(settled, result.clone());
    }
}

impl InFlight {
    fn start(&mut self, write: &QueuedWrite) {
        match &self.batches {
            Some(batches) if write.target.puts_plainly() && batches.take(&write.payload) => {
                self.next.push_back(Put {
                    key: Arc::clone(&write.key),
                    value: write.payload.clone(),
                    deadline: self.deadline(write),
                });
            }
            _ => self.start_alone(write, None),
        }
    }

    /// Starts one write, which ends when it is done, refused or out of time. With `since`, it may have been stored from then on.
    fn start_alone(&mut self, write: &QueuedWrite, since: Option<WriteStart>) {
        let (key, target) = (Arc::clone(&write.key), Arc::clone(&write.target));
        let (payload, seen, deadline) = (write.payload.clone(), write.seen, self.deadline(write));
        self.alone.push(Box::pin(async move {
            let result = target.write(&key, &payload, seen, since, deadline).await;
            (key, result)
        }));
    }

    fn deadline(&self, write: &QueuedWrite) -> Instant {
        crate::backoff::after(write.queued, self.shared.timeout)
    }

    /// Sends batches as long as they have room.
    fn send(&mut self) {
        if let Some(batches) = &mut self.batches {
            while batches.have_room(self.next.len()) {
                batches.send(&mut self.next, self.shared.begin());
            }
        }
    }
}

async fn ended(batches: Option<&mut Batches>) -> Ended {
    match batches {
        Some(batches) => batches.ended().await,
        None => std::future::pending().await,
    }
}

fn stopped() -> Failure {
    Failure::Store("the server stopped before the store acknowledged the write".to_owned())
}
