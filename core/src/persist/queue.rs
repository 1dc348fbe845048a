//! The queue of writes to one bucket.

use std::collections::hash_map::{Entry, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::persist::batches::Batches;
use crate::persist::target::{Failure, Outcome, Target};
use crate::persist::worker::Work;
use crate::persist::{LostWrite, QueuedWrite};
use crate::server::endpoint::Endpoint;

/// How many writes, and of how many bytes in all, are held before calls have to wait.
const MAX_WRITES: usize = 16_384;
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// How many lost writes are listed when the server stops; all are counted.
const MAX_LISTED: usize = 1_000;

pub(crate) type OnLostWrite = Arc<dyn Fn(&LostWrite) + Send + Sync>;

/// Accepts writes, and knows what became of them.
pub(crate) struct Writer {
    queue: mpsc::UnboundedSender<QueuedWrite>,
    room: Arc<Semaphore>,
    give_up: watch::Sender<bool>,
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    /// How long a write is tried.
    pub(crate) timeout: Duration,
    on_lost: Option<OnLostWrite>,
    pending: AtomicUsize,
    bytes: AtomicUsize,
    /// A write has been settled.
    settled: Notify,
    /// The highest revision that the bucket has acknowledged.
    newest: AtomicU64,
    /// The writes that are queued, for the buckets in which a method compares revisions.
    queued: Mutex<HashMap<Arc<str>, Queued>>,
    lost: AllLost,
}

/// The writes to one key.
#[derive(Default)]
struct Queued {
    writes: usize,
    /// All of them are settled.
    settled: Arc<Notify>,
}

/// When a write was begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) at: Instant,
    /// Up to this revision, the bucket holds what was there before.
    pub(crate) newest: u64,
}

/// The writes that were given up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost {
    pub(crate) count: usize,
    pub(crate) listed: Vec<LostWrite>,
}

/// Those of all buckets of a server, in the order in which they were given up.
pub(crate) type AllLost = Arc<Mutex<Lost>>;

/// Room for writes.
#[derive(Default)]
pub(crate) struct Slot(Option<Taken>);

struct Taken {
    permit: OwnedSemaphorePermit,
    shared: Arc<Shared>,
}

impl Slot {
    /// Takes the room for one write out of it.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.0.as_mut().and_then(|taken| {
            Some(Taken {
                permit: taken.permit.split(1)?,
                shared: Arc::clone(&taken.shared),
            })
        }))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Whoever waits for room has to hear of it also where nothing was written.
        if let Some(Taken { permit, shared }) = self.0.take() {
            drop(permit);
            shared.settled.notify_waiters();
        }
    }
}

impl Writer {
    /// Starts the task. It ends when the writer is dropped and everything queued is settled.
    pub(crate) fn start(
        timeout: Duration,
        on_lost: Option<OnLostWrite>,
        lost: AllLost,
        batches: Option<Batches>,
    ) -> Self {
        let (queue, writes) = mpsc::unbounded_channel();
        let (give_up, stops) = watch::channel(false);
        let shared = Arc::new(Shared {
            timeout,
            on_lost,
            pending: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            settled: Notify::new(),
            newest: AtomicU64::new(0),
            queued: Mutex::default(),
            lost,
        });
        let work = Work::new(batches, Arc::clone(&shared));
        tokio::spawn(work.run(writes, stops));
        Self {
            queue,
            room: Arc::new(Semaphore::new(MAX_WRITES)),
            give_up,
            shared,
        }
    }

    /// Whether one more write may be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.has_bytes() && self.room.available_permits() > 0
    }

    /// Waits until one may. Somebody else may be faster then.
    pub(crate) async fn room(&self) {
        loop {
            let settled = self.shared.settled.notified();
            if self.has_room() {
                return;
            }
            settled.await;
        }
    }

    /// Room for one write, if there is some.
    pub(crate) fn try_reserve(&self) -> Option<Slot> {
        let permit = || Arc::clone(&self.room).try_acquire_owned().ok();
        self.has_bytes()
            .then(permit)
            .flatten()
            .map(|permit| self.slot(permit))
    }

    /// Takes room for this many writes, and waits for it if need be.
    pub(crate) async fn reserve(&self, writes: u32) -> Slot {
        loop {
            let settled = self.shared.settled.notified();
            if self.has_bytes() {
                break;
            }
            settled.await;
        }
        match Arc::clone(&self.room).acquire_many_owned(writes).await {
            Ok(permit) => self.slot(permit),
            // The semaphore is never closed.
            Err(_) => Slot::default(),
        }
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Slot {
        let shared = Arc::clone(&self.shared);
        Slot(Some(Taken { permit, shared }))
    }

    fn has_bytes(&self) -> bool {
        self.shared.bytes.load(Ordering::Acquire) < MAX_BYTES
    }

    /// Waits until nothing is queued for a key, so that what the bucket says of it is the newest there is.
    pub(crate) async fn up_to_date(&self, key: &str) {
        loop {
            let Some(settled) = self.shared.settled_of(key) else {
                return;
            };
            settled.await;
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Queues a write; the writes to one key are done in this order.
    pub(crate) fn submit(&self, write: QueuedWrite) {
        if write.target.is_compared {
            let mut queued = self.shared.queued();
            queued.entry(write.key.clone()).or_default().writes += 1;
        }
        self.shared.pending.fetch_add(1, Ordering::AcqRel);
        self.shared
            .bytes
            .fetch_add(write.payload.len(), Ordering::AcqRel);
        if let Err(mpsc::error::SendError(write)) = self.queue.send(write) {
            self.shared.settle(
                write,
                Err(Failure::Store("the writer has ended".to_owned())),
            );
        }
    }

    /// Counts a response that never became a write.
    pub(crate) fn lose(&self, endpoint: &Endpoint, target: &Target, key: &str, failure: &Failure) {
        self.shared.lose(endpoint, target, key, failure);
    }

    /// Waits until everything queued is settled. What is not by the deadline is given up.
    pub(crate) async fn drain(&self, deadline: Instant) {
        if tokio::time::timeout_at(deadline, self.shared.idle())
            .await
            .is_err()
        {
            self.give_up.send_replace(true);
            // The task settles everything at once; a bound in case that it is gone.
            let settled = tokio::time::timeout(Duration::from_secs(1), self.shared.idle());
            if settled.await.is_err() {
                tracing::error!("queued writes are lost with the task that wrote them");
                let mut lost = self
                    .shared
                    .lost
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                lost.count += self.shared.pending.load(Ordering::Acquire);
            }
        }
    }
}

impl Shared {
    /// What a write that is begun now is to be compared with.
    pub(crate) fn begin(&self) -> Begun {
        Begun {
            at: Instant::now(),
            newest: self.newest.load(Ordering::Acquire),
        }
    }

    pub(crate) fn acknowledged(&self, revision: u64) {
        self.newest.fetch_max(revision, Ordering::AcqRel);
    }

    async fn idle(&self) {
        loop {
            let settled = self.settled.notified();
            if self.pending.load(Ordering::Acquire) == 0 {
                return;
            }
            settled.await;
        }
    }

    /// Waits until the writes of a key are settled; `None` if there are none.
    fn settled_of(&self, key: &str) -> Option<impl Future<Output = ()> + use<>> {
        let queued = self.queued();
        let settled = Arc::clone(&queued.get(key)?.settled);
        Some(settled.notified_owned())
    }

    fn queued(&self) -> MutexGuard<'_, HashMap<Arc<str>, Queued>> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn settle(&self, write: QueuedWrite, result: Outcome) {
        if write.target.is_compared
            && let Entry::Occupied(mut queued) = self.queued().entry(write.key.clone())
        {
            queued.get_mut().writes -= 1;
            if queued.get().writes == 0 {
                queued.remove().settled.notify_waiters();
            }
        }
        let counters = &write.endpoint.stores.counters;
        counters.pending.fetch_sub(1, Ordering::Relaxed);
        match &result {
            Ok(_) => {
                counters.persisted.fetch_add(1, Ordering::Relaxed);
            }
            Err(Failure::Exists) => {
                counters.skipped.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => self.lose(&write.endpoint, &write.target, &write.key, failure),
        }
        if let Some(done) = write.done {
            // The caller may have run out of time.
            let _ = done.send(result);
        }
        self.bytes.fetch_sub(write.payload.len(), Ordering::AcqRel);
        self.pending.fetch_sub(1, Ordering::AcqRel);
        drop(write.slot);
        self.settled.notify_waiters();
    }

    fn lose(&self, endpoint: &Endpoint, target: &Target, key: &str, failure: &Failure) {
        endpoint
            .stores
            .counters
            .failed
            .fetch_add(1, Ordering::Relaxed);
        let lost = LostWrite {
            service: endpoint.names.service.clone(),
            endpoint: endpoint.names.endpoint.clone(),
            bucket: target.store.bucket.to_owned(),
            key: key.to_owned(),
            operation: target.store.write.operation(),
            cause: failure.to_string(),
        };
        tracing::error!(
            bucket = lost.bucket,
            key = lost.key,
            operation = ?lost.operation,
            cause = lost.cause,
            "a write was given up"
        );
        if let Some(on_lost) = &self.on_lost {
            let call = std::panic::AssertUnwindSafe(|| on_lost(&lost));
            if std::panic::catch_unwind(call).is_err() {
                tracing::error!("the callback for lost writes panicked");
            }
        }
        let mut all = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        all.count += 1;
        if all.listed.len() < MAX_LISTED {
            all.listed.push(lost);
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("pending", &self.shared.pending)
            .field("bytes", &self.shared.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt;

    use super::*;

    /// As that of calls whose handlers fail.
    #[tokio::test]
    async fn room_that_was_not_used_is_heard_of() {
        let writer = Writer::start(Duration::from_secs(1), None, AllLost::default(), None);
        let mut taken = writer
            .reserve(u32::try_from(MAX_WRITES).unwrap_or(u32::MAX))
            .await;
        assert!(!writer.has_room() && writer.try_reserve().is_none());
        let mut room = pin!(writer.room());
        assert!(room.as_mut().now_or_never().is_none());
        drop(taken.split());
        room.await;
        assert!(writer.try_reserve().is_some());
    }
}
