//! The typed public interface of a Key-Value bucket: its operations on single keys, and on the bucket.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::MessageCodec;
use crate::descriptor::bucket::StoreKind;
use crate::descriptor::declared::{MethodStore, MethodStores};
use crate::descriptor::key;
use crate::store::bucket::handle::Handle;
use crate::store::bucket::jetstream::JetStream;
use crate::store::bucket::status::BucketStatus;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::bucket::{KvBucket, ReadFrom};
use crate::store::kv::entry::Entry;
use crate::store::reader::bucket_reader::BucketReader;
use crate::store::reader::range::{Range, Start};

/// The most messages that are in flight to a reader of the bucket, or unread; large ones are bounded by bytes before that.
const READ_WINDOW: usize = 1024;

/// A Key-Value bucket whose values are messages of type `T`.
///
/// `client.save_profile_kv()` makes one for a method that declares `#[kv_store]`. It works on the bucket directly, without a
/// call to the service, and costs nothing until it is used. Each operation fails with [`StoreErrorKind::TimedOut`] after the
/// client's timeout, and with [`StoreErrorKind::BucketNotFound`] if the bucket does not exist or was deleted.
///
/// ```no_run
/// # use natsmicro::store::{StoreError, StoreErrorKind};
/// # use natsmicro::KvStore;
/// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
/// let revision = profiles.put("user.ada", &"Ada".to_owned()).await?;
/// // Fails if another client has changed it since:
/// match profiles.update("user.ada", &"Ada L.".to_owned(), revision).await {
///     Err(error) if *error.kind() == StoreErrorKind::WrongRevision => { /* read again */ }
///     other => { other?; }
/// }
/// profiles.delete("user.ada").await?;
/// assert_eq!(profiles.get("user.ada").await?, None);
/// # Ok(())
/// # }
/// ```
///
/// # With the `nats` command line
///
/// A bucket is an ordinary one, so that these do the same on the bytes of the values:
///
/// | here | there |
/// | --- | --- |
/// | [`get`](Self::get), [`entry_at`](Self::entry_at) | `nats kv get BUCKET KEY`, with `--revision N` |
/// | [`put`](Self::put), [`create`](Self::create) | `nats kv put BUCKET KEY VALUE`, `nats kv create BUCKET KEY VALUE` |
/// | [`update`](Self::update) | `nats kv update BUCKET KEY VALUE REVISION` |
/// | [`delete`](Self::delete), [`purge`](Self::purge) | `nats kv del BUCKET KEY`, `nats kv purge BUCKET KEY` |
/// | [`keys`](Self::keys), [`history`](Self::history) | `nats kv ls BUCKET`, `nats kv history BUCKET KEY` |
/// | [`watch`](Self::watch) | `nats kv watch BUCKET KEY` |
/// | [`create_bucket`](Self::create_bucket), [`delete_bucket`](Self::delete_bucket) | `nats kv add BUCKET`, `nats kv del BUCKET` |
/// | [`status`](Self::status) | `nats kv info BUCKET` |
pub struct KvStore<T> {
    pub(crate) handle: Handle<T>,
    read_from: ReadFrom,
}

impl<T> KvStore<T> {
    pub(crate) fn new(
        jetstream: Option<Arc<JetStream>>,
        store: MethodStore,
        declared: &'static [MethodStores],
        codec: MessageCodec<T>,
    ) -> Self {
        Self {
            handle: Handle::new(jetstream, store, declared, codec),
            read_from: ReadFrom::AnyReplica,
        }
    }

    /// The name of the bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        self.handle.store.bucket.name
    }

    pub(crate) fn is_client_only(&self) -> bool {
        self.handle.store.usage.client_only
    }

    /// Lets the leader of a replicated bucket answer [`get`](Self::get), [`entry`](Self::entry) and
    /// [`entry_at`](Self::entry_at), so that they see every acknowledged write. Otherwise any replica may answer, which is faster
    /// and may lag behind.
    ///
    /// ```no_run
    /// # use natsmicro::store::StoreError;
    /// # use natsmicro::KvStore;
    /// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
    /// profiles.put("user.ada", &"Ada".to_owned()).await?;
    /// let own_write = profiles.with_leader_reads().get("user.ada").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_leader_reads(mut self) -> Self {
        self.read_from = ReadFrom::Leader;
        self
    }

    /// Lets entries that are written through this handle expire after `ttl`, in place of the `key_ttl` of the method. The server counts
    /// whole seconds; a fraction is rounded up.
    ///
    /// Writes fail with [`Unsupported`](StoreErrorKind::Unsupported) if `ttl` is shorter than a second, if the bucket takes no
    /// TTLs for single entries (one whose methods set neither `key_ttl` nor `purge_ttl` nor `marker_ttl`, or a server older than
    /// 2.11), and, except for [`create`](Self::create), if it keeps more than one revision of a key: the one before would come
    /// back when this one expires.
    ///
    /// ```no_run
    /// # use natsmicro::store::StoreError;
    /// # use natsmicro::KvStore;
    /// # async fn example(sessions: KvStore<String>) -> Result<(), StoreError> {
    /// let minute = std::time::Duration::from_secs(60);
    /// sessions.clone().with_key_ttl(minute).create("session.1", &"Ada".to_owned()).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_key_ttl(mut self, ttl: Duration) -> Self {
        self.handle.store.usage.key_ttl = Some(ttl);
        self
    }

    /// Lets the markers that [`purge`](Self::purge) leaves expire after `ttl`, in place of the `purge_ttl` of the method. The
    /// conditions are those of [`with_key_ttl`](Self::with_key_ttl) on a `create`.
    #[must_use]
    pub fn with_purge_ttl(mut self, ttl: Duration) -> Self {
        self.handle.purge_ttl = Some(ttl);
        self
    }

    /// The value of a key; `None` if it has none.
    pub async fn get(&self, key: impl AsRef<str>) -> Result<Option<T>, StoreError> {
        Ok(self.entry(key).await?.and_then(|entry| entry.value))
    }

    /// The newest revision of a key, which may be a deletion; `None` if the bucket has no revision of the key.
    pub async fn entry(&self, key: impl AsRef<str>) -> Result<Option<Entry<T>>, StoreError> {
        self.read(key.as_ref(), None).await
    }

    /// The given revision of a key; `None` if it belongs to another key or is no longer kept.
    ///
    /// ```no_run
    /// # use natsmicro::store::StoreError;
    /// # use natsmicro::KvStore;
    /// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
    /// let first = profiles.put("user.ada", &"Ada".to_owned()).await?;
    /// profiles.put("user.ada", &"Ada L.".to_owned()).await?;
    /// let before = profiles.entry_at("user.ada", first).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn entry_at(
        &self,
        key: impl AsRef<str>,
        revision: u64,
    ) -> Result<Option<Entry<T>>, StoreError> {
        // No message has revision zero, and a request with it means something else to the server.
        match revision {
            0 => Ok(None),
            revision => self.read(key.as_ref(), Some(revision)).await,
        }
    }

    /// Sets the value of a key and returns the new revision.
    pub async fn put(&self, key: impl AsRef<str>, value: &T) -> Result<u64, StoreError> {
        self.write(key.as_ref(), value, None).await
    }

    /// Sets the value of a key that has none and returns the new revision; fails with
    /// [`AlreadyExists`](StoreErrorKind::AlreadyExists) otherwise. A deleted key has none. Fails with
    /// [`Contended`](StoreErrorKind::Contended) if others keep deleting the key, again and again between two requests of this.
    pub async fn create(&self, key: impl AsRef<str>, value: &T) -> Result<u64, StoreError> {
        let key = check_key(key.as_ref())?;
        let value = self.handle.encode(value)?;
        let ttl = self.handle.store.usage.key_ttl;
        let created = self
            .handle
            .within(async |jetstream| {
                let bucket = self.bucket_for_writing(jetstream, ttl).await?;
                Ok(bucket.create(key, value, ttl, None).await?)
            })
            .await;
        created.map_err(|error| match error.kind() {
            StoreErrorKind::WrongRevision => StoreError::new(
                StoreErrorKind::AlreadyExists,
                format!("`{key}` exists already"),
            )
            .with_source(error),
            _ => error,
        })
    }

    /// Sets the value of a key if `revision` is still its newest, and returns the new revision; fails with
    /// [`WrongRevision`](StoreErrorKind::WrongRevision) otherwise. Zero is the revision of a key that was never written.
    pub async fn update(
        &self,
        key: impl AsRef<str>,
        value: &T,
        revision: u64,
    ) -> Result<u64, StoreError> {
        self.write(key.as_ref(), value, Some(revision)).await
    }

    /// Deletes the value of a key. Older revisions stay in the history. Deleting a key without a value is no error.
    pub async fn delete(&self, key: impl AsRef<str>) -> Result<(), StoreError> {
        self.mark_deleted(key.as_ref(), None).await
    }

    /// Deletes the value of a key, as [`delete`](Self::delete), if `revision` is still its newest; fails with
    /// [`WrongRevision`](StoreErrorKind::WrongRevision) otherwise.
    ///
    /// ```no_run
    /// # use natsmicro::store::StoreError;
    /// # use natsmicro::KvStore;
    /// # async fn example(jobs: KvStore<String>) -> Result<(), StoreError> {
    /// if let Some(job) = jobs.entry("job.1").await? {
    ///     // Fails if another worker has taken or changed the job:
    ///     jobs.delete_expect_revision("job.1", job.revision).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_expect_revision(
        &self,
        key: impl AsRef<str>,
        revision: u64,
    ) -> Result<(), StoreError> {
        self.mark_deleted(key.as_ref(), Some(revision)).await
    }

    /// Deletes a key with all its revisions. A marker remains, which expires if [`with_purge_ttl`](Self::with_purge_ttl) or the method's
    /// `purge_ttl` is set.
    pub async fn purge(&self, key: impl AsRef<str>) -> Result<(), StoreError> {
        self.mark_purged(key.as_ref(), None).await
    }

    /// Deletes a key with all its revisions, as [`purge`](Self::purge), if `revision` is still the newest; fails with
    /// [`WrongRevision`](StoreErrorKind::WrongRevision) otherwise.
    pub async fn purge_expect_revision(
        &self,
        key: impl AsRef<str>,
        revision: u64,
    ) -> Result<(), StoreError> {
        self.mark_purged(key.as_ref(), Some(revision)).await
    }

    /// The current state of the bucket at the server.
    pub async fn status(&self) -> Result<BucketStatus, StoreError> {
        self.handle.status().await
    }

    /// Creates the bucket, with the settings that the methods declare, unless it exists. A bucket with other settings is not changed:
    /// this fails with [`BucketMismatch`](StoreErrorKind::BucketMismatch), and names each difference.
    ///
    /// This is for stores that are `client_only`. A service creates the buckets that it stores into when it starts, ready for writes
    /// in batches.
    ///
    /// ```no_run
    /// # use natsmicro::store::StoreError;
    /// # use natsmicro::KvStore;
    /// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
    /// profiles.create_bucket().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_bucket(&self) -> Result<(), StoreError> {
        self.handle.create_bucket().await
    }

    /// Deletes the bucket with all entries. A service that writes to it creates it again only when it is restarted,
    /// or at the next write if it is in memory.
    pub async fn delete_bucket(&self) -> Result<(), StoreError> {
        self.handle.delete_bucket().await
    }

    /// The timeout of one operation.
    pub(crate) fn timeout(&self) -> Result<Duration, StoreError> {
        Ok(self.handle.jetstream()?.timeout)
    }

    /// The error of an operation that took too long.
    pub(crate) fn timed_out(&self) -> StoreError {
        match self.handle.jetstream() {
            Ok(jetstream) => {
                let hint = jetstream.missing_permissions(StoreKind::Kv, self.bucket());
                StoreError::timed_out().explained(hint)
            }
            Err(error) => error,
        }
    }

    pub(crate) fn codec(&self) -> MessageCodec<T> {
        self.handle.codec
    }

    /// Starts to read the entries that match one of the patterns. Also returns the prefix of their subjects.
    pub(crate) async fn consume(
        &self,
        patterns: &[String],
        start: Start,
        headers_only: bool,
        endless: bool,
    ) -> Result<(BucketReader, String), StoreError> {
        for pattern in patterns {
            key::check_pattern(pattern)?;
        }
        self.handle
            .within(async |jetstream| {
                let bucket = jetstream.open::<KvBucket>(self.bucket()).await?;
                // No answer tells that there is nothing below this prefix any more.
                let facts = bucket.facts().recent().await?;
                let below = |pattern: &String| [&facts.prefix, pattern.as_str()].concat();
                let consumer = BucketReader::start(Range {
                    context: bucket.context().clone(),
                    gate: bucket.gate().clone(),
                    budget: Arc::clone(&jetstream.budget),
                    bucket: self.bucket().to_owned(),
                    stream: StoreKind::Kv.stream_name(self.bucket()),
                    subjects: patterns.iter().map(below).collect(),
                    start,
                    headers_only,
                    window: READ_WINDOW,
                    endless,
                });
                Ok((consumer.await?, facts.prefix.clone()))
            })
            .await
    }

    async fn read(&self, key: &str, revision: Option<u64>) -> Result<Option<Entry<T>>, StoreError> {
        let key = check_key(key)?;
        let read = self
            .handle
            .within(async |jetstream| {
                let bucket = jetstream.open::<KvBucket>(self.bucket()).await?;
                bucket.read(key, revision, self.read_from).await
            })
            .await?;
        read.map(|message| Entry::of_message(&self.handle.codec, key, message))
            .transpose()
    }

    async fn write(&self, key: &str, value: &T, expected: Option<u64>) -> Result<u64, StoreError> {
        let key = check_key(key)?;
        let value = self.handle.encode(value)?;
        let ttl = self.handle.store.usage.key_ttl;
        self.handle
            .within(async |jetstream| {
                let bucket = self.bucket_for_writing(jetstream, ttl).await?;
                Ok(bucket.write(key, value, expected, ttl, None).await?)
            })
            .await
    }

    async fn mark_deleted(&self, key: &str, expected: Option<u64>) -> Result<(), StoreError> {
        let key = check_key(key)?;
        self.handle
            .within(async |jetstream| {
                let bucket = self.bucket_for_writing(jetstream, None).await?;
                bucket.delete(key, expected).await?;
                Ok(())
            })
            .await
    }

    async fn mark_purged(&self, key: &str, expected: Option<u64>) -> Result<(), StoreError> {
        let key = check_key(key)?;
        let ttl = self.handle.purge_ttl;
        self.handle
            .within(async |jetstream| {
                let bucket = self.bucket_for_writing(jetstream, ttl).await?;
                bucket.purge(key, expected, ttl).await?;
                Ok(())
            })
            .await
    }

    /// Opens the bucket and checks that it accepts this TTL.
    async fn bucket_for_writing(
        &self,
        jetstream: &JetStream,
        ttl: Option<Duration>,
    ) -> Result<Arc<KvBucket>, StoreError> {
        let bucket = jetstream.open::<KvBucket>(self.bucket()).await?;
        bucket.facts().refreshed().await;
        let Some(ttl) = ttl else {
            return Ok(bucket);
        };
        if ttl < Duration::from_secs(1) {
            return Err(StoreError::unsupported(
                "a TTL is at least one second: shorter ones are unknown to nats-server",
            ));
        }
        let facts = bucket.facts();
        // The setting may have been changed since it was looked up.
        if facts.known().allows_entry_ttl || facts.now().await?.allows_entry_ttl {
            return Ok(bucket);
        }
        Err(StoreError::unsupported(format!(
            "bucket `{}` takes no TTLs for single entries; a `key_ttl`, `purge_ttl` or `marker_ttl` of a method makes it do \
             so, with nats-server 2.11 or newer",
            self.bucket()
        )))
    }
}

pub(crate) fn check_key(key: &str) -> Result<&str, StoreError> {
    key::check(key)?;
    Ok(key)
}

impl<T> Clone for KvStore<T> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
            read_from: self.read_from,
        }
    }
}

impl<T> fmt::Debug for KvStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvStore")
            .field("bucket", &self.handle.store.bucket.name)
            .finish_non_exhaustive()
    }
}
