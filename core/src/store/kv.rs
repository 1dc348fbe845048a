use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cache::CacheBuilder;
use super::consumer::{Range, Start};
use super::descriptor::StoreKind;
use super::entry::Entry;
use super::handle::Handle;
use super::jetstream::JetStream;
use super::key;
use super::kv_bucket::{KvBucket, Source};
use super::ordered::OrderedConsumer;
use super::range::{Entries, Keys};
use super::status::BucketStatus;
use super::watch::{Watch, WatchBuilder};
use super::{StoreDescriptor, StoreError, StoreErrorKind};
use crate::codec::MessageCodec;

/// How many messages of a bucket may be on their way to a reader, or wait for it, if they are not too large.
const WINDOW: usize = 1024;

/// A Key-Value bucket whose values are messages of type `T`.
///
/// `client.save_profile_kv()` makes one for a method that declares `#[kv_store]`. It works on the bucket directly, without a
/// call to the service, and costs nothing until it is used. Each operation fails with [`StoreErrorKind::TimedOut`] after the
/// client's timeout, and with [`StoreErrorKind::BucketNotFound`] if the bucket does not exist or was deleted.
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
    source: Source,
}

impl<T> KvStore<T> {
    pub(crate) fn new(
        jetstream: Option<Arc<JetStream>>,
        store: StoreDescriptor,
        codec: MessageCodec<T>,
    ) -> Self {
        Self {
            handle: Handle::new(jetstream, store, codec),
            source: Source::Any,
        }
    }

    /// The name of the bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        self.handle.store.bucket
    }

    pub(super) fn is_client_only(&self) -> bool {
        self.handle.store.client_only
    }

    /// Lets the leader of a replicated bucket answer [`get`](Self::get), [`entry`](Self::entry) and
    /// [`entry_at`](Self::entry_at), so that they see every acknowledged write. Otherwise any replica may answer, which is faster
    /// and may lag behind.
    ///
    /// ```no_run
    /// # use natsmicro::{KvStore, StoreError};
    /// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
    /// profiles.put("user.ada", &"Ada".to_owned()).await?;
    /// let own_write = profiles.with_leader_reads().get("user.ada").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_leader_reads(mut self) -> Self {
        self.source = Source::Leader;
        self
    }

    /// Lets what is written through this handle expire after `ttl`, in place of the `key_ttl` of the method. The server counts
    /// whole seconds; a fraction is rounded up.
    ///
    /// Writes fail with [`Unsupported`](StoreErrorKind::Unsupported) if `ttl` is shorter than a second, if the bucket takes no
    /// TTLs for single entries (one whose methods set neither `key_ttl` nor `purge_ttl` nor `marker_ttl`, or a server older than
    /// 2.11), and, except for [`create`](Self::create), if it keeps more than one revision of a key: the one before would come
    /// back when this one expires.
    ///
    /// ```no_run
    /// # use natsmicro::{KvStore, StoreError};
    /// # async fn example(sessions: KvStore<String>) -> Result<(), StoreError> {
    /// let minute = std::time::Duration::from_secs(60);
    /// sessions.clone().with_key_ttl(minute).create("session.1", &"Ada".to_owned()).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_key_ttl(mut self, ttl: Duration) -> Self {
        self.handle.store.key_ttl = Some(ttl);
        self
    }

    /// Lets the markers that [`purge`](Self::purge) leaves expire after `ttl`, in place of the `purge_ttl` of the method. The
    /// conditions are those of [`with_key_ttl`](Self::with_key_ttl) on a `create`.
    #[must_use]
    pub fn with_purge_ttl(mut self, ttl: Duration) -> Self {
        self.handle.store.purge_ttl = Some(ttl);
        self
    }

    /// The value of a key; `None` if it has none.
    pub async fn get(&self, key: impl AsRef<str>) -> Result<Option<T>, StoreError> {
        Ok(self.entry(key).await?.and_then(|entry| entry.value))
    }

    /// The newest revision of a key, also if it says that the value was deleted; `None` if nothing is known of the key.
    pub async fn entry(&self, key: impl AsRef<str>) -> Result<Option<Entry<T>>, StoreError> {
        self.read(key.as_ref(), None).await
    }

    /// A certain revision of a key; `None` if it is not one of this key or is no longer kept.
    ///
    /// ```no_run
    /// # use natsmicro::{KvStore, StoreError};
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
        // To the server, zero asks for something else.
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
    /// [`AlreadyExists`](StoreErrorKind::AlreadyExists) otherwise.
    pub async fn create(&self, key: impl AsRef<str>, value: &T) -> Result<u64, StoreError> {
        let key = checked(key.as_ref())?;
        let value = self.handle.encode(value)?;
        let ttl = self.handle.store.key_ttl;
        let created = self
            .handle
            .within(async |jetstream| {
                let bucket = self.bucket_taking(jetstream, ttl).await?;
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

    /// Deletes the value of a key. Older revisions stay in the history. A key without a value is no error.
    pub async fn delete(&self, key: impl AsRef<str>) -> Result<(), StoreError> {
        let key = checked(key.as_ref())?;
        self.handle
            .within(async |jetstream| {
                let bucket = jetstream.kv(self.bucket()).await?;
                Ok(bucket.delete(key).await?)
            })
            .await
    }

    /// Deletes a key with all its revisions. What is left is a marker, which expires if
    /// [`with_purge_ttl`](Self::with_purge_ttl) or the method's `purge_ttl` says so.
    pub async fn purge(&self, key: impl AsRef<str>) -> Result<(), StoreError> {
        let key = checked(key.as_ref())?;
        let ttl = self.handle.store.purge_ttl;
        self.handle
            .within(async |jetstream| {
                let bucket = self.bucket_taking(jetstream, ttl).await?;
                Ok(bucket.purge(key, ttl).await?)
            })
            .await
    }

    /// What the server says of the bucket now.
    pub async fn status(&self) -> Result<BucketStatus, StoreError> {
        let info = self
            .handle
            .within(async |jetstream| jetstream.info(StoreKind::Kv, self.bucket()).await)
            .await?;
        Ok(BucketStatus::new(self.bucket(), info))
    }

    /// Deletes the bucket with all that it holds. A service that writes to it needs a restart to make it again.
    pub async fn delete_bucket(&self) -> Result<(), StoreError> {
        self.handle
            .within(async |jetstream| jetstream.delete(StoreKind::Kv, self.bucket()).await)
            .await
    }

    async fn read(&self, key: &str, revision: Option<u64>) -> Result<Option<Entry<T>>, StoreError> {
        let key = checked(key)?;
        let read = self
            .handle
            .within(async |jetstream| {
                let bucket = jetstream.kv(self.bucket()).await?;
                bucket.read(key, revision, self.source).await
            })
            .await?;
        read.map(|message| Entry::of_message(&self.handle.codec, key, message))
            .transpose()
    }

    async fn write(&self, key: &str, value: &T, expected: Option<u64>) -> Result<u64, StoreError> {
        let key = checked(key)?;
        let value = self.handle.encode(value)?;
        let ttl = self.handle.store.key_ttl;
        self.handle
            .within(async |jetstream| {
                let bucket = self.bucket_taking(jetstream, ttl).await?;
                if ttl.is_some() && bucket.history() > 1 {
                    return Err(StoreError::unsupported(
                        "the bucket keeps several revisions, and the one before would come back when this one expires",
                    ));
                }
                Ok(bucket.write(key, value, expected, ttl, None).await?)
            })
            .await
    }

    /// The bucket, if it takes such a TTL.
    async fn bucket_taking(
        &self,
        jetstream: &JetStream,
        ttl: Option<Duration>,
    ) -> Result<Arc<KvBucket>, StoreError> {
        let mut bucket = jetstream.kv(self.bucket()).await?;
        let Some(ttl) = ttl else {
            return Ok(bucket);
        };
        if ttl < Duration::from_secs(1) {
            return Err(StoreError::unsupported(
                "a TTL is at least one second: shorter ones are unknown to nats-server",
            ));
        }
        if !bucket.allows_entry_ttl() {
            // They may have been switched on since it was opened.
            jetstream.forget(StoreKind::Kv, self.bucket());
            bucket = jetstream.kv(self.bucket()).await?;
        }
        if bucket.allows_entry_ttl() {
            return Ok(bucket);
        }
        Err(StoreError::unsupported(format!(
            "bucket `{}` takes no TTLs for single entries; a `key_ttl`, `purge_ttl` or `marker_ttl` of a method makes it do \
             so, with nats-server 2.11 or newer",
            self.bucket()
        )))
    }
}

impl<T: 'static> KvStore<T> {
    /// The keys that have a value and match a [`Pattern`](crate::Pattern), in which `*` stands for one token and a final `>` for
    /// all that follow.
    ///
    /// They come as a stream, so that a large bucket is never in memory as a whole.
    ///
    /// ```no_run
    /// # use futures::TryStreamExt;
    /// # use natsmicro::{KvStore, StoreError};
    /// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
    /// let mut keys: Vec<String> = profiles.keys("user.*").await?.try_collect().await?;
    /// keys.sort();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn keys(&self, pattern: impl AsRef<str>) -> Result<Keys, StoreError> {
        let patterns = [pattern.as_ref().to_owned()];
        let (consumer, prefix) = self.consume(&patterns, Start::Newest, true, false).await?;
        Ok(Keys::new(consumer.into_stream(), prefix))
    }

    /// All revisions of a key that are kept, deletions included, oldest first.
    ///
    /// ```no_run
    /// # use futures::TryStreamExt;
    /// # use natsmicro::{Entry, KvStore, StoreError};
    /// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
    /// let revisions: Vec<Entry<String>> = profiles.history("user.ada").await?.try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn history(&self, key: impl AsRef<str>) -> Result<Entries<T>, StoreError> {
        let keys = [checked(key.as_ref())?.to_owned()];
        let (consumer, prefix) = self.consume(&keys, Start::At(1), false, false).await?;
        let codec = self.handle.codec;
        let entries = consumer.into_stream();
        Ok(Entries::new(Watch::new(
            self.bucket(),
            entries,
            false,
            move |message| Entry::of_delivered(&codec, &prefix, message),
        )))
    }

    /// Follows the keys that match a [`Pattern`](crate::Pattern), in which `*` stands for one token and a final `>` for all that
    /// follow.
    ///
    /// The stream yields the current values first, then [`EndOfInitial`](crate::WatchEvent::EndOfInitial) (also if there are
    /// none), then every change; [`WatchBuilder`] has other beginnings. It goes on through reconnects and restarts of the server,
    /// without gap and without repeat. A slow reader holds the server back. A value that is no `T` is an error in its place,
    /// see [`StoreError::undecodable`]; every other error is the end, as that the bucket was deleted.
    ///
    /// Changes that are not read can be lost only by the limits of the bucket: a key keeps `max_history` revisions.
    pub fn watch(&self, pattern: impl AsRef<str>) -> WatchBuilder<T> {
        WatchBuilder::new(self.clone(), pattern.as_ref())
    }

    /// Follows all keys, as [`watch(">")`](Self::watch).
    pub fn watch_all(&self) -> WatchBuilder<T> {
        self.watch(">")
    }

    /// Loads the bucket into a copy in memory that is kept up to date; see [`KvCache`](crate::KvCache).
    pub fn cached(&self) -> CacheBuilder<T>
    where
        T: Send + Sync,
    {
        CacheBuilder::new(self.clone())
    }

    /// How long an operation may take.
    pub(super) fn timeout(&self) -> Result<Duration, StoreError> {
        Ok(self.handle.jetstream()?.timeout)
    }

    pub(super) fn codec(&self) -> MessageCodec<T> {
        self.handle.codec
    }

    /// Reads the entries that match one of the patterns. What it gives besides is what their subjects begin with.
    pub(super) async fn consume(
        &self,
        patterns: &[String],
        start: Start,
        headers_only: bool,
        endless: bool,
    ) -> Result<(OrderedConsumer, String), StoreError> {
        for pattern in patterns {
            key::check_pattern(pattern)?;
        }
        self.handle
            .within(async |jetstream| {
                let bucket = jetstream.kv(self.bucket()).await?;
                let consumer = OrderedConsumer::start(Range {
                    context: bucket.context().clone(),
                    bucket: self.bucket().to_owned(),
                    stream: StoreKind::Kv.stream_name(self.bucket()),
                    subjects: patterns.iter().map(|p| bucket.subject(p)).collect(),
                    start,
                    headers_only,
                    window: WINDOW,
                    endless,
                });
                Ok((consumer.await?, bucket.subject("")))
            })
            .await
    }
}

fn checked(key: &str) -> Result<&str, StoreError> {
    key::check(key)?;
    Ok(key)
}

impl<T> Clone for KvStore<T> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
            source: self.source,
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
