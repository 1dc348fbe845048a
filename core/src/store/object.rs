use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::handle::{Handle, decode};
use super::jetstream::JetStream;
use super::object_bucket::ObjectBucket;
use super::{StoreDescriptor, StoreError, StoreErrorKind};
use crate::codec::MessageCodec;
use crate::nats;

/// The longest name of an object in bytes; it travels in a subject, as a key does.
const MAX_NAME_LEN: usize = super::MAX_KEY_LEN;

/// An Object Store bucket whose objects are messages of type `T`.
///
/// `client.generate_report_object_store()` makes one for a method that declares `#[object_store]`. It works on the bucket
/// directly, without a call to the service. Each operation fails with
/// [`StoreErrorKind::TimedOut`](crate::StoreErrorKind::TimedOut) after the client's timeout, also where the data of an object
/// is gone.
///
/// ```no_run
/// # use natsmicro::{ObjectStore, StoreError};
/// # async fn example(reports: ObjectStore<String>) -> Result<(), StoreError> {
/// reports.put("report.monthly", &"all is well".to_owned()).await?;
/// assert!(reports.get("report.monthly").await?.is_some());
/// reports.delete("report.monthly").await?;
/// # Ok(())
/// # }
/// ```
pub struct ObjectStore<T> {
    handle: Handle<T>,
}

impl<T> ObjectStore<T> {
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

    /// The message stored under a name; `None` if there is none.
    pub async fn get(&self, name: impl AsRef<str>) -> Result<Option<T>, StoreError> {
        let name = checked(name.as_ref())?;
        let (jetstream, bucket) = self.open().await?;
        match jetstream.within(bucket.get(name)).await? {
            Some((revision, data)) => decode(&self.handle.codec, name, revision, data).map(Some),
            None => Ok(None),
        }
    }

    /// Stores a message under a name, in place of the one that was there, and returns the revision of the object.
    pub async fn put(&self, name: impl AsRef<str>, value: &T) -> Result<u64, StoreError> {
        let name = checked(name.as_ref())?;
        let data = self.handle.encode(value)?;
        let (jetstream, bucket) = self.open().await?;
        let deadline = nats::after(Instant::now(), jetstream.timeout);
        bucket.put(name, data, deadline).await.map_err(|error| {
            if Instant::now() < deadline {
                StoreError::from(error)
            } else {
                StoreError::timed_out()
            }
        })
    }

    /// Takes an object away. A name without one is no error.
    pub async fn delete(&self, name: impl AsRef<str>) -> Result<(), StoreError> {
        let name = checked(name.as_ref())?;
        let (jetstream, bucket) = self.open().await?;
        jetstream
            .within(async { bucket.delete(name).await.map_err(StoreError::from) })
            .await
    }

    async fn open(&self) -> Result<(&JetStream, Arc<ObjectBucket>), StoreError> {
        let jetstream = self.handle.jetstream()?;
        let bucket = jetstream
            .within(jetstream.objects(self.handle.store.bucket))
            .await?;
        Ok((jetstream, bucket))
    }
}

/// Object names are free text: they travel encoded.
fn checked(name: &str) -> Result<&str, StoreError> {
    let refused = if name.is_empty() {
        "the name of an object cannot be empty".to_owned()
    } else if name.len() > MAX_NAME_LEN {
        format!("the name of an object cannot have more than {MAX_NAME_LEN} bytes")
    } else {
        return Ok(name);
    };
    Err(StoreError::new(StoreErrorKind::InvalidKey, refused))
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
            .field("bucket", &self.handle.store.bucket)
            .finish_non_exhaustive()
    }
}
