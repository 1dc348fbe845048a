pub(crate) mod state;
pub(crate) mod subscription;

use std::fmt;
use std::future::IntoFuture;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::BoxStream;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::descriptor::key;
use crate::error::chain;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::cache::state::State;
use crate::store::kv::cache::subscription::CacheEvents;
use crate::store::kv::entry::Entry;
use crate::store::kv::handle::KvStore;
use crate::store::reader::contact::Contact;
use crate::store::reader::ordered::{Delivered, Delivery};
use crate::store::reader::range::Start;

/// How many events a subscriber may lag behind.
const EVENTS: usize = 1024;
/// How often the cache looks for what has expired.
const SWEEP: Duration = Duration::from_secs(1);
/// The pause before the bucket is read anew; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A local copy of a bucket, or a part of it, that is kept up to date; made by [`KvStore::cached`](crate::store::kv::handle::KvStore::cached).
///
/// A read is a look-up in memory. It tells what the server had stored a moment ago (some hundred microseconds on a good
/// connection), and the last known state while the connection is interrupted; [`status`](Self::status) says how old that is, and
/// [`wait_for`](Self::wait_for) waits for a write of one's own. Where the bucket is deleted, reads fail with
/// [`BucketNotFound`](StoreErrorKind::BucketNotFound) until there is one again.
///
/// Entries that expire are compared with the clock of this machine where the server does not tell of them.
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
    shared: Arc<Shared<T>>,
    task: Arc<Task>,
}

struct Shared<T> {
    store: KvStore<T>,
    pattern: String,
    max_entries: Option<usize>,
    state: RwLock<State<T>>,
    contact: RwLock<Arc<Contact>>,
    revision: watch::Sender<u64>,
    events: broadcast::Sender<CacheEvent<T>>,
}

/// What comes after the content.
struct Changes {
    deliveries: BoxStream<'static, Result<Delivery, StoreError>>,
    prefix: String,
}

/// Ends the task with the last clone of the cache.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What happens to a [`KvCache`].
#[derive(Debug)]
#[non_exhaustive]
pub enum CacheEvent<T> {
    /// A key was written, deleted or purged, or has expired.
    Changed(Entry<Arc<T>>),
    /// A key got a value that is no `T`; reading it fails with [`Decode`](StoreErrorKind::Decode).
    Undecodable {
        /// The key.
        key: String,
        /// The revision of the value.
        revision: u64,
    },
    /// The bucket is gone, and so is all that the cache held.
    Cleared,
    /// The cache was loaded anew.
    Loaded,
    /// So many events were not yielded, because they were not read in time.
    Missed(u64),
}

impl<T> Clone for CacheEvent<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Changed(entry) => Self::Changed(entry.clone()),
            Self::Undecodable { key, revision } => Self::Undecodable {
                key: key.clone(),
                revision: *revision,
            },
            Self::Cleared => Self::Cleared,
            Self::Loaded => Self::Loaded,
            Self::Missed(count) => Self::Missed(*count),
        }
    }
}

/// How well a [`KvCache`] knows its bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStatus {
    /// How long ago the server was heard of. It says something every five seconds at least, so that more than ten mean an
    /// interruption.
    pub age: Duration,
    /// The newest revision that was seen.
    pub revision: u64,
    /// How many changes the server had yet to send when it was last heard of.
    pub behind: u64,
    /// How many keys are held.
    pub entries: usize,
    /// Whether these are all keys that match. They are not while the bucket is gone, and once one was left out for lack of room
    /// the cache no longer knows: that one may have been deleted since.
    pub is_complete: bool,
}

impl<T: Send + Sync + 'static> KvCache<T> {
    /// The value of a key; `None` if it has none.
    ///
    /// Fails with [`NotCached`](StoreErrorKind::NotCached) if the key does not match the pattern, or is not held while there was
    /// no room for all: then the store knows. Fails with [`Decode`](StoreErrorKind::Decode) if the value is no `T`.
    pub fn get(&self, key: impl AsRef<str>) -> Result<Option<Arc<T>>, StoreError> {
        let key = key.as_ref();
        let state = self.shared.read();
        match state.get(key, &self.shared.store.codec())? {
            Some(value) => Ok(Some(value)),
            None => self.shared.absent(&state, key).map(|()| None),
        }
    }

    /// The newest revision of a key that has a value, as [`get`](Self::get).
    pub fn entry(&self, key: impl AsRef<str>) -> Result<Option<Entry<Arc<T>>>, StoreError> {
        let key = key.as_ref();
        let state = self.shared.read();
        match state.entry(key, &self.shared.store.codec())? {
            Some(entry) => Ok(Some(entry)),
            None => self.shared.absent(&state, key).map(|()| None),
        }
    }

    /// All entries that are held, in no order; undecodable ones are left out.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry<Arc<T>>> {
        self.shared.read().entries()
    }

    /// How well the cache knows its bucket at the moment.
    #[must_use]
    pub fn status(&self) -> CacheStatus {
        let state = self.shared.read();
        let contact = self.shared.contact();
        CacheStatus {
            age: contact.age(),
            revision: *self.shared.revision.borrow(),
            behind: contact.behind(),
            entries: state.len(),
            is_complete: state.is_complete,
        }
    }

    /// Waits until the cache has seen a revision: the one that a write has returned. Fails with
    /// [`TimedOut`](StoreErrorKind::TimedOut) after the client's timeout, which is always so for a key that does not match.
    pub async fn wait_for(&self, revision: u64) -> Result<(), StoreError> {
        let mut seen = self.shared.revision.subscribe();
        let wait = seen.wait_for(|seen| *seen >= revision);
        match tokio::time::timeout(self.shared.store.timeout()?, wait).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(StoreError::timed_out()),
        }
    }

    /// All changes of the keys that match from now on, whether they are held or not. A stream that is more than 1,024 events
    /// behind yields [`Missed`](CacheEvent::Missed) in place of the oldest.
    ///
    /// To make room for another entry, as [`with_max_entries`](CacheBuilder::with_max_entries) asks for, is no change: the bucket
    /// has the entry still. If one that is not held expires, the server alone can tell, and does so in a bucket with `marker_ttl`.
    pub fn subscribe(&self) -> CacheEvents<T> {
        CacheEvents::new(self.shared.events.subscribe())
    }
}

impl<T: Send + Sync + 'static> Shared<T> {
    /// What a key that is not held means.
    fn absent(&self, state: &State<T>, key: &str) -> Result<(), StoreError> {
        if let Some(failure) = &state.failure {
            return Err(
                StoreError::new(*failure.kind(), "the cache is not up to date")
                    .with_source(Arc::clone(failure)),
            );
        }
        if key::matches(&self.pattern, key) && state.is_complete {
            return Ok(());
        }
        Err(StoreError::new(
            StoreErrorKind::NotCached,
            format!("`{key}` is not cached"),
        ))
    }

    /// Reads the bucket up to its end, and makes that the content.
    async fn load(&self) -> Result<Changes, StoreError> {
        let ttl = self.store.status().await?.ttl;
        let pattern = std::slice::from_ref(&self.pattern);
        let (consumer, prefix) = self
            .store
            .consume(pattern, Start::Newest, false, true)
            .await?;
        let contact = consumer.contact();
        let mut deliveries = consumer.into_stream();
        let mut state = State::new(self.max_entries, ttl);
        let timeout = self.store.timeout()?;
        loop {
            let next = tokio::time::timeout(timeout, deliveries.next()).await;
            match next {
                Ok(Some(Ok(Delivery::Message(message)))) => {
                    let revision = message.sequence;
                    state.apply(&self.store.codec(), &prefix, message);
                    self.revision.send_replace(revision);
                }
                Ok(Some(Ok(Delivery::CaughtUp)) | None) => break,
                Ok(Some(Err(error))) => return Err(error),
                Err(_) => return Err(StoreError::timed_out()),
            }
        }
        *self.contact.write().unwrap_or_else(PoisonError::into_inner) = contact;
        *self.write() = state;
        Ok(Changes { deliveries, prefix })
    }

    fn apply(&self, prefix: &str, message: Delivered) {
        let revision = message.sequence;
        let event = self.write().apply(&self.store.codec(), prefix, message);
        self.revision.send_replace(revision);
        if let Some(event) = event {
            self.tell(event);
        }
    }

    /// Follows the changes until there is nothing more to follow.
    async fn follow(&self, changes: &mut Changes) -> StoreError {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                biased;
                _ = sweep.tick() => {
                    let expired = self.write().sweep();
                    for event in expired {
                        self.tell(event);
                    }
                }
                next = changes.deliveries.next() => match next {
                    Some(Ok(Delivery::Message(message))) => self.apply(&changes.prefix, message),
                    Some(Ok(Delivery::CaughtUp)) => {}
                    Some(Err(error)) => return error,
                    None => return StoreError::timed_out(),
                },
            }
        }
    }

    /// Keeps the copy for as long as there is somebody who reads it.
    async fn keep(self: Arc<Self>, mut changes: Changes) {
        loop {
            let error = self.follow(&mut changes).await;
            tracing::warn!(
                bucket = self.store.bucket(),
                error = chain(&error),
                "a cache has lost its bucket"
            );
            *self.write() = State::lost(error);
            self.tell(CacheEvent::Cleared);
            let mut pause = FIRST_PAUSE;
            changes = loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
                match self.load().await {
                    Ok(changes) => break changes,
                    Err(error) => self.write().failure = Some(Arc::new(error)),
                }
            };
            self.tell(CacheEvent::Loaded);
        }
    }

    /// Nobody may be listening.
    fn tell(&self, event: CacheEvent<T>) {
        let _ = self.events.send(event);
    }

    fn read(&self) -> RwLockReadGuard<'_, State<T>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<T>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn contact(&self) -> Arc<Contact> {
        Arc::clone(&self.contact.read().unwrap_or_else(PoisonError::into_inner))
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

/// A [`KvCache`] about to be loaded: await it.
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

    /// Holds the keys that match, in place of all.
    pub fn with_pattern(mut self, pattern: impl AsRef<str>) -> Self {
        pattern.as_ref().clone_into(&mut self.pattern);
        self
    }

    /// Holds at most so many keys, those that were written last. Once it has left one out, the cache cannot tell of a key that
    /// is not held whether it has a value: [`get`](KvCache::get) then fails with [`NotCached`](StoreErrorKind::NotCached).
    pub fn with_max_entries(mut self, entries: usize) -> Self {
        self.max_entries = Some(entries);
        self
    }

    async fn load(self) -> Result<KvCache<T>, StoreError> {
        let shared = Arc::new(Shared {
            store: self.store,
            pattern: self.pattern,
            max_entries: self.max_entries,
            state: RwLock::new(State::new(self.max_entries, None)),
            contact: RwLock::new(Arc::new(Contact::new())),
            revision: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENTS),
        });
        let changes = shared.load().await?;
        let task = tokio::spawn(Arc::clone(&shared).keep(changes));
        Ok(KvCache {
            shared,
            task: Arc::new(Task(task)),
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
