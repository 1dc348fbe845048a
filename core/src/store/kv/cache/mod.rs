//! A copy of a bucket in memory that is kept up to date.
//!
//! A [`task`](self::task) reads the bucket, which is the [`source`](self::source), with an ordered consumer, applies each change to the
//! [`state`](self::state), and compares the two from time to time; reads take the lock of the state for the time of a look-up.

pub(crate) mod event;
pub(crate) mod shared;
pub(crate) mod source;
pub(crate) mod state;
pub(crate) mod subscription;
pub(crate) mod task;

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::store::error::StoreError;
use crate::store::kv::cache::event::CacheStatus;
use crate::store::kv::cache::shared::CacheShared;
use crate::store::kv::cache::source::{Seen, Source};
use crate::store::kv::cache::subscription::CacheEvents;
use crate::store::kv::cache::task::CacheTask;
use crate::store::kv::entry::Entry;
use crate::store::kv::handle::KvStore;

/// The maximum age, unless it is set.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(5);
/// The least maximum age.
const MIN_MAX_AGE: Duration = Duration::from_millis(100);

/// A local copy of a bucket, or a part of it, that is kept up to date; made by
/// [`KvStore::cached`](crate::store::kv::handle::KvStore::cached).
///
/// A read is a look-up in memory. It returns what the server had stored a moment ago, and the last known state while the connection is
/// interrupted; [`status`](Self::status) gives the age of that state, and [`wait_for`](Self::wait_for) waits for the caller's own write.
/// While the bucket is deleted, reads fail with [`BucketNotFound`](crate::store::StoreErrorKind::BucketNotFound) until there is one again.
///
/// # What the bucket does not announce
///
/// A purge of the stream by an operator, an older snapshot that is put back, a new `ttl`, an older value that comes back when the one over
/// it expires, a consumer that is paused: of these no message tells. So the cache looks at the bucket from time to time, and compares how
/// many keys have a message there and what has arrived. Where the two disagree it loads the bucket again. Such a change shows within
/// [`with_max_age`](CacheBuilder::with_max_age), 5 seconds by default, and causes events as any other.
///
/// In a quiet bucket a look is one request for the state of the stream. While the bucket is written to, a cache with a pattern lets the
/// server count the keys that match, which takes it longer the more there are, and may ask for the state of its consumer.
///
/// A single message that an operator removes with `nats stream rmm` uncovers an older revision of its key, which changes no number of keys.
/// Buckets deny that; in one that does not, and that keeps several revisions, the cache does not notice it.
///
/// Entries expire by the clock of the server. While entries with a TTL of their own expire all the time, the number of keys is not exact,
/// and a purge of few keys shows when it is again.
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
    /// Fails with [`NotCached`](crate::store::StoreErrorKind::NotCached) if the key does not match the pattern, or is not held and not
    /// all keys are: read the store then. Fails with [`Decode`](crate::store::StoreErrorKind::Decode) if the value is no `T`.
    pub fn get(&self, key: impl AsRef<str>) -> Result<Option<Arc<T>>, StoreError> {
        let key = key.as_ref();
        let state = self.shared.read();
        match state.get(key, &self.shared.source.store.codec())? {
            Some(value) => Ok(Some(value)),
            None => self.shared.check_absent(&state, key).map(|()| None),
        }
    }

    /// The newest revision of a key that has a value, as [`get`](Self::get).
    pub fn entry(&self, key: impl AsRef<str>) -> Result<Option<Entry<Arc<T>>>, StoreError> {
        let key = key.as_ref();
        let state = self.shared.read();
        match state.entry(key, &self.shared.source.store.codec())? {
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
            age: self.shared.agreed_at.read().elapsed(),
            max_age: self.shared.max_age,
            revision: self.shared.seen.borrow().revision,
            behind: liveness.pending(),
            entries: state.len(),
            is_complete: state.is_complete,
        }
    }

    /// Waits until the cache has seen a revision: the one that a write has returned. If the bucket was deleted and made again, it is the
    /// revision of the bucket that is there now. This asks the server which bucket that is, so it takes a round trip; concurrent calls
    /// share one.
    ///
    /// Fails with [`TimedOut`](crate::store::StoreErrorKind::TimedOut) after the client's timeout, as it may for a key that does not match,
    /// or with [`BucketNotFound`](crate::store::StoreErrorKind::BucketNotFound) if there is no bucket; and with
    /// [`ConnectionLost`](crate::store::StoreErrorKind::ConnectionLost) at once when the connection is over for good.
    pub async fn wait_for(&self, revision: u64) -> Result<(), StoreError> {
        let wait = self.wait_for_revision(revision);
        let waited = timeout(self.shared.source.store.timeout()?, wait).await;
        waited.unwrap_or_else(|_| Err(self.shared.failure().unwrap_or_else(StoreError::timed_out)))
    }

    async fn wait_for_revision(&self, revision: u64) -> Result<(), StoreError> {
        let mut seen = self.shared.seen.subscribe();
        let mut created = None;
        loop {
            let has_come = |seen: &Seen| {
                seen.revision >= revision && (created.is_none() || seen.created == created)
            };
            let come = seen
                .wait_for(|seen| has_come(seen) || self.shared.is_lost())
                .await;
            let Ok(come) = come.map(|seen| *seen) else {
                return Err(StoreError::timed_out());
            };
            if !has_come(&come) {
                return Err(StoreError::connection_lost());
            }
            if created.is_some() {
                return Ok(());
            }
            // The revision may be one of another bucket that was made under the same name, of which the cache has yet to hear.
            created = Some(self.shared.source.facts().await?.created);
        }
    }

    /// All changes of the keys that match from now on, whether they are held or not. A stream that is more than 1,024 events
    /// behind yields [`Missed`](crate::store::CacheEvent::Missed) in place of the oldest.
    ///
    /// An entry that is dropped to stay within [`with_max_entries`](CacheBuilder::with_max_entries) causes no event, since the bucket
    /// still has it. When an entry that is not held expires, there is an event only in a bucket with `marker_ttl`, whose server
    /// announces it.
    pub fn subscribe(&self) -> CacheEvents<T> {
        CacheEvents::new(self.shared.events.subscribe())
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
            .field("store", &self.shared.source.store)
            .field("pattern", &self.shared.source.pattern)
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
    max_age: Duration,
}

impl<T: Send + Sync + 'static> CacheBuilder<T> {
    pub(crate) fn new(store: KvStore<T>) -> Self {
        Self {
            store,
            pattern: ">".to_owned(),
            max_entries: None,
            max_age: DEFAULT_MAX_AGE,
        }
    }

    /// Holds only the keys that match.
    pub fn with_pattern(mut self, pattern: impl AsRef<str>) -> Self {
        pattern.as_ref().clone_into(&mut self.pattern);
        self
    }

    /// Holds at most this many keys, those that were written last. After it has left one out, the cache does not know whether a key that
    /// it does not hold has a value: [`get`](KvCache::get) then fails with [`NotCached`](crate::store::StoreErrorKind::NotCached).
    pub fn with_max_entries(mut self, entries: usize) -> Self {
        self.max_entries = Some(entries);
        self
    }

    /// Sets within which time a change shows that [no message announces](KvCache#what-the-bucket-does-not-announce); 5 seconds unless it is
    /// set, and at least 100 milliseconds. The cache looks at the bucket twice in that time.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use natsmicro::store::StoreError;
    /// # use natsmicro::KvStore;
    /// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
    /// let cache = profiles.cached().with_max_age(Duration::from_secs(1)).await?;
    /// let status = cache.status();
    /// if status.age > status.max_age {
    ///     println!("nothing is known of the last {:?}", status.age);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age.max(MIN_MAX_AGE);
        self
    }

    async fn load(self) -> Result<KvCache<T>, StoreError> {
        let source = Source {
            store: self.store,
            pattern: self.pattern,
            max_entries: self.max_entries,
        };
        let loaded = source.load().await?;
        let (shared, feed) = CacheShared::new(source, self.max_age, loaded);
        let shared = Arc::new(shared);
        let task = tokio::spawn(CacheTask::new(Arc::clone(&shared), feed).run());
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
            .field("max_age", &self.max_age)
            .finish()
    }
}
