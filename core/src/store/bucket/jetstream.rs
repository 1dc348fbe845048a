//! A JetStream context, with a cache of the buckets that were opened through it.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{Context, stream};

use crate::descriptor::bucket::StoreKind;
use crate::store::bucket::api::Api;
use crate::store::bucket::publish::Publisher;
use crate::store::bucket::shape::check_is_bucket;
use crate::store::error::{StoreError, StoreErrorKind, cannot_open, is_no_stream, no_such_bucket};
use crate::store::reader::budget::Budget;
use crate::sync::Mutex;
use crate::transport::events::ConnectionEvents;
use crate::transport::gate::Gate;
use crate::transport::mux::Multiplexer;
use crate::transport::refused::unless_refused;
use crate::transport::subject::ReplySubjects;

/// A type of bucket that [`JetStream`] can open. There is one type for each [`StoreKind`].
pub(crate) trait Bucket: Send + Sync + Sized + 'static {
    const KIND: StoreKind;

    fn open(
        jetstream: &JetStream,
        name: &str,
    ) -> impl Future<Output = Result<Self, StoreError>> + Send;
}

/// Access to the buckets of one account. Opening a bucket costs a request, so each is opened once and kept until it is forgotten.
pub(crate) struct JetStream {
    pub(crate) context: Context,
    api: Option<Api>,
    /// The timeout of one operation on a store.
    pub(crate) timeout: Duration,
    pub(crate) gate: Gate,
    pub(crate) multiplexer: Arc<Multiplexer>,
    pub(crate) publisher: Publisher,
    pub(crate) budget: Arc<Budget>,
    opened: OpenedBuckets,
}

/// The buckets of one kind by name. Invariant: all values have the [`Bucket`] type of that kind.
type OpenedOfKind = Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>;

#[derive(Default)]
struct OpenedBuckets {
    kv: OpenedOfKind,
    object: OpenedOfKind,
}

impl OpenedBuckets {
    fn of(&self, kind: StoreKind) -> &OpenedOfKind {
        match kind {
            StoreKind::Kv => &self.kv,
            StoreKind::Object => &self.object,
        }
    }
}

impl JetStream {
    pub(crate) fn new(
        context: Context,
        timeout: Duration,
        events: Option<ConnectionEvents>,
    ) -> Self {
        let gate = Gate::new(context.client(), ReplySubjects::default(), events);
        let multiplexer = Multiplexer::new(gate.clone());
        // A little longer than an operation, which ends first and is what is reported.
        let ack_timeout = timeout.saturating_add(Duration::from_secs(1));
        Self {
            publisher: Publisher::new(Arc::clone(&multiplexer), ack_timeout),
            gate,
            multiplexer,
            budget: Arc::default(),
            api: Api::of(&context),
            context,
            timeout,
            opened: OpenedBuckets::default(),
        }
    }

    /// Sets the timeout of the context a little above `timeout`, so that this one ends first and is the one that is reported.
    pub(crate) fn of_client(
        mut context: Context,
        timeout: Duration,
        events: Option<ConnectionEvents>,
    ) -> Self {
        context.set_timeout(timeout.saturating_add(Duration::from_secs(1)));
        Self::new(context, timeout, events)
    }

    /// The API that the context uses. Without it, a default would write to another bucket than is read.
    pub(crate) fn api(&self) -> Result<&Api, StoreError> {
        self.api.as_ref().ok_or_else(|| {
            StoreError::unsupported(
                "this release of async-nats does not show the prefix of a JetStream context: use async-nats 0.51.0",
            )
        })
    }

    /// The bucket of this name. Concurrent calls may each open it; the last one is kept.
    pub(crate) async fn open<B: Bucket>(&self, name: &str) -> Result<Arc<B>, StoreError> {
        let known = self.opened.of(B::KIND).lock().get(name).cloned();
        if let Some(opened) = known.and_then(|known| known.downcast().ok()) {
            return Ok(opened);
        }
        // Boxed: the future is large, and a bucket is seldom opened.
        let opened = Arc::new(Box::pin(B::open(self, name)).await?);
        let known: Arc<dyn Any + Send + Sync> = opened.clone();
        self.opened
            .of(B::KIND)
            .lock()
            .insert(name.to_owned(), known);
        Ok(opened)
    }

    /// The current state of a bucket at the server. Fails if the stream is no bucket.
    pub(crate) async fn info(
        &self,
        kind: StoreKind,
        bucket: &str,
    ) -> Result<stream::Info, StoreError> {
        let stream = kind.stream_name(bucket);
        let request = format!("STREAM.INFO.{stream}");
        let found = self.context.get_stream(stream);
        match unless_refused(&self.gate, &request, found).await? {
            Ok(stream) => {
                let info = stream.cached_info();
                check_is_bucket(kind, bucket, &info.config)?;
                Ok(info.clone())
            }
            Err(error) => Err(cannot_open(bucket, error)),
        }
    }

    /// Deletes a bucket. Fails if the stream is no bucket.
    pub(crate) async fn delete(&self, kind: StoreKind, bucket: &str) -> Result<(), StoreError> {
        self.info(kind, bucket).await?;
        let stream = kind.stream_name(bucket);
        let request = format!("STREAM.DELETE.{stream}");
        let deleted = self.context.delete_stream(stream);
        let deleted = unless_refused(&self.gate, &request, deleted).await?;
        self.forget(kind, bucket);
        match deleted {
            Ok(_) => Ok(()),
            Err(error) if is_no_stream(&error) => Err(no_such_bucket(bucket)),
            Err(error) => Err(StoreError::nats("cannot delete the bucket", error)),
        }
    }

    /// Operations on a deleted bucket, or on a stream that is no bucket any more, fail as if JetStream were down, and so do those on a
    /// connection that is lost. This looks, asks the server, and returns the error that applies.
    pub(crate) async fn explain(
        &self,
        kind: StoreKind,
        bucket: &str,
        error: StoreError,
    ) -> StoreError {
        if *error.kind() != StoreErrorKind::Nats {
            return error;
        }
        if self.gate.is_closed() {
            return StoreError::connection_lost().with_source(error);
        }
        match tokio::time::timeout(self.timeout, self.info(kind, bucket)).await {
            Ok(Err(cause))
                if matches!(
                    cause.kind(),
                    StoreErrorKind::BucketNotFound | StoreErrorKind::NotABucket
                ) =>
            {
                self.forget(kind, bucket);
                cause
            }
            _ => error,
        }
    }

    /// Removes a bucket from the cache, so that the next use opens it with its current settings.
    pub(crate) fn forget(&self, kind: StoreKind, bucket: &str) {
        self.opened.of(kind).lock().remove(bucket);
    }

    /// Bounds an operation on a bucket by the client's timeout.
    pub(crate) async fn within<T>(
        &self,
        kind: StoreKind,
        bucket: &str,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.timeout, operation)
            .await
            .unwrap_or_else(|_| Err(StoreError::timed_out()))
            .map_err(|error| error.explained(self.missing_permissions(kind, bucket)))
    }

    /// Which permissions may be missing if a bucket does not answer.
    pub(crate) fn missing_permissions(&self, kind: StoreKind, bucket: &str) -> Option<String> {
        self.api
            .as_ref()?
            .missing_permissions(&self.gate, kind, bucket)
    }
}

impl fmt::Debug for JetStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStream")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
