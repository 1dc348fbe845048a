//! A JetStream context with the buckets that were opened through it.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{Context, stream};

use crate::descriptor::store::StoreKind;
use crate::store::error::{StoreError, StoreErrorKind, cannot_open, is_no_stream, no_such_bucket};
use crate::store::reader::budget::Budget;
use crate::sync::Mutex;
use crate::transport::mux::Multiplexer;

/// A bucket of one kind, as [`JetStream`] opens it.
pub(crate) trait Bucket: Send + Sync + Sized + 'static {
    const KIND: StoreKind;

    fn open(
        jetstream: &JetStream,
        name: &str,
    ) -> impl Future<Output = Result<Self, StoreError>> + Send;
}

/// Opening a bucket costs a request, so each is opened once.
pub(crate) struct JetStream {
    pub(crate) context: Context,
    /// How long one operation on a store may take.
    pub(crate) timeout: Duration,
    /// For what async-nats asks at a higher price.
    pub(crate) multiplexer: Arc<Multiplexer>,
    pub(crate) budget: Arc<Budget>,
    opened: Opened,
}

/// The buckets of one kind by name. What is stored is always the [`Bucket`] type of that kind.
type OpenedOfKind = Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>;

#[derive(Default)]
struct Opened {
    kv: OpenedOfKind,
    object: OpenedOfKind,
}

impl Opened {
    fn of(&self, kind: StoreKind) -> &OpenedOfKind {
        match kind {
            StoreKind::Kv => &self.kv,
            StoreKind::Object => &self.object,
        }
    }
}

impl JetStream {
    pub(crate) fn new(context: Context, timeout: Duration) -> Self {
        Self {
            multiplexer: Multiplexer::new(context.client()),
            budget: Arc::default(),
            context,
            timeout,
            opened: Opened::default(),
        }
    }

    /// The context's own timeouts end after this one, so that it is this one that is reported.
    pub(crate) fn of_client(mut context: Context, timeout: Duration) -> Self {
        context.set_timeout(timeout.saturating_add(Duration::from_secs(1)));
        Self::new(context, timeout)
    }

    /// The bucket of this name, opened at most once until it is forgotten.
    pub(crate) async fn open<B: Bucket>(&self, name: &str) -> Result<Arc<B>, StoreError> {
        let known = self.opened.of(B::KIND).lock().get(name).cloned();
        if let Some(opened) = known.and_then(|known| known.downcast().ok()) {
            return Ok(opened);
        }
        let opened = Arc::new(B::open(self, name).await?);
        let known: Arc<dyn Any + Send + Sync> = opened.clone();
        self.opened
            .of(B::KIND)
            .lock()
            .insert(name.to_owned(), known);
        Ok(opened)
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
        self.opened.of(kind).lock().remove(bucket);
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

impl fmt::Debug for JetStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStream")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
