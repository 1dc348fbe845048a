use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_nats::jetstream::kv;

use super::handle::Handle;
use super::jetstream::JetStream;
use super::key;
use super::kv_bucket::KvBucket;
use super::watch::Watch;
use super::{StoreDescriptor, StoreError, StoreErrorKind};
use crate::codec::MessageCodec;

/// A Key-Value bucket whose values are messages of type `T`.
///
/// `client.save_profile_kv()` makes one for a method that declares `#[kv_store]`. It works on the bucket directly, without a
/// call to the service, and costs nothing until it is used. Each operation fails with [`StoreErrorKind::TimedOut`] after the
/// client's timeout.
///
/// ```no_run
/// # use natsmicro::{KvStore, StoreError, StoreErrorKind};
/// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
/// let revision = profiles.put("user.ada", &"Ada".to_owned()).await?;
/// // Only if nobody has changed it since:
/// match profiles.update("user.ada", &"Ada L.".to_owned(), revision).await {
///     Err(error) if *error.kind() == StoreErrorKind::WrongRevision => { /* read again */ }
///     other => { other?; }
/// }
/// profiles.delete("user.ada").await?;
/// assert_eq!(profiles.get("user.ada").await?, None);
/// # Ok(())
/// # }
/// ```
pub struct KvStore<T> {
    handle: Handle<T>,
}

/// One revision of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<T> {
    /// The key.
    pub key: String,
    /// The value; `None` if the operation took it away.
    pub value: Option<T>,
    /// The revision, which grows with every write to the bucket.
    pub revision: u64,
    /// When it was written, by the clock of the server.
    pub created: SystemTime,
    /// What was done to the key.
    pub operation: Operation,
}

/// What was done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// It got a value.
    Put,
    /// Its value was deleted; older revisions are kept as far as the history goes.
    Delete,
    /// It was deleted with all its revisions, or expired.
    Purge,
}

impl<T> KvStore<T> {
    pub(crate) fn new(
        jetstream: Option<JetStream>,
        store: StoreDescriptor,
        codec: MessageCodec<T>,
    ) -> Self {
        Self {
            handle: Handle::new(jetstream, store, codec),
        }
    }

    /// The name of the bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        self.handle.store.bucket
    }

    /// The value of a key; `None` if it has none.
    ///
    /// Any replica may answer, so that on a replicated bucket the value may be older than the last acknowledged write.
    pub async fn get(&self, key: impl AsRef<str>) -> Result<Option<T>, StoreError> {
        Ok(self.entry(key).await?.and_then(|entry| entry.value))
    }

    /// The newest revision of a key, also if it says that the value was deleted; `None` if nothing is known of the key.
    pub async fn entry(&self, key: impl AsRef<str>) -> Result<Option<Entry<T>>, StoreError> {
        let key = checked(key.as_ref())?;
        let (jetstream, bucket) = self.open().await?;
        let read = async {
            bucket
                .store()
                .entry(key)
                .await
                .map_err(|error| StoreError::nats("cannot read the entry", error))
        };
        match jetstream.within(read).await? {
            Some(entry) => Ok(Some(self.decode(entry)?)),
            None => Ok(None),
        }
    }

    /// Sets the value of a key and returns the new revision.
    pub async fn put(&self, key: impl AsRef<str>, value: &T) -> Result<u64, StoreError> {
        self.write(key.as_ref(), value, None).await
    }

    /// Sets the value of a key that has none and returns the new revision; fails with
    /// [`AlreadyExists`](StoreErrorKind::AlreadyExists) otherwise.
    pub async fn create(&self, key: impl AsRef<str>, value: &T) -> Result<u64, StoreError> {
        let key = checked(key.as_ref())?;
        let value = self.handle.encode(value)?;
        let (jetstream, bucket) = self.open().await?;
        let create = async {
            bucket
                .create(key, value, self.handle.store.key_ttl, None)
                .await
                .map_err(StoreError::from)
        };
        jetstream
            .within(create)
            .await
            .map_err(|error| match error.kind() {
                StoreErrorKind::WrongRevision => StoreError::new(
                    StoreErrorKind::AlreadyExists,
                    format!("`{key}` exists already"),
                )
                .with_source(error),
                _ => error,
            })
    }

    /// Sets the value of a key if `revision` is still its newest, and returns the new revision; fails with
    /// [`WrongRevision`](StoreErrorKind::WrongRevision) otherwise.
    pub async fn update(
        &self,
        key: impl AsRef<str>,
        value: &T,
        revision: u64,
    ) -> Result<u64, StoreError> {
        self.write(key.as_ref(), value, Some(revision)).await
    }

    /// Deletes the value of a key. Older revisions stay in the history. A key without a value is no error.
    pub async fn delete(&self, key: impl AsRef<str>) -> Result<(), StoreError> {
        let key = checked(key.as_ref())?;
        let (jetstream, bucket) = self.open().await?;
        let delete = async {
            bucket
                .store()
                .delete(key)
                .await
                .map_err(|error| StoreError::nats("the deletion was not acknowledged", error))
        };
        jetstream.within(delete).await
    }

    /// Deletes a key with all its revisions. What is left is a marker, which expires after the store's `purge_ttl` if the
    /// method sets one.
    pub async fn purge(&self, key: impl AsRef<str>) -> Result<(), StoreError> {
        let key = checked(key.as_ref())?;
        let (jetstream, bucket) = self.open().await?;
        let purge = async {
            let purged = match self.handle.store.purge_ttl {
                Some(ttl) => bucket.store().purge_with_ttl(key, ttl).await,
                None => bucket.store().purge(key).await,
            };
            purged.map_err(|error| StoreError::nats("the purge was not acknowledged", error))
        };
        jetstream.within(purge).await
    }

    /// Follows the keys that match a pattern, in which `*` stands for one token and a final `>` for all that follow.
    ///
    /// The stream yields the current values first, then [`EndOfInitial`](crate::WatchEvent::EndOfInitial) (also if there are
    /// none), then every change. A value that is no `T` is an error in its place and not the end of the stream.
    pub async fn watch(&self, pattern: impl AsRef<str>) -> Result<Watch<T>, StoreError> {
        let pattern = pattern.as_ref();
        key::check_pattern(pattern)?;
        let (jetstream, bucket) = self.open().await?;
        jetstream
            .within(Watch::start(&bucket, pattern, self.handle.codec))
            .await
    }

    async fn write(&self, key: &str, value: &T, expected: Option<u64>) -> Result<u64, StoreError> {
        let key = checked(key)?;
        let value = self.handle.encode(value)?;
        let (jetstream, bucket) = self.open().await?;
        let write = async {
            bucket
                .write(key, value, expected, self.handle.store.key_ttl, None)
                .await
                .map_err(StoreError::from)
        };
        jetstream.within(write).await
    }

    async fn open(&self) -> Result<(&JetStream, Arc<KvBucket>), StoreError> {
        let jetstream = self.handle.jetstream()?;
        let bucket = jetstream
            .within(jetstream.kv(self.handle.store.bucket))
            .await?;
        Ok((jetstream, bucket))
    }

    fn decode(&self, entry: kv::Entry) -> Result<Entry<T>, StoreError> {
        let operation = Operation::from(entry.operation);
        let value = match operation {
            Operation::Put => Some(self.handle.decode(&entry.key, entry.value)?),
            Operation::Delete | Operation::Purge => None,
        };
        Ok(Entry {
            key: entry.key,
            value,
            revision: entry.revision,
            created: entry.created.into(),
            operation,
        })
    }
}

fn checked(key: &str) -> Result<&str, StoreError> {
    key::check(key)?;
    Ok(key)
}

impl From<kv::Operation> for Operation {
    fn from(operation: kv::Operation) -> Self {
        match operation {
            kv::Operation::Put => Self::Put,
            kv::Operation::Delete => Self::Delete,
            kv::Operation::Purge => Self::Purge,
        }
    }
}

impl<T> Clone for KvStore<T> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
        }
    }
}

impl<T> fmt::Debug for KvStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvStore")
            .field("bucket", &self.handle.store.bucket)
            .finish_non_exhaustive()
    }
}
