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
use crate::persist::age::{Age, Earlier, Moment, Trace};
use crate::persist::attempts::{CONNECTION_POLL, Ended, WriteRequest, call_ended, persist_timeout};
use crate::persist::batches::{Batches, EndedBatch, Put};
use crate::persist::queue::Shared;
use crate::persist::target::Failure;

/// The most writes that are in flight by themselves.
const MAX_SINGLE: usize = 1024;
/// How many writes are accepted at once.
const MAX_ACCEPTED: usize = 1024;

/// Keeps many writes in flight, and at most one per key.
///
/// Whatever is queued is accepted before the end of a write is handled, so that all writes that were queued before the end find what is
/// known of it.
pub(crate) struct Worker {
    keys: HashMap<Arc<str>, KeyQueue>,
    /// The keys whose current writes wait to be sent by themselves: there are [`MAX_SINGLE`] already, or the connection is down.
    unsent: VecDeque<Arc<str>>,
    /// When they were last looked through for those whose time is over.
    looked_through: Instant,
    in_flight: InFlight,
}

/// The key of a write, and its end.
type Done = (Arc<str>, Ended);

/// The writes that were sent, and those of the next batch.
struct InFlight {
    /// The writes that are sent by themselves: all but plain puts, those that are late, repetitions, and all writes if the bucket takes no
    /// batches.
    single: FuturesUnordered<BoxFuture<'static, Done>>,
    /// The writes of the next batch.
    next_batch: VecDeque<Put>,
    batches: Option<Batches>,
    shared: Arc<Shared>,
}

/// The unsettled writes to one key. Invariant: `current` is in flight or about to be sent, and an outcome of it is also that of `replaced`.
struct KeyQueue {
    current: QueuedWrite,
    /// Whether `current` reads the key even if it is not late, since the write before it was repeated.
    reads_first: bool,
    /// Whether a batch with `current` was sent.
    is_repeated: bool,
    /// Older writes that are not made, because `current` replaces their values at once.
    replaced: Vec<QueuedWrite>,
    waiting: VecDeque<QueuedWrite>,
    /// The writes before `current`.
    earlier: Earlier,
}

impl KeyQueue {
    fn new(current: QueuedWrite) -> Self {
        Self {
            current,
            reads_first: false,
            is_repeated: false,
            replaced: Vec::new(),
            waiting: VecDeque::new(),
            earlier: Earlier::default(),
        }
    }

    /// Ends the current write, and makes the next one current that somebody wants. Returns the ended one, unless it was the last.
    fn advance(&mut self, ended: &Ended, abandoned: &mut Vec<QueuedWrite>) -> Option<QueuedWrite> {
        self.earlier.add(ended.trace, &self.current.payload);
        self.reads_first = ended.is_repeated || ended.trace == Trace::Unknown;
        self.is_repeated = false;
        let mut next: Option<QueuedWrite> = None;
        while let Some(newer) = self.waiting.front() {
            let is_abandoned = newer.is_abandoned();
            let replaces = next.as_ref().is_none_or(|next| next.is_replaced_by(newer));
            if !is_abandoned && !replaces {
                break;
            }
            let Some(newer) = self.waiting.pop_front() else {
                break;
            };
            if is_abandoned {
                abandoned.push(newer);
            } else if let Some(replaced) = next.replace(newer) {
                self.replaced.push(replaced);
            }
        }
        Some(std::mem::replace(&mut self.current, next?))
    }
}

impl Worker {
    pub(crate) fn new(batches: Option<Batches>, shared: Arc<Shared>) -> Self {
        Self {
            keys: HashMap::new(),
            unsent: VecDeque::new(),
            looked_through: Instant::now(),
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
        let mut arrived = Vec::with_capacity(MAX_ACCEPTED);
        let mut is_open = true;
        while is_open || !self.keys.is_empty() {
            let has_unsent = !self.unsent.is_empty();
            let event = tokio::select! {
                biased;
                count = queue.recv_many(&mut arrived, MAX_ACCEPTED), if is_open => {
                    is_open = count > 0;
                    None
                }
                event = self.in_flight.next_event(has_unsent) => Some(event),
            };
            let moment = Moment::now(&self.in_flight.shared.gate);
            for write in arrived.drain(..) {
                self.accept(write, moment);
            }
            match event {
                Some(Event::Ended((key, ended))) => self.finish(&key, &ended, moment),
                Some(Event::BatchEnded(batch)) => self.finish_batch(&batch, moment),
                Some(Event::ConnectionPoll) | None => {}
            }
            self.send(moment);
        }
    }

    fn accept(&mut self, write: QueuedWrite, moment: Moment) {
        match self.keys.entry(Arc::clone(&write.key)) {
            Entry::Occupied(mut writes) => writes.get_mut().waiting.push_back(write),
            Entry::Vacant(place) => {
                let writes = place.insert(KeyQueue::new(write));
                self.in_flight.start(writes, moment, &mut self.unsent);
            }
        }
    }

    /// Finishes the writes that a batch has stored, and makes the others by themselves.
    fn finish_batch(&mut self, batch: &EndedBatch, moment: Moment) {
        let shared = &self.in_flight.shared;
        if let Some(place) = batch.last {
            shared.acknowledged(place);
        }
        for (index, key) in batch.keys.iter().enumerate() {
            match batch.stored {
                Some(stored) if index < stored => {
                    // Each of the later ones has a revision of its own.
                    let later = (stored - 1 - index) as u64;
                    let revision = batch.last.map(|last| last.revision.saturating_sub(later));
                    let ended = Ended {
                        outcome: Ok(None),
                        trace: revision.map_or(Trace::Unknown, Trace::UpTo),
                        is_repeated: false,
                    };
                    self.finish(key, &ended, moment);
                }
                stored => {
                    if let Some(writes) = self.keys.get_mut(key) {
                        writes.is_repeated = stored.is_none();
                        self.unsent.push_back(Arc::clone(key));
                    }
                }
            }
        }
    }

    /// Settles the current write of a key with those that it replaced, and starts the next one.
    fn finish(&mut self, key: &str, ended: &Ended, moment: Moment) {
        let Some(writes) = self.keys.get_mut(key) else {
            return;
        };
        if let Err(Failure::Refused(_) | Failure::Abandoned(_)) = ended.outcome {
            // The writes that it replaced are made after all: nothing of it was stored, or it failed only because nobody waited for it.
            for older in writes.replaced.drain(..).rev() {
                writes.waiting.push_front(older);
            }
        }
        let replaced = std::mem::take(&mut writes.replaced);
        let mut abandoned = Vec::new();
        let finished = if let Some(finished) = writes.advance(ended, &mut abandoned) {
            self.in_flight.start(writes, moment, &mut self.unsent);
            finished
        } else {
            let Some(writes) = self.keys.remove(key) else {
                return;
            };
            writes.current
        };
        let shared = &self.in_flight.shared;
        for write in replaced {
            shared.settle(write, ended.outcome.clone());
        }
        shared.settle(finished, ended.outcome.clone());
        for write in abandoned {
            shared.settle(write, Err(call_ended(None)));
        }
    }

    /// Sends what waits for room or for the connection, and batches as long as the server accepts another one.
    fn send(&mut self, moment: Moment) {
        if moment.connection.is_none() {
            let unbatched = self.in_flight.next_batch.drain(..);
            self.unsent.extend(unbatched.map(|put| put.key));
            if self.looked_through + CONNECTION_POLL <= moment.now {
                self.looked_through = moment.now;
                self.give_up_expired(moment);
            }
            return;
        }
        if let Some(batches) = &mut self.in_flight.batches {
            while batches.can_send(self.in_flight.next_batch.len()) {
                let late = batches.send(&mut self.in_flight.next_batch, moment);
                self.unsent.extend(late);
            }
        }
        while self.in_flight.has_room()
            && let Some(key) = self.unsent.pop_front()
        {
            if let Some(writes) = self.keys.get(&key) {
                self.in_flight.start_single(writes, moment);
            }
        }
    }

    /// Gives up the unsent writes whose time is over while the connection is down.
    fn give_up_expired(&mut self, moment: Moment) {
        let mut expired = Vec::new();
        let (keys, in_flight) = (&self.keys, &self.in_flight);
        self.unsent.retain(|key| {
            let writes = keys.get(key);
            let ended = writes.and_then(|writes| in_flight.expired(writes, moment.now));
            let is_kept = ended.is_none();
            expired.extend(ended.map(|ended| (Arc::clone(key), ended)));
            is_kept
        });
        for (key, ended) in expired {
            self.finish(&key, &ended, moment);
        }
    }
}

/// What a worker waits for, besides new writes.
enum Event {
    Ended(Done),
    BatchEnded(EndedBatch),
    /// It is time to look for the connection.
    ConnectionPoll,
}

impl InFlight {
    /// Waits for the end of a write or a batch. With `has_unsent`, also returns after a while to look for the connection. Cancel safe.
    async fn next_event(&mut self, has_unsent: bool) -> Event {
        tokio::select! {
            Some(done) = self.single.next() => Event::Ended(done),
            batch = next_ended(self.batches.as_mut()) => Event::BatchEnded(batch),
            () = connection_poll(), if has_unsent => Event::ConnectionPoll,
        }
    }

    fn has_room(&self) -> bool {
        self.single.len() < MAX_SINGLE
    }

    fn start(&mut self, writes: &KeyQueue, moment: Moment, unsent: &mut VecDeque<Arc<str>>) {
        let write = &writes.current;
        let is_late = writes.reads_first || write.start.is_late(moment);
        match &self.batches {
            Some(batches)
                if !is_late && write.target.puts_plainly() && batches.accepts(&write.payload) =>
            {
                self.next_batch.push_back(Put {
                    key: Arc::clone(&write.key),
                    value: write.payload.clone(),
                    start: write.start,
                    deadline: self.deadline(write),
                });
            }
            _ if moment.connection.is_some() && self.has_room() && unsent.is_empty() => {
                self.start_single(writes, moment);
            }
            _ => unsent.push_back(Arc::clone(&write.key)),
        }
    }

    /// Starts one write by itself.
    fn start_single(&mut self, writes: &KeyQueue, moment: Moment) {
        let write = &writes.current;
        let target = Arc::clone(&write.target);
        let request = WriteRequest {
            key: Arc::clone(&write.key),
            payload: write.payload.clone(),
            expected: write.expected,
            age: Age {
                start: write.start,
                earlier: writes.earlier.clone(),
            },
            is_late: writes.reads_first || write.start.is_late(moment),
            is_repeated: writes.is_repeated,
            due: write.due,
            deadline: self.deadline(write),
        };
        self.single.push(Box::pin(async move {
            let key = Arc::clone(&request.key);
            (key, target.write(request).await)
        }));
    }

    fn deadline(&self, write: &QueuedWrite) -> Instant {
        crate::backoff::after(write.start.at(), self.shared.timeout)
    }

    /// The end of a write that could not be sent, if its time is over.
    fn expired(&self, writes: &KeyQueue, now: Instant) -> Option<Ended> {
        const CAUSE: Option<&str> = Some("the connection is down");
        let write = &writes.current;
        let failure = if write.due.is_some_and(|due| due <= now) {
            call_ended(writes.is_repeated.then_some(CAUSE).flatten())
        } else if self.deadline(write) <= now {
            Failure::Store(persist_timeout(CAUSE))
        } else {
            return None;
        };
        Some(Ended {
            outcome: Err(failure),
            trace: if writes.is_repeated {
                Trace::Unknown
            } else {
                Trace::Nowhere
            },
            is_repeated: writes.is_repeated,
        })
    }
}

async fn connection_poll() {
    tokio::time::sleep(CONNECTION_POLL).await;
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
