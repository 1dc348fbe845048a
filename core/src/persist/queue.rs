//! The queue of writes to one bucket.
//!
//! A write takes a permit before its handler runs, is counted as pending when it is queued, and is settled once: stored, given up or
//! replaced by a newer one. Settling gives back its permit and its bytes, and wakes those who wait for capacity or for the end.

use std::collections::hash_map::{Entry, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::log::error_limited;
use crate::persist::age::{Place, WriteStart};
use crate::persist::batches::Batches;
use crate::persist::presence::Presence;
use crate::persist::stats::WriteOrigin;
use crate::persist::target::{Failure, Target, WriteOutcome};
use crate::persist::worker::Worker;
use crate::persist::{LostWrite, QueuedWrite};
use crate::sync::Mutex;
use crate::transport::gate::Gate;

/// The capacity of a queue in writes and in bytes of their values. Calls wait when it is used up.
const MAX_WRITES: usize = 16_384;
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// How many lost writes are listed when the server stops. All are counted.
const MAX_LISTED: usize = 1_000;

pub(crate) type OnLostWrite = Arc<dyn Fn(&LostWrite) + Send + Sync>;

/// The queue of writes to one bucket. Dropping it ends the worker once all queued writes are settled.
pub(crate) struct Queue {
    writes: mpsc::UnboundedSender<QueuedWrite>,
    /// One permit per write that may be held. Never closed.
    capacity: Arc<Semaphore>,
    /// Keeps what is known of the bucket recent, and looks for one in memory after each reconnect.
    following: AbortHandle,
    /// Set to true to make the worker give up all writes.
    give_up: watch::Sender<bool>,
    shared: Arc<Shared>,
}

/// The state that a queue, its worker and its permits share.
///
/// Invariant: `pending` and `bytes` count the writes that were submitted and are not settled. They are changed before `settled` is
/// notified, so that a waiter that is woken sees the change.
pub(crate) struct Shared {
    /// The connection to the bucket.
    pub(crate) gate: Gate,
    pub(crate) presence: Arc<Presence>,
    /// How long attempts at a write go on.
    pub(crate) timeout: Duration,
    on_lost: Option<OnLostWrite>,
    /// Writes that are queued or in flight, and not settled.
    pending: AtomicUsize,
    /// The bytes of the values of these writes.
    bytes: AtomicUsize,
    /// Notified whenever a write is settled or a permit is released. Callers wait on it for capacity or for the end of all writes.
    settled: Notify,
    /// The newest place that the bucket has acknowledged.
    newest: Mutex<Option<Place>>,
    /// The keys with unsettled writes, in buckets in which a method compares revisions; empty for others. Invariant: a key is in the map
    /// exactly as long as its count is above zero. The lock is held for a look-up or a change of one key, and never across an await.
    unsettled: Mutex<HashMap<Arc<str>, UnsettledKey>>,
    lost: AllLost,
}

/// The unsettled writes to one key.
#[derive(Default)]
struct UnsettledKey {
    writes: usize,
    /// Notified when the last of them is settled.
    settled: Arc<Notify>,
}

/// The writes that were given up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost {
    pub(crate) count: usize,
    pub(crate) listed: Vec<LostWrite>,
}

/// The lost writes of all buckets of a server, in the order in which they were given up.
pub(crate) type AllLost = Arc<Mutex<Lost>>;

/// The capacity that is reserved for writes in a queue. Released when dropped.
#[derive(Default)]
pub(crate) struct Permit(Option<TakenPermit>);

struct TakenPermit {
    permit: OwnedSemaphorePermit,
    shared: Arc<Shared>,
}

impl Permit {
    /// Takes the permit for one write out of one for several.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.0.as_mut().and_then(|taken| {
            Some(TakenPermit {
                permit: taken.permit.split(1)?,
                shared: Arc::clone(&taken.shared),
            })
        }))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // The call may have written nothing, so that no write is settled and wakes the callers that wait for capacity.
        if let Some(TakenPermit { permit, shared }) = self.0.take() {
            drop(permit);
            shared.settled.notify_waiters();
        }
    }
}

impl Queue {
    /// Starts the worker. It ends when the queue is dropped and everything queued is settled.
    pub(crate) fn start(
        gate: Gate,
        presence: Presence,
        timeout: Duration,
        on_lost: Option<OnLostWrite>,
        lost: AllLost,
        batches: Option<Batches>,
    ) -> Self {
        let (writes, queued) = mpsc::unbounded_channel();
        let (give_up, stops) = watch::channel(false);
        let presence = Arc::new(presence);
        let following = tokio::spawn(Arc::clone(&presence).follow()).abort_handle();
        let shared = Arc::new(Shared {
            gate,
            presence,
            timeout,
            on_lost,
            pending: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            settled: Notify::new(),
            newest: Mutex::default(),
            unsettled: Mutex::default(),
            lost,
        });
        let worker = Worker::new(batches, Arc::clone(&shared));
        tokio::spawn(worker.run(queued, stops));
        Self {
            writes,
            capacity: Arc::new(Semaphore::new(MAX_WRITES)),
            following,
            give_up,
            shared,
        }
    }

    /// Whether there is capacity for one more write.
    pub(crate) fn has_capacity(&self) -> bool {
        self.has_bytes() && self.capacity.available_permits() > 0
    }

    /// Waits for free capacity without reserving it; another caller may take it first.
    pub(crate) async fn wait_for_capacity(&self) {
        loop {
            let settled = self.shared.settled.notified();
            if self.has_capacity() {
                return;
            }
            settled.await;
        }
    }

    /// Reserves capacity for one write; `None` if there is none.
    pub(crate) fn try_reserve(&self) -> Option<Permit> {
        let permit = || Arc::clone(&self.capacity).try_acquire_owned().ok();
        self.has_bytes()
            .then(permit)
            .flatten()
            .map(|permit| self.permit(permit))
    }

    /// Reserves capacity for this many writes, and waits for it if necessary.
    pub(crate) async fn reserve(&self, writes: u32) -> Permit {
        loop {
            let settled = self.shared.settled.notified();
            if self.has_bytes() {
                break;
            }
            settled.await;
        }
        match Arc::clone(&self.capacity).acquire_many_owned(writes).await {
            Ok(permit) => self.permit(permit),
            // Only a closed semaphore fails.
            Err(_) => Permit::default(),
        }
    }

    fn permit(&self, permit: OwnedSemaphorePermit) -> Permit {
        let shared = Arc::clone(&self.shared);
        Permit(Some(TakenPermit { permit, shared }))
    }

    fn has_bytes(&self) -> bool {
        self.shared.bytes.load(Ordering::Acquire) < MAX_BYTES
    }

    /// Waits until all writes to a key are settled, so that a read of the key sees all of them.
    pub(crate) async fn wait_for_key(&self, key: &str) {
        loop {
            let Some(settled) = self.shared.key_settled(key) else {
                return;
            };
            settled.await;
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Queues a write. The writes to one key are made in this order.
    pub(crate) fn submit(&self, write: QueuedWrite) {
        if write.target.is_compared {
            let mut unsettled = self.shared.unsettled();
            unsettled.entry(write.key.clone()).or_default().writes += 1;
        }
        self.shared.pending.fetch_add(1, Ordering::AcqRel);
        self.shared
            .bytes
            .fetch_add(write.payload.len(), Ordering::AcqRel);
        if let Err(mpsc::error::SendError(write)) = self.writes.send(write) {
            self.shared.settle(
                write,
                Err(Failure::Store(
                    "the worker of the queue has ended".to_owned(),
                )),
            );
        }
    }

    /// Records a lost write that was never queued, because its key is invalid.
    pub(crate) fn lose(&self, origin: &WriteOrigin, target: &Target, key: &str, failure: &Failure) {
        self.shared.lose(origin, target, key, failure);
    }

    /// Waits until all queued writes are settled. Those that are not by the deadline are given up.
    pub(crate) async fn drain(&self, deadline: Instant) {
        if tokio::time::timeout_at(deadline, self.shared.idle())
            .await
            .is_err()
        {
            self.give_up.send_replace(true);
            // The worker settles all writes at once. The timeout is for a worker that has panicked.
            let settled = tokio::time::timeout(Duration::from_secs(1), self.shared.idle());
            if settled.await.is_err() {
                error_limited!("queued writes are lost with the task that wrote them");
                self.shared.lost.lock().count += self.shared.pending.load(Ordering::Acquire);
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Shared {
    /// The start of a write that is queued now. `due` is the deadline of the call that waits for it.
    pub(crate) fn start_write(&self, due: Option<Instant>) -> WriteStart {
        WriteStart::now(*self.newest.lock(), self.gate.connection_epoch(), due)
    }

    /// Records a place that the bucket has acknowledged.
    pub(crate) fn acknowledged(&self, place: Place) {
        let mut newest = self.newest.lock();
        *newest = newest.max(Some(place));
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

    /// Waits until the writes to a key are settled; `None` if there are none.
    fn key_settled(&self, key: &str) -> Option<impl Future<Output = ()> + use<>> {
        let unsettled = self.unsettled();
        let settled = Arc::clone(&unsettled.get(key)?.settled);
        Some(settled.notified_owned())
    }

    fn unsettled(&self) -> MutexGuard<'_, HashMap<Arc<str>, UnsettledKey>> {
        self.unsettled.lock()
    }

    /// Ends a write: counts it, and releases its permit and its bytes. Called exactly once for each.
    pub(crate) fn settle(&self, write: QueuedWrite, result: WriteOutcome) {
        if write.target.is_compared
            && let Entry::Occupied(mut unsettled) = self.unsettled().entry(write.key.clone())
        {
            unsettled.get_mut().writes -= 1;
            if unsettled.get().writes == 0 {
                unsettled.remove().settled.notify_waiters();
            }
        }
        let counters = &write.origin.counters;
        counters.pending.fetch_sub(1, Ordering::Relaxed);
        match &result {
            Ok(_) => {
                counters.persisted.fetch_add(1, Ordering::Relaxed);
            }
            // Nobody waits for it, and so it is as good as stored and replaced.
            Err(Failure::Superseded) if write.done.is_none() => {
                counters.persisted.fetch_add(1, Ordering::Relaxed);
            }
            Err(Failure::Exists) => {
                counters.skipped.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) => self.lose(&write.origin, &write.target, &write.key, failure),
        }
        if let Some(done) = write.done {
            // Fails if the call has timed out and no longer waits.
            let _ = done.send(result);
        }
        self.bytes.fetch_sub(write.payload.len(), Ordering::AcqRel);
        self.pending.fetch_sub(1, Ordering::AcqRel);
        drop(write.permit);
        self.settled.notify_waiters();
    }

    fn lose(&self, origin: &WriteOrigin, target: &Target, key: &str, failure: &Failure) {
        origin.counters.failed.fetch_add(1, Ordering::Relaxed);
        let lost = LostWrite {
            service: origin.names.service.clone(),
            endpoint: origin.names.endpoint.clone(),
            bucket: target.name.to_owned(),
            key: key.to_owned(),
            operation: target.action.operation(),
            cause: failure.to_string(),
        };
        error_limited!(
            bucket = lost.bucket,
            key = lost.key,
            operation = ?lost.operation,
            cause = lost.cause,
            "a write was given up"
        );
        if let Some(on_lost) = &self.on_lost {
            let call = std::panic::AssertUnwindSafe(|| on_lost(&lost));
            if std::panic::catch_unwind(call).is_err() {
                error_limited!("the callback for lost writes panicked");
            }
        }
        let mut all = self.lost.lock();
        all.count += 1;
        if all.listed.len() < MAX_LISTED {
            all.listed.push(lost);
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("pending", &self.shared.pending)
            .field("bytes", &self.shared.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::pin::pin;

    use futures::FutureExt;

    use super::*;
    use crate::descriptor::bucket::StoreKind;
    use crate::store::bucket::jetstream::JetStream;
    use crate::testing::NatsServer;

    /// A permit is released without a write when the handler fails.
    #[tokio::test]
    async fn released_capacity_wakes_waiting_callers() {
        let server = NatsServer::start().await.unwrap();
        let context = async_nats::jetstream::new(server.connect().await.unwrap());
        let timeout = Duration::from_secs(1);
        let jetstream = Arc::new(JetStream::new(context, timeout, None));
        let gate = jetstream.gate.clone();
        let presence = Presence::new(jetstream, StoreKind::Kv, "bucket", None);
        let queue = Queue::start(gate, presence, timeout, None, AllLost::default(), None);
        let mut taken = queue.reserve(16_384).await;
        assert!(!queue.has_capacity() && queue.try_reserve().is_none());
        let mut capacity = pin!(queue.wait_for_capacity());
        assert!(capacity.as_mut().now_or_never().is_none());
        drop(taken.split());
        capacity.await;
        assert!(queue.try_reserve().is_some());
        queue.shared.bytes.store((64 << 20) - 1, Ordering::Release);
        assert!(queue.has_capacity());
        queue.shared.bytes.store(64 << 20, Ordering::Release);
        assert!(!queue.has_capacity() && queue.try_reserve().is_none());
    }
}
