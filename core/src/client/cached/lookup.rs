//! The flow of a cached call: joins a look-up in flight or starts one, and calls the service on a miss.
//!
//! Values stay bytes until the end, since each caller decodes them. Behind layers, it is the destination of their request.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::backoff;
use crate::client::cached::singleflight::{
    CacheKey, CachedBytes, CallOptions, Outcome, SingleFlight,
};
use crate::client::cached::store::{Lookup, ResponseStore};
use crate::codec::{CodecError, MessageCodec};
use crate::error::chain;
use crate::log::warn_limited;
use crate::middleware::body::{Answer, Body};
use crate::middleware::inner::{Destination, ReplyFuture};
use crate::middleware::origin::Origin;
use crate::middleware::reply::Reply;
use crate::middleware::request::Request;
use crate::status::Status;
use crate::store::error::StoreError;

/// Makes the call of the service with these headers and this payload. The call has no timeout; its callers have, and none waits for longer
/// than the given moment.
pub(crate) type MakeCall =
    dyn Fn(HeaderMap, Bytes, Instant) -> BoxFuture<'static, Result<Bytes, Status>> + Send + Sync;

/// What a cached call asks for.
pub(crate) struct SharedLookup {
    pub(crate) single_flight: Arc<SingleFlight>,
    pub(crate) key: CacheKey,
    pub(crate) store: ResponseStore,
    pub(crate) max_age: Duration,
    pub(crate) timeout: Duration,
    /// One deadline bounds all attempts.
    pub(crate) deadline: Instant,
    pub(crate) make_call: Arc<MakeCall>,
}

impl SharedLookup {
    /// The response and its origin. An entry that cannot be decoded is passed over.
    pub(crate) async fn get<V>(
        &self,
        headers: HeaderMap,
        payload: Bytes,
        decode: impl Fn(Bytes) -> Result<V, CodecError>,
    ) -> Result<(V, Origin), Status> {
        let mut options = CallOptions {
            max_age: self.max_age,
            timeout: self.timeout,
            headers,
        };
        while Instant::now() < self.deadline {
            let call = self.single_flight.join(&self.key, &options, || {
                let until = backoff::after(Instant::now(), options.timeout);
                let call = (self.make_call)(options.headers.clone(), payload.clone(), until);
                let read_through = ReadThrough {
                    single_flight: Arc::clone(&self.single_flight),
                    key: self.key.clone(),
                    store: self.store.clone(),
                    max_age: options.max_age,
                };
                read_through
                    .run(options.timeout, options.lookup_timeout(), call)
                    .boxed()
            });
            let Ok(outcome) = timeout_at(self.deadline, call).await else {
                break;
            };
            // A call without an outcome was started by an earlier caller, and has timed out before the deadline of this one.
            let Some(response) = outcome.transpose()? else {
                continue;
            };
            match (decode(response.value), response.origin) {
                (Ok(value), origin) => return Ok((value, origin)),
                (Err(error), Origin::Service) => {
                    let text = format!("failed to decode the response: {error}");
                    return Err(Status::internal(text));
                }
                (Err(error), Origin::Store { .. }) => {
                    warn_limited!(bucket = self.store.bucket(), key = %self.key.key, %error,
                        "an entry cannot be decoded: the service is called");
                    options.max_age = Duration::ZERO;
                }
            }
        }
        Err(self.timed_out())
    }

    pub(crate) fn timed_out(&self) -> Status {
        Status::deadline_exceeded(format!(
            "neither `{}` nor the service had `{}` within {:?}",
            self.store.bucket(),
            self.key.key,
            self.timeout
        ))
    }
}

/// A look-up behind layers.
pub(crate) struct LookupDestination<T> {
    pub(crate) lookup: Arc<SharedLookup>,
    pub(crate) codec: MessageCodec<T>,
}

impl<T: 'static> Destination for LookupDestination<T> {
    fn call(&self, request: Request) -> ReplyFuture {
        let (lookup, codec) = (Arc::clone(&self.lookup), self.codec);
        Box::pin(async move {
            let payload = match request.body {
                Body::Message(payload) => payload,
                Body::Stream(_) => Bytes::new(),
            };
            // Decoded here as well as behind the layers: an entry that cannot be decoded must lead to a call.
            let checked = |value: Bytes| codec.decode_caught(value.clone()).map(|_| value);
            let (value, origin) = lookup.get(request.headers, payload, checked).await?;
            let mut reply = Reply::of(HeaderMap::new(), Answer::Message(value));
            reply.extensions.insert(origin);
            Ok(reply)
        })
    }
}

/// One look-up, and one call of the service on a miss.
struct ReadThrough {
    single_flight: Arc<SingleFlight>,
    key: CacheKey,
    store: ResponseStore,
    max_age: Duration,
}

impl ReadThrough {
    async fn run(
        self,
        total_timeout: Duration,
        lookup_timeout: Duration,
        call: BoxFuture<'static, Result<Bytes, Status>>,
    ) -> Outcome {
        let read = async {
            let lookup = self.look_up(lookup_timeout).await;
            if let Some(Lookup { hit: Some(hit), .. }) = lookup {
                return Ok(hit);
            }
            let value = call.await?;
            if let Some(lookup) = lookup.filter(|_| self.store.is_client_only()) {
                tokio::spawn(self.fill(value.clone(), lookup.revision));
            }
            Ok(CachedBytes {
                value,
                origin: Origin::Service,
            })
        };
        timeout(total_timeout, read).await.ok()
    }

    /// Looks up the entry; `None` if the look-up is not needed or has failed.
    async fn look_up(&self, lookup_timeout: Duration) -> Option<Lookup> {
        // Even if no entry is young enough, a client that stores the response needs the revision to replace.
        if self.max_age.is_zero() && !self.store.is_client_only() {
            return None;
        }
        let lookup = self.store.look_up(&self.key.key, self.max_age);
        let result = timeout(lookup_timeout, lookup)
            .await
            .unwrap_or_else(|_| Err(StoreError::timed_out()));
        self.log_failure(result, "a store cannot be read: the service is called")
    }

    fn fill(&self, value: Bytes, revision: u64) -> impl Future<Output = ()> + use<> {
        let read_through = Self {
            single_flight: Arc::clone(&self.single_flight),
            key: self.key.clone(),
            store: self.store.clone(),
            max_age: self.max_age,
        };
        async move {
            let key = &read_through.key.key;
            let result = read_through.store.fill(key, &value, revision).await;
            read_through.log_failure(result, "a response cannot be stored");
        }
    }

    /// Logs a failure: the first one after a success as a warning, further ones at the level `debug`.
    fn log_failure<R>(&self, result: Result<R, StoreError>, failure: &'static str) -> Option<R> {
        let method = self.key.method;
        let is_first = self
            .single_flight
            .is_first_failure(method, failure, result.is_err());
        match &result {
            Ok(_) => {}
            Err(error) if is_first => {
                warn_limited!(bucket = self.store.bucket(), key = %self.key.key, error = chain(error), "{failure}");
            }
            Err(error) => {
                tracing::debug!(bucket = self.store.bucket(), key = %self.key.key, error = chain(error), "{failure}");
            }
        }
        result.ok()
    }
}
