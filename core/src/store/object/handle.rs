//! The typed public interface of an Object Store bucket.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::AsyncRead;
use tokio::time::Instant;

use crate::backoff;
use crate::codec::MessageCodec;
use crate::descriptor::bucket::StoreKind;
use crate::descriptor::declared::{MethodStore, MethodStores};
use crate::store::bucket::handle::{Handle, decode};
use crate::store::bucket::jetstream::JetStream;
use crate::store::bucket::status::BucketStatus;
use crate::store::error::{StoreError, WriteError};
use crate::store::kv::listing::Entries;
use crate::store::kv::watch::{Skips, Watch};
use crate::store::object::bucket::{ObjectBucket, clean_up_time};
use crate::store::object::info::{ObjectInfo, Stored, check_name, entry};
use crate::store::object::put_from::PutFromBuilder;
use crate::store::object::stream::ObjectReader;
use crate::store::object::{change, read, write};

/// An Object Store bucket whose objects are messages of type `T`.
///
/// `client.generate_report_object_store()` makes one for a method that declares `#[object_store]`. It works on the bucket
/// directly, without a call to the service. Each operation fails with
/// [`StoreErrorKind::TimedOut`](crate::store::error::StoreErrorKind::TimedOut) after the client's timeout, also where the data of an object
/// is missing, and with [`StoreErrorKind::BucketNotFound`](crate::store::error::StoreErrorKind::BucketNotFound) if the bucket does not
/// exist or was deleted.
///
/// ```no_run
/// # use natsmicro::store::StoreError;
/// # use natsmicro::ObjectStore;
/// # async fn example(reports: ObjectStore<String>) -> Result<(), StoreError> {
/// reports.put("report.monthly", &"all is well".to_owned()).await?;
/// assert!(reports.get("report.monthly").await?.is_some());
/// reports.delete("report.monthly").await?;
/// # Ok(())
/// # }
/// ```
///
/// # Small objects
///
/// An object of at most 4 MiB in at most 32 chunks is read with two requests, one for its metadata and one for all of its chunks
/// (a batched direct get). This needs nats-server 2.11 or newer, and the permission to publish to
/// `$JS.API.DIRECT.GET.OBJ_<bucket>`. If the chunks cannot be read that way, and for larger objects, a consumer is created and
/// deleted again: that takes longer, and a bucket may have a bound of consumers. Without the permission the server does not reply, so that
/// the first read on each connection takes up to a second more, or up to a quarter of the client's timeout if that is less; not so with
/// [`Client::with_connection_events`](crate::Client::with_connection_events).
///
/// # Clean-up after an operation
///
/// A put that fails or is dropped removes the chunks that it has stored so far. A put that succeeds removes the chunks that it
/// replaces, and so does a delete. If the server does not reply in time, this continues in the background for up to five minutes; it
/// ends with the connection or the runtime. Chunks that could not be removed are logged as a warning. So chunks remain only if the
/// process or its connection ends first, or the server is unreachable for longer. No object refers to them; they only take space.
///
/// # With the `nats` command line
///
/// A bucket is an ordinary one, so that these do the same on the bytes of the objects:
///
/// | here | there |
/// | --- | --- |
/// | [`get`](Self::get), [`reader`](Self::reader) | `nats object get BUCKET NAME` |
/// | [`put`](Self::put), [`put_from`](Self::put_from) | `nats object put BUCKET FILE --name NAME` |
/// | [`delete`](Self::delete) | `nats object del BUCKET NAME` |
/// | [`list`](Self::list), [`info`](Self::info) | `nats object ls BUCKET`, `nats object info BUCKET NAME` |
/// | [`watch`](Self::watch) | `nats object watch BUCKET` |
/// | [`create_bucket`](Self::create_bucket), [`delete_bucket`](Self::delete_bucket) | `nats object add BUCKET`, `nats object del BUCKET` |
/// | [`status`](Self::status) | `nats object info BUCKET` |
pub struct ObjectStore<T> {
    handle: Handle<T>,
}

impl<T> ObjectStore<T> {
    pub(crate) fn new(
        jetstream: Option<Arc<JetStream>>,
        store: MethodStore,
        declared: &'static [MethodStores],
        codec: MessageCodec<T>,
    ) -> Self {
        Self {
            handle: Handle::new(jetstream, store, declared, codec),
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

    /// The timeout of one operation.
    pub(crate) fn timeout(&self) -> Result<Duration, StoreError> {
        Ok(self.handle.jetstream()?.timeout)
    }

    /// The message stored under a name; `None` if there is none. Fails with [`Incomplete`](crate::store::error::StoreErrorKind::Incomplete)
    /// if some of its data is missing or damaged.
    pub async fn get(&self, name: impl AsRef<str>) -> Result<Option<T>, StoreError> {
        let found = self.get_if(name, |_| true).await?;
        Ok(found.map(|(_, _, value)| value))
    }

    /// The message stored under a name with its revision and its time; `None` unless the stored version `is_wanted`.
    pub(crate) async fn get_if(
        &self,
        name: impl AsRef<str>,
        is_wanted: impl Fn(&Stored) -> bool,
    ) -> Result<Option<(u64, SystemTime, T)>, StoreError> {
        let name = check_name(name.as_ref())?;
        let found = self
            .handle
            .within(async |jetstream| {
                let bucket = jetstream.open::<ObjectBucket>(self.bucket()).await?;
                read::get_if(&bucket, name, jetstream.timeout, is_wanted).await
            })
            .await?;
        let Some((revision, modified, data)) = found else {
            return Ok(None);
        };
        let value = decode(&self.handle.codec, name, revision, data)?;
        Ok(Some((revision, modified, value)))
    }

    /// Stores a message under a name, in place of an earlier one, and returns the revision of the object. Of concurrent puts the last one
    /// wins; one that does not get through within the client's timeout fails with
    /// [`Contended`](crate::store::error::StoreErrorKind::Contended). A put that [fails](Self#clean-up-after-an-operation) leaves nothing
    /// behind. The last quarter of the client's timeout, at most a second, is reserved for removing the chunks of a put that was not stored
    /// in time.
    pub async fn put(&self, name: impl AsRef<str>, value: &T) -> Result<u64, StoreError> {
        let name = check_name(name.as_ref())?;
        let data = self.handle.encode(value)?;
        let jetstream = self.handle.jetstream()?;
        let bucket = jetstream
            .within(
                StoreKind::Object,
                self.bucket(),
                jetstream.open::<ObjectBucket>(self.bucket()),
            )
            .await?;
        bucket.check_takes_writes().await?;
        let clean_up = clean_up_time(jetstream.timeout);
        let deadline = backoff::after(Instant::now(), jetstream.timeout.saturating_sub(clean_up));
        match write::put(&bucket, name, data, deadline, clean_up).await {
            Ok(put) => Ok(put.revision),
            Err(WriteError::Contended) => Err(WriteError::Contended.into()),
            Err(_) if Instant::now() >= deadline => Err(bucket.timed_out()),
            Err(error) => Err(jetstream
                .explain(StoreKind::Object, self.bucket(), error.into())
                .await),
        }
    }

    /// Deletes an object, with chunks that an interrupted deletion has not removed. Deleting an object that does not exist is no error. In
    /// a bucket that is full, its data is removed before it is marked as deleted. Fails with
    /// [`Contended`](crate::store::error::StoreErrorKind::Contended) if others keep changing it for the client's timeout.
    pub async fn delete(&self, name: impl AsRef<str>) -> Result<(), StoreError> {
        let name = check_name(name.as_ref())?;
        self.handle
            .within(async |jetstream| {
                let bucket = jetstream.open::<ObjectBucket>(self.bucket()).await?;
                bucket.check_takes_writes().await?;
                let clean_up = clean_up_time(jetstream.timeout);
                let remaining = jetstream.timeout.saturating_sub(clean_up);
                let deadline = backoff::after(Instant::now(), remaining);
                Ok(Box::pin(change::delete(&bucket, name, deadline, clean_up)).await?)
            })
            .await
    }

    /// The metadata of an object; `None` if there is none.
    pub async fn info(&self, name: impl AsRef<str>) -> Result<Option<ObjectInfo>, StoreError> {
        let name = check_name(name.as_ref())?;
        let stored = self
            .handle
            .within(async |jetstream| {
                let bucket = jetstream.open::<ObjectBucket>(self.bucket()).await?;
                bucket.stored(name).await
            })
            .await?;
        Ok(stored.map(Stored::info))
    }

    /// The bytes of an object, as they are stored; `None` if there is none.
    ///
    /// ```no_run
    /// # use natsmicro::ObjectStore;
    /// # async fn example(reports: ObjectStore<String>) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut file = tokio::fs::File::create("report").await?;
    /// if let Some(mut reader) = reports.reader("report.monthly").await? {
    ///     tokio::io::copy(&mut reader, &mut file).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reader(&self, name: impl AsRef<str>) -> Result<Option<ObjectReader>, StoreError> {
        let name = check_name(name.as_ref())?;
        self.handle
            .within(async |jetstream| {
                let bucket = jetstream.open::<ObjectBucket>(self.bucket()).await?;
                let chunks = read::open(&bucket, name, jetstream.timeout, |_| true).await?;
                Ok(chunks.map(ObjectReader::new))
            })
            .await
    }

    /// Stores the bytes of a reader, in place of an earlier object. Only a few chunks are in memory at a time.
    ///
    /// The whole put has no timeout. It fails with [`TimedOut`](crate::store::error::StoreErrorKind::TimedOut) if a chunk is not stored
    /// within the client's timeout, and with [`Reader`](crate::store::error::StoreErrorKind::Reader) if the reader fails. A put that
    /// [fails](Self#clean-up-after-an-operation) or is dropped leaves nothing behind.
    ///
    /// ```no_run
    /// # use natsmicro::ObjectStore;
    /// # async fn example(reports: ObjectStore<String>) -> Result<(), Box<dyn std::error::Error>> {
    /// let file = tokio::fs::File::open("report").await?;
    /// let revision = reports
    ///     .put_from("report.monthly", file)
    ///     .with_progress(|bytes| println!("{bytes} bytes are stored"))
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn put_from<'a>(
        &self,
        name: impl AsRef<str>,
        reader: impl AsyncRead + Send + 'a,
    ) -> PutFromBuilder<'a> {
        PutFromBuilder::new(
            self.handle.jetstream().cloned(),
            self.handle.store.bucket.name,
            name.as_ref(),
            reader,
        )
    }

    /// The objects of the bucket, each once, in the order in which they were written. One that is there all the time is among them,
    /// whatever is written meanwhile.
    ///
    /// ```no_run
    /// # use futures::TryStreamExt;
    /// # use natsmicro::store::StoreError;
    /// # use natsmicro::ObjectStore;
    /// # async fn example(reports: ObjectStore<String>) -> Result<(), StoreError> {
    /// let mut objects = reports.list().await?;
    /// while let Some(object) = objects.try_next().await? {
    ///     println!("{}", object.key);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self) -> Result<Entries<ObjectInfo>, StoreError> {
        Ok(Entries::new(
            self.follow(false, Skips::DeletionsAndRepetitions).await?,
        ))
    }

    /// Follows the objects: first the existing ones, then [`EndOfInitial`](crate::store::kv::watch::WatchEvent::EndOfInitial) (also if
    /// there are none), then each that is stored or deleted. In all other respects it is as
    /// [`KvStore::watch`](crate::store::kv::handle::KvStore::watch).
    pub async fn watch(&self) -> Result<Watch<ObjectInfo>, StoreError> {
        self.follow(true, Skips::Deletions).await
    }

    async fn follow(&self, endless: bool, skips: Skips) -> Result<Watch<ObjectInfo>, StoreError> {
        let consumer = self
            .handle
            .within(async |jetstream| {
                let bucket = jetstream.open::<ObjectBucket>(self.bucket()).await?;
                bucket.consume_metas(endless).await
            })
            .await?;
        Ok(Watch::new(
            self.bucket(),
            consumer.into_stream(),
            skips,
            entry,
        ))
    }

    /// The current state of the bucket at the server.
    pub async fn status(&self) -> Result<BucketStatus, StoreError> {
        self.handle.status().await
    }

    /// Creates the bucket, with the settings that the methods declare, unless it exists. A bucket with other settings is not changed:
    /// this fails with [`BucketMismatch`](crate::store::error::StoreErrorKind::BucketMismatch), and names each difference.
    ///
    /// This is for stores that are `client_only`. A service creates the buckets that it stores into when it starts.
    ///
    /// ```no_run
    /// # use natsmicro::store::StoreError;
    /// # use natsmicro::ObjectStore;
    /// # async fn example(reports: ObjectStore<String>) -> Result<(), StoreError> {
    /// reports.create_bucket().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_bucket(&self) -> Result<(), StoreError> {
        self.handle.create_bucket().await
    }

    /// Deletes the bucket with all objects. A service that writes to it creates it again only when it is restarted,
    /// or at the next write if it is in memory.
    pub async fn delete_bucket(&self) -> Result<(), StoreError> {
        self.handle.delete_bucket().await
    }
}

impl<T> Clone for ObjectStore<T> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
        }
    }
}

impl<T> fmt::Debug for ObjectStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStore")
            .field("bucket", &self.handle.store.bucket.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_quarter_or_second_is_for_the_removal_of_chunks() {
        let second = Duration::from_secs(1);
        for (timeout, reserved) in [
            (10 * second, second),
            (4 * second, second),
            (second, second / 4),
        ] {
            assert_eq!(clean_up_time(timeout), reserved);
        }
    }
}
