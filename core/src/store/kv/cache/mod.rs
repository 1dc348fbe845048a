//! A copy of a bucket in memory that is kept up to date.
//!
//! A task reads the bucket with an ordered consumer and applies each change to the [`state`](self::state); reads take its lock for the
//! time of a look-up.

pub(crate) mod event;
pub(crate) mod state;
pub(crate) mod subscription;

use std::fmt;
use std::future::IntoFuture;
use std::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::BoxStream;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::error::chain;
use crate::log::warn_limited;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::cache::event::{CacheEvent, CacheStatus};
use crate::store::kv::cache::state::CacheState;
use crate::store::kv::cache::subscription::CacheEvents;
use crate::store::kv::entry::Entry;
use crate::store::kv::handle::KvStore;
use crate::store::reader::delivery::{BucketMessage, ReaderEvent};
use crate::store::reader::liveness::Liveness;
use crate::store::reader::range::Start;
use crate::sync::RwLock;
use crate::transport::subject;

/// How many events a subscriber may lag behind.
const EVENT_CAPACITY: usize = 1024;
/// How often the cache removes expired entries.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// The pauses between attempts to load a lost bucket again.
const RELOAD_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// A local copy of a bucket, or a part of it, that is kept up to date; made by [`KvStore::cached`](crate::store::kv::handle::KvStore::cached).
///
/// A read is a look-up in memory. It returns what the server had stored a moment ago (some hundred microseconds on a good
/// connection), and the last known state while the connection is interrupted; [`status`](Self::status) gives the age of that state, and
/// [`wait_for`](Self::wait_for) waits for the caller's own write. While the bucket is deleted, reads fail with
/// [`BucketNotFound`](StoreErrorKind::BucketNotFound) until there is one again.
///
/// Entries expire by the clock of this machine if the server does not announce that they have expired.
///
/// Cheap to clone. The last clone that is dropped ends the task that keeps the copy.
///
/// ```no_run
/// # use natsmicro::store::StoreError;
/// # use natsmicro::KvStore;
/// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
/// let cache = profiles.cached().with_pattern("user.>").await?;
/// let ada: Option<std::sync::Arc<String>> = cache.get("user.ada")?;
/// let revision = profiles.put("user.ada", &"Ada".to_owned()).await?;
/// cache.wait_for(revision).await?;
/// assert!(cache.get("user.ada")?.is_some());
/// # Ok(())
/// # }
/// ```
pub struct KvCache<T> {
    shared: Arc<CacheShared<T>>,
    task: Arc<AbortOnDrop>,
}

/// What the clones of a cache share with its task. Only the task writes; no lock is held across an `await`.
///
/// Invariant: `state` contains all changes up to `revision`, and an event is sent after the state has its change. While a lost bucket
/// is loaded again, `state` holds nothing but the failure, and `revision` runs ahead of it.
struct CacheShared<T> {
    store: KvStore<T>,
    pattern: String,
    max_entries: Option<usize>,
    state: RwLock<CacheState<T>>,
    liveness: RwLock<Arc<Liveness>>,
    revision: watch::Sender<u64>,
    events: broadcast::Sender<CacheEvent<T>>,
}

/// The changes that follow the loaded entries.
struct ChangeFeed {
    events: BoxStream<'static, Result<ReaderEvent, StoreError>>,
    prefix: String,
}

/// Ends the task when the last clone of the cache is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: Send + Sync + 'static> KvCache<T> {
    /// The value of a key; `None` if it has none.
    ///
    /// Fails with [`NotCached`](StoreErrorKind::NotCached) if the key does not match the pattern, or is not held and not
    /// all keys are: read the store then. Fails with [`Decode`](StoreErrorKind::Decode) if the value is no `T`.
    pub fn get(&self, key: impl AsRef<str>) -> Result<Option<Arc<T>>, StoreError> {
        let key = key.as_ref();
        let state = self.shared.read();
        match state.get(key, &self.shared.store.codec())? {
            Some(value) => Ok(Some(value)),
            None => self.shared.check_absent(&state, key).map(|()| None),
        }
    }

    /// The newest revision of a key that has a value, as [`get`](Self::get).
    pub fn entry(&self, key: impl AsRef<str>) -> Result<Option<Entry<Arc<T>>>, StoreError> {
        let key = key.as_ref();
        let state = self.shared.read();
        match state.entry(key, &self.shared.store.codec())? {
            Some(entry) => Ok(Some(entry)),
            None => self.shared.check_absent(&state, key).map(|()| None),
        }
    }

    /// All entries that are held, in no order; undecodable ones are left out.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry<Arc<T>>> {
        self.shared.read().entries()
    }

    /// How up to date the cache is.
    #[must_use]
    pub fn status(&self) -> CacheStatus {
        let state = self.shared.read();
        let liveness = self.shared.liveness();
        CacheStatus {
            age: liveness.age(),
            revision: *self.shared.revision.borrow(),
            behind: liveness.pending(),
            entries: state.len(),
            is_complete: state.is_complete,
        }
    }

    /// Waits until the cache has seen a revision: the one that a write has returned. Fails with
    /// [`TimedOut`](StoreErrorKind::TimedOut) after the client's timeout, which is always so for a key that does not match, and with
    /// [`ConnectionLost`](StoreErrorKind::ConnectionLost) at once when the connection is over for good.
    pub async fn wait_for(&self, revision: u64) -> Result<(), StoreError> {
        let mut seen = self.shared.revision.subscribe();
        let wait = seen.wait_for(|seen| *seen >= revision || self.shared.is_lost());
        match tokio::time::timeout(self.shared.store.timeout()?, wait).await {
            Ok(Ok(seen)) if *seen >= revision => Ok(()),
            Ok(Ok(_)) => Err(StoreError::connection_lost()),
            Ok(Err(_)) | Err(_) => Err(StoreError::timed_out()),
        }
    }

    /// All changes of the keys that match from now on, whether they are held or not. A stream that is more than 1,024 events
    /// behind yields [`Missed`](CacheEvent::Missed) in place of the oldest.
    ///
    /// An entry that is dropped to stay within [`with_max_entries`](CacheBuilder::with_max_entries) causes no event, since the bucket
    /// still has it. When an entry that is not held expires, there is an event only in a bucket with `marker_ttl`, whose server
    /// announces it.
    pub fn subscribe(&self) -> CacheEvents<T> {
        CacheEvents::new(self.shared.events.subscribe())
    }
}

impl<T: Send + Sync + 'static> CacheShared<T> {
    /// Succeeds if a key that is not held has no value. Fails if the cache does not know.
    fn check_absent(&self, state: &CacheState<T>, key: &str) -> Result<(), StoreError> {
        if let Some(failure) = &state.failure {
            return Err(
                StoreError::new(*failure.kind(), "the cache is not up to date")
                    .with_source(Arc::clone(failure)),
            );
        }
        if subject::matches(&self.pattern, key) && state.is_complete {
            return Ok(());
        }
        Err(StoreError::new(
            StoreErrorKind::NotCached,
            format!("`{key}` is not cached"),
        ))
    }

    /// Whether the connection is lost, so that nothing changes any more.
    fn is_lost(&self) -> bool {
        let state = self.read();
        let failure = state.failure.as_ref();
        failure.is_some_and(|failure| *failure.kind() == StoreErrorKind::ConnectionLost)
    }

    /// Reads all current entries, and replaces the state by them.
    async fn load(&self) -> Result<ChangeFeed, StoreError> {
        let ttl = self.store.status().await?.ttl;
        let pattern = std::slice::from_ref(&self.pattern);
        let (consumer, prefix) = self
            .store
            .consume(pattern, Start::Newest, false, true)
            .await?;
        let liveness = consumer.liveness();
        let mut events = consumer.into_stream();
        let mut state = CacheState::new(self.max_entries, ttl);
        let timeout = self.store.timeout()?;
        loop {
            let next = tokio::time::timeout(timeout, events.next()).await;
            match next {
                Ok(Some(Ok(ReaderEvent::Message(message)))) => {
                    let revision = message.sequence;
                    state.apply(&self.store.codec(), &prefix, message);
                    self.revision.send_replace(revision);
                }
                Ok(Some(Ok(ReaderEvent::CaughtUp)) | None) => break,
                Ok(Some(Err(error))) => return Err(error),
                Err(_) => return Err(self.store.timed_out()),
            }
        }
        *self.liveness.write() = liveness;
        *self.write() = state;
        Ok(ChangeFeed { events, prefix })
    }

    fn apply(&self, prefix: &str, message: BucketMessage) {
        let revision = message.sequence;
        let event = self.write().apply(&self.store.codec(), prefix, message);
        self.revision.send_replace(revision);
        if let Some(event) = event {
            self.send_event(event);
        }
    }

    /// Applies changes until the reader fails, and returns its error.
    async fn follow(&self, changes: &mut ChangeFeed) -> StoreError {
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                biased;
                _ = sweep.tick() => {
                    let expired = self.write().sweep();
                    for event in expired {
                        self.send_event(event);
                    }
                }
                next = changes.events.next() => match next {
                    Some(Ok(ReaderEvent::Message(message))) => self.apply(&changes.prefix, message),
                    Some(Ok(ReaderEvent::CaughtUp)) => {}
                    Some(Err(error)) => return error,
                    None => return StoreError::timed_out(),
                },
            }
        }
    }

    /// The task of a cache: applies changes, and loads the bucket again whenever it was lost. Runs until it is aborted, or the connection is
    /// lost for good.
    async fn keep(self: Arc<Self>, mut changes: ChangeFeed) {
        loop {
            let error = self.follow(&mut changes).await;
            warn_limited!(
                bucket = self.store.bucket(),
                error = chain(&error),
                "a cache has lost its bucket"
            );
            let mut is_over = *error.kind() == StoreErrorKind::ConnectionLost;
            *self.write() = CacheState::lost(error);
            self.send_event(CacheEvent::Cleared);
            let mut backoff = RELOAD_BACKOFF;
            changes = loop {
                if is_over {
                    // Wakes those who wait for a revision.
                    self.revision.send_modify(|_| {});
                    return;
                }
                backoff.wait().await;
                match self.load().await {
                    Ok(changes) => break changes,
                    Err(error) => {
                        is_over = *error.kind() == StoreErrorKind::ConnectionLost;
                        self.write().failure = Some(Arc::new(error));
                    }
                }
            };
            self.send_event(CacheEvent::Loaded);
        }
    }

    /// Sends an event; without subscribers it is dropped.
    fn send_event(&self, event: CacheEvent<T>) {
        let _ = self.events.send(event);
    }

    fn read(&self) -> RwLockReadGuard<'_, CacheState<T>> {
        self.state.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, CacheState<T>> {
        self.state.write()
    }

    fn liveness(&self) -> Arc<Liveness> {
        Arc::clone(&self.liveness.read())
    }
}

impl<T> Clone for KvCache<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            task: Arc::clone(&self.task),
        }
    }
}

impl<T> fmt::Debug for KvCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvCache")
            .field("store", &self.shared.store)
            .field("pattern", &self.shared.pattern)
            .field("task", &self.task.0)
            .finish()
    }
}

/// The builder of a [`KvCache`], which is loaded when it is awaited.
#[must_use = "nothing is loaded unless it is awaited"]
pub struct CacheBuilder<T> {
    store: KvStore<T>,
    pattern: String,
    max_entries: Option<usize>,
}

impl<T: Send + Sync + 'static> CacheBuilder<T> {
    pub(crate) fn new(store: KvStore<T>) -> Self {
        Self {
            store,
            pattern: ">".to_owned(),
            max_entries: None,
        }
    }

    /// Holds only the keys that match.
    pub fn with_pattern(mut self, pattern: impl AsRef<str>) -> Self {
        pattern.as_ref().clone_into(&mut self.pattern);
        self
    }

    /// Holds at most this many keys, those that were written last. After it has left one out, the cache does not know whether a key that
    /// it does not hold has a value: [`get`](KvCache::get) then fails with [`NotCached`](StoreErrorKind::NotCached).
    pub fn with_max_entries(mut self, entries: usize) -> Self {
        self.max_entries = Some(entries);
        self
    }

    async fn load(self) -> Result<KvCache<T>, StoreError> {
        let shared = Arc::new(CacheShared {
            store: self.store,
            pattern: self.pattern,
            max_entries: self.max_entries,
            state: RwLock::new(CacheState::new(self.max_entries, None)),
            liveness: RwLock::new(Arc::new(Liveness::new())),
            revision: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENT_CAPACITY),
        });
        let changes = shared.load().await?;
        let task = tokio::spawn(Arc::clone(&shared).keep(changes));
        Ok(KvCache {
            shared,
            task: Arc::new(AbortOnDrop(task)),
        })
    }
}

impl<T: Send + Sync + 'static> IntoFuture for CacheBuilder<T> {
    type Output = Result<KvCache<T>, StoreError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.load().boxed()
    }
}

impl<T> fmt::Debug for CacheBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("store", &self.store)
            .field("pattern", &self.pattern)
            .field("max_entries", &self.max_entries)
            .finish()
    }
}
