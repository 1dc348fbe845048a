//! A JetStream context with the buckets that were opened through it.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};

use super::kv_bucket::KvBucket;
#[cfg(feature = "object-store")]
use super::object_bucket::ObjectBucket;
use super::{StoreError, StoreErrorKind};

/// Cheap to clone. Opening a bucket costs a request, so each is opened once.
#[derive(Clone)]
pub(crate) struct JetStream {
    pub(crate) context: Context,
    /// How long one operation on a store may take.
    pub(crate) timeout: Duration,
    opened: Arc<Opened>,
}

type Cache<T> = Mutex<HashMap<String, Arc<T>>>;

#[derive(Default)]
struct Opened {
    kv: Cache<KvBucket>,
    #[cfg(feature = "object-store")]
    objects: Cache<ObjectBucket>,
}

impl JetStream {
    pub(crate) fn new(context: Context, timeout: Duration) -> Self {
        Self {
            context,
            timeout,
            opened: Arc::default(),
        }
    }

    pub(crate) async fn kv(&self, bucket: &str) -> Result<Arc<KvBucket>, StoreError> {
        cached(&self.opened.kv, bucket, || {
            KvBucket::open(&self.context, bucket)
        })
        .await
    }

    /// The context's own timeouts end after this one, so that it is this one that is reported.
    pub(crate) fn of_client(mut context: Context, timeout: Duration) -> Self {
        context.set_timeout(timeout.saturating_add(Duration::from_secs(1)));
        Self::new(context, timeout)
    }

    #[cfg(feature = "object-store")]
    pub(crate) async fn objects(&self, bucket: &str) -> Result<Arc<ObjectBucket>, StoreError> {
        cached(&self.opened.objects, bucket, || {
            ObjectBucket::open(&self.context, bucket)
        })
        .await
    }

    /// Bounds an operation by the client's timeout.
    pub(crate) async fn within<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.timeout, operation)
            .await
            .unwrap_or_else(|_| Err(StoreError::timed_out()))
    }
}

async fn cached<T, F>(
    cache: &Cache<T>,
    bucket: &str,
    open: impl FnOnce() -> F,
) -> Result<Arc<T>, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let known = cache
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(bucket)
        .cloned();
    if let Some(opened) = known {
        return Ok(opened);
    }
    let opened = Arc::new(open().await?);
    cache
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(bucket.to_owned(), opened.clone());
    Ok(opened)
}

/// The error for a bucket that cannot be opened.
pub(super) fn cannot_open(
    bucket: &str,
    error: impl StdError + Send + Sync + 'static,
) -> StoreError {
    let cause: &(dyn StdError + 'static) = error.source().unwrap_or(&error);
    let refused = cause
        .downcast_ref::<GetStreamError>()
        .map(GetStreamError::kind);
    if matches!(refused, Some(GetStreamErrorKind::JetStream(refused)) if refused.code() == 404) {
        let text = format!(
            "there is no bucket `{bucket}`; a service creates those it writes to when it starts"
        );
        return StoreError::new(StoreErrorKind::BucketNotFound, text);
    }
    StoreError::nats("cannot open the bucket", error)
}

impl fmt::Debug for JetStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStream")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
