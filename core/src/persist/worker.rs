//! The task that works off the queue of one bucket.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::persist::QueuedWrite;
use crate::persist::batches::{Batches, Ended, Put};
use crate::persist::queue::{Begun, Shared};
use crate::persist::target::{Failure, Outcome};

/// How many writes are on their way at once, to different keys.
const WINDOW: usize = 1024;

/// Keeps up to [`WINDOW`] writes on their way, and at most one per key.
pub(crate) struct Work {
    /// The writes on their way, and what waits for them.
    lines: HashMap<Arc<str>, Line>,
    on_their_way: OnTheirWay,
}

/// The key of a write, and what became of it.
type Done = (Arc<str>, Outcome);

struct OnTheirWay {
    /// All that is not a plain put, repetitions, and everything if the bucket takes no batches.
    alone: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Those of the next batch.
    next: VecDeque<Put>,
    batches: Option<Batches>,
    shared: Arc<Shared>,
}

/// The writes to one key: one on its way, and those that wait for it.
struct Line {
    current: QueuedWrite,
    /// Older ones, in whose place `current` is written.
    replaced: Vec<QueuedWrite>,
    behind: VecDeque<QueuedWrite>,
}

impl Line {
    /// Takes up the next write, and gives the one that was on its way, with those that it stands for.
    fn advance(&mut self) -> Option<(QueuedWrite, Vec<QueuedWrite>)> {
        let mut next = self.behind.pop_front()?;
        let replaced = std::mem::take(&mut self.replaced);
        while self
            .behind
            .front()
            .is_some_and(|newer| next.gives_way_to(newer))
            && let Some(newer) = self.behind.pop_front()
        {
            self.replaced.push(std::mem::replace(&mut next, newer));
        }
        Some((std::mem::replace(&mut self.current, next), replaced))
    }
}

impl Work {
    pub(crate) fn new(batches: Option<Batches>, shared: Arc<Shared>) -> Self {
        Self {
            lines: HashMap::new(),
            on_their_way: OnTheirWay {
                alone: FuturesUnordered::new(),
                next: VecDeque::new(),
                batches,
                shared,
            },
        }
    }

    /// Ends when the queue does, or gives up when it is told to.
    pub(crate) async fn run(
        mut self,
        mut queue: mpsc::UnboundedReceiver<QueuedWrite>,
        mut stops: watch::Receiver<bool>,
    ) {
        tokio::select! {
            // A dropped server never says this: its writes are still done.
            Ok(()) = stops.changed() => {}
            () = self.work_off(&mut queue) => {}
        }
        queue.close();
        for line in self.lines.into_values() {
            let ahead = line.replaced.into_iter().chain([line.current]);
            for write in ahead.chain(line.behind) {
                self.on_their_way.shared.settle(write, Err(stopped()));
            }
        }
        while let Some(write) = queue.recv().await {
            self.on_their_way.shared.settle(write, Err(stopped()));
        }
    }

    async fn work_off(&mut self, queue: &mut mpsc::UnboundedReceiver<QueuedWrite>) {
        let mut arrived = Vec::with_capacity(WINDOW);
        let mut is_open = true;
        while is_open || !self.lines.is_empty() {
            let room = WINDOW.saturating_sub(self.lines.len());
            let OnTheirWay { alone, batches, .. } = &mut self.on_their_way;
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
            self.on_their_way.send();
        }
    }

    fn take(&mut self, write: QueuedWrite) {
        match self.lines.entry(Arc::clone(&write.key)) {
            Entry::Occupied(mut line) => line.get_mut().behind.push_back(write),
            Entry::Vacant(place) => {
                self.on_their_way.start(&write);
                place.insert(Line {
                    current: write,
                    replaced: Vec::new(),
                    behind: VecDeque::new(),
                });
            }
        }
    }

    fn batch_ended(&mut self, batch: &Ended) {
        let shared = &self.on_their_way.shared;
        shared.acknowledged(batch.revision.unwrap_or_default());
        for (at, key) in batch.keys.iter().enumerate() {
            if batch.stored.is_some_and(|stored| at < stored) {
                self.ended(key, &Ok(None));
            } else if let Some(line) = self.lines.get(key) {
                let since = batch.stored.is_none().then_some(batch.begun);
                self.on_their_way.start_alone(&line.current, since);
            }
        }
    }

    /// Settles a write, with those that it stands for, and begins the next one of its key.
    fn ended(&mut self, key: &str, result: &Outcome) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        if let Err(Failure::Refused(_)) = result {
            // Nothing of it was stored, so what it stood for is written after all.
            for older in line.replaced.drain(..).rev() {
                line.behind.push_front(older);
            }
        }
        let (settled, replaced) = if let Some(done) = line.advance() {
            self.on_their_way.start(&line.current);
            done
        } else {
            let Some(line) = self.lines.remove(key) else {
                return;
            };
            (line.current, line.replaced)
        };
        let shared = &self.on_their_way.shared;
        for write in replaced {
            shared.settle(write, result.clone());
        }
        shared.settle(settled, result.clone());
    }
}

impl OnTheirWay {
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

    /// One write up to its end: done, refused, or out of time. With `since`, it may have been stored from then on.
    fn start_alone(&mut self, write: &QueuedWrite, since: Option<Begun>) {
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
