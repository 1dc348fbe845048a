//! A JetStream context with the buckets that were opened through it.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    ConsumerError, ConsumerErrorKind, LastRawMessageError, LastRawMessageErrorKind, PurgeError,
    PurgeErrorKind,
};
use async_nats::jetstream::{Context, ErrorCode, stream};

use crate::descriptor::bucket::StoreKind;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::bucket::KvBucket;
use crate::store::object::bucket::ObjectBucket;
use crate::store::reader::budget::Budget;
use crate::transport::mux::Connection;

/// Opening a bucket costs a request, so each is opened once.
pub(crate) struct JetStream {
    pub(crate) context: Context,
    /// How long one operation on a store may take.
    pub(crate) timeout: Duration,
    /// For what async-nats asks at a higher price.
    connection: Arc<Connection>,
    pub(crate) budget: Arc<Budget>,
    opened: Opened,
}

type Cache<T> = Mutex<HashMap<String, Arc<T>>>;

#[derive(Default)]
struct Opened {
    kv: Cache<KvBucket>,
    objects: Cache<ObjectBucket>,
}

impl JetStream {
    pub(crate) fn new(context: Context, timeout: Duration) -> Self {
        Self {
            connection: Connection::new(context.client()),
            budget: Arc::default(),
            context,
            timeout,
            opened: Opened::default(),
        }
    }

    pub(crate) async fn kv(&self, bucket: &str) -> Result<Arc<KvBucket>, StoreError> {
        cached(&self.opened.kv, bucket, || {
            KvBucket::open(&self.context, &self.connection, bucket)
        })
        .await
    }

    /// The context's own timeouts end after this one, so that it is this one that is reported.
    pub(crate) fn of_client(mut context: Context, timeout: Duration) -> Self {
        context.set_timeout(timeout.saturating_add(Duration::from_secs(1)));
        Self::new(context, timeout)
    }

    pub(crate) async fn objects(&self, bucket: &str) -> Result<Arc<ObjectBucket>, StoreError> {
        cached(&self.opened.objects, bucket, || {
            ObjectBucket::open(&self.context, &self.budget, bucket)
        })
        .await
    }

    /// What the server says of a bucket now.
    pub(crate) async fn info(
        &self,
        kind: StoreKind,
        bucket: &str,
    ) -> Result<stream::Info, StoreError> {
        match self.context.get_stream(kind.stream_name(bucket)).await {
            Ok(stream) => Ok(stream.cached_info().clone()),
            Err(error) => Err(cannot_open(bucket, error)),
        }
    }

    pub(crate) async fn delete(&self, kind: StoreKind, bucket: &str) -> Result<(), StoreError> {
        let deleted = self.context.delete_stream(kind.stream_name(bucket)).await;
        self.forget(kind, bucket);
        match deleted {
            Ok(_) => Ok(()),
            Err(error) if is_no_stream(&error) => Err(no_such_bucket(bucket)),
            Err(error) => Err(StoreError::nats("cannot delete the bucket", error)),
        }
    }

    /// Once a bucket is gone, operations on it fail as if JetStream were down. This looks which of the two it is.
    pub(crate) async fn explain(
        &self,
        kind: StoreKind,
        bucket: &str,
        error: StoreError,
    ) -> StoreError {
        if *error.kind() != StoreErrorKind::Nats {
            return error;
        }
        match tokio::time::timeout(self.timeout, self.info(kind, bucket)).await {
            Ok(Err(missing)) if *missing.kind() == StoreErrorKind::BucketNotFound => {
                self.forget(kind, bucket);
                missing
            }
            _ => error,
        }
    }

    /// Lets a bucket be opened again, with its settings of then.
    pub(crate) fn forget(&self, kind: StoreKind, bucket: &str) {
        match kind {
            StoreKind::Kv => remove(&self.opened.kv, bucket),
            StoreKind::Object => remove(&self.opened.objects, bucket),
        }
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

fn remove<T>(cache: &Cache<T>, bucket: &str) {
    cache
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(bucket);
}

/// The error for a bucket that cannot be opened.
pub(crate) fn cannot_open(
    bucket: &str,
    error: impl StdError + Send + Sync + 'static,
) -> StoreError {
    if is_no_stream(&error) {
        return no_such_bucket(bucket);
    }
    StoreError::nats("cannot open the bucket", error)
}

pub(crate) fn no_such_bucket(bucket: &str) -> StoreError {
    let text = format!(
        "there is no bucket `{bucket}`; a service creates those it writes to when it starts, and `create_bucket` makes any"
    );
    StoreError::new(StoreErrorKind::BucketNotFound, text)
}

/// Whether the server says that there is no such stream. async-nats has this in the kinds of some errors and in the sources of
/// others.
pub(crate) fn is_no_stream(error: &(dyn StdError + 'static)) -> bool {
    let refused = if let Some(error) = error.downcast_ref::<GetStreamError>()
        && let GetStreamErrorKind::JetStream(refused) = error.kind()
    {
        Some(refused)
    } else if let Some(error) = error.downcast_ref::<ConsumerError>()
        && let ConsumerErrorKind::JetStream(refused) = error.kind()
    {
        Some(refused)
    } else if let Some(error) = error.downcast_ref::<LastRawMessageError>()
        && let LastRawMessageErrorKind::JetStream(refused) = error.kind()
    {
        Some(refused)
    } else if let Some(error) = error.downcast_ref::<PurgeError>()
        && let PurgeErrorKind::JetStream(refused) = error.kind()
    {
        Some(refused)
    } else {
        error
            .downcast_ref::<async_nats::jetstream::Error>()
            .cloned()
    };
    refused.is_some_and(|refused| refused.error_code() == ErrorCode::STREAM_NOT_FOUND)
        || error.source().is_some_and(is_no_stream)
}

impl fmt::Debug for JetStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStream")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
