//! A cached call: the response from the store of the method, or from the service on a miss.
//!
//! Invariant: one deadline bounds all attempts of a [`CachedCall`], however many calls in flight it joins; each of those has its own
//! timeout.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use tokio::time::{Instant, timeout_at};

use crate::backoff;
use crate::client::cached::lookup::{LookupDestination, MakeCall, SharedLookup};
use crate::client::cached::singleflight::{CacheKey, SingleFlight};
use crate::client::cached::store::ResponseStore;
use crate::client::layered::{self, LAYERS_GRACE};
use crate::client::service_client::ServiceClient;
use crate::codec::MessageCodec;
use crate::context::Context;
use crate::descriptor::key::Key;
use crate::descriptor::method::{Method, MethodSettings};
use crate::middleware::body::Body;
use crate::middleware::layers::Layers;
use crate::middleware::origin::Origin;
use crate::middleware::request::Request;
use crate::service_error::ErrorCodec;
use crate::status::Status;
use crate::transport::headers;

/// A call that takes the response from the store of the method, and calls the service on a miss. Nothing is sent until it is
/// awaited.
///
/// `client.save_profile_cached(request)` makes one for a method with a store whose key needs the request alone. For a method with
/// both stores it reads the Key-Value bucket.
///
/// ```no_run
/// # use natsmicro::Status;
/// # use std::time::Duration;
/// use natsmicro::Origin;
///
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct PriceRequest { #[prost(string, tag = "1")] pub item: String }
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct Price { #[prost(uint64, tag = "1")] pub cents: u64 }
/// # #[natsmicro::service]
/// # pub trait Prices {
/// #     #[kv_store(bucket = "prices", key = "price.<item>")]
/// #     async fn price(&self, request: PriceRequest) -> Result<Price, Status>;
/// # }
/// # async fn example(prices: PricesClient) -> Result<(), Status> {
/// let request = PriceRequest { item: "apple".to_owned() };
/// let price = prices.price_cached(request).with_max_age(Duration::from_secs(60)).await?;
/// match price.origin {
///     Origin::Store { age, .. } => println!("{} cents {age:?} ago", price.cents),
///     _ => println!("{} cents", price.cents),
/// }
/// # Ok(())
/// # }
/// ```
///
/// # What is shared
///
/// Calls of one client and its clones that are awaited at the same time for one key share one look-up and at most one call (single flight).
/// All of them get its result, also if it is an error; an error is not cached. A call joins one in flight that has the same headers
/// (`traceparent`, `tracestate` and `baggage` aside), a [maximum age](Self::with_max_age) that is no larger, a
/// [timeout](Self::with_timeout) that is no shorter, and a look-up that takes no longer (see below). Each caller waits for its own timeout.
/// A caller that is dropped does not end the call of the others.
///
/// Requests with the same key count as the same request, as they do for the store. If their other fields differ, the service sees
/// those of one of them.
///
/// # When it calls the service
///
/// * The entry is missing, deleted or expired, or is as old as the maximum age or older.
/// * The store cannot be read: there is no bucket, or no reply within half of the timeout or within a second. The first such failure
///   is logged as a warning, further ones at the level `debug`.
/// * The entry cannot be decoded as the response.
///
/// Any replica of a replicated bucket may answer, and it may lag behind, as with [`KvStore::get`](crate::store::kv::handle::KvStore::get).
///
/// The service stores its response itself, by default after it has replied, so that a call right after this one may still miss.
/// A method with `write = "create"` never replaces an entry, so that every such call goes to the service once the entry is older than
/// the maximum age. With `client_only` the client stores the response, after this call has returned it, and only if the key has not
/// been written since the look-up (an object is stored in any case).
///
/// # Errors
///
/// Those of a [`Call`](crate::Call), and `FAILED_PRECONDITION` if the client was made without
/// [`with_jetstream`](crate::client::Client::with_jetstream), `INVALID_ARGUMENT` if the request makes no key.
#[must_use = "a call is sent when it is awaited"]
pub struct CachedCall<T, E = Status> {
    single_flight: Arc<SingleFlight>,
    method: MethodSettings,
    subject: Result<Subject, Status>,
    store: ResponseStore,
    key: Result<Key, Status>,
    payload: Bytes,
    headers: Result<HeaderMap, Status>,
    /// The call on whose behalf this one is made.
    context: Option<Context>,
    layers: Layers,
    max_age: Duration,
    timeout: Duration,
    make_call: Arc<MakeCall>,
    codec: MessageCodec<T>,
    error: ErrorCodec<E>,
}

impl<T: 'static, E> CachedCall<T, E> {
    /// A call without options. An error in place of the payload fails it.
    pub(crate) fn new<Req>(
        client: &ServiceClient,
        method: &Method<Req, T, E>,
        store: ResponseStore,
        key: Result<Key, Status>,
        payload: Result<Bytes, Status>,
        make_call: Arc<MakeCall>,
    ) -> Self {
        // A request that cannot be encoded must not start a call that others share.
        let (key, payload) = match payload {
            Ok(payload) => (key, payload),
            Err(status) => (Err(status), Bytes::new()),
        };
        Self {
            single_flight: Arc::clone(&client.single_flight),
            method: method.settings,
            subject: client.subject(&method.settings),
            store,
            key,
            payload,
            headers: Ok(HeaderMap::new()),
            context: None,
            layers: client.client.layers.clone(),
            max_age: Duration::MAX,
            timeout: client.timeout(&method.settings),
            make_call,
            codec: method.response,
            error: method.error,
        }
    }

    /// Accepts only entries that are younger than this; by default an entry of any age. Zero always calls the service.
    ///
    /// The age is the time from when the server wrote the entry, by the clock of the server, to now, by the clock of this machine.
    /// If the clock of this machine is behind, entries seem younger than they are, down to zero; if it is ahead, older.
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Adds a header to the request, if the service is called. An invalid header, or one whose name belongs to the protocol, fails the
    /// call.
    pub fn with_header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.headers = self.headers.and_then(|mut headers| {
            headers::append(&mut headers, name.as_ref(), value.as_ref())
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            Ok(headers)
        });
        self
    }

    /// Waits this long for the store and the service together; by default, as long as a [`Call`](crate::Call). The timeout is not sent
    /// to the service, since other callers may wait for the same response.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes the call on behalf of the one that is being handled: it ends at the deadline of that one, and passes on its trace headers
    /// unless it joins a call in flight. A trace header of its own is sent in place of that of the context.
    pub fn with_context(mut self, cx: &Context) -> Self {
        self.context = Some(cx.clone());
        self
    }

    async fn run(self) -> Result<Cached<T>, Status> {
        self.store.check_configured()?;
        let mut headers = self.headers?;
        if let Some(cx) = &self.context {
            cx.pass_trace(&mut headers);
        }
        let own_deadline = backoff::after(Instant::now(), self.timeout);
        let context_deadline = self.context.as_ref().and_then(Context::deadline);
        let deadline = context_deadline.map_or(own_deadline, |context| context.min(own_deadline));
        let lookup = SharedLookup {
            single_flight: self.single_flight,
            key: CacheKey {
                method: self.method.index,
                key: self.key?,
            },
            store: self.store,
            max_age: self.max_age,
            timeout: self.timeout,
            deadline,
            make_call: self.make_call,
        };
        let codec = self.codec;
        if self.layers.is_empty() {
            let decode = |value| codec.decode_caught(value);
            let (value, origin) = lookup.get(headers, self.payload, decode).await?;
            return Ok(Cached { value, origin });
        }
        let timed_out = lookup.timed_out();
        let body = Body::Message(self.payload);
        let request = Request {
            deadline: Some(deadline),
            context: self.context,
            destination: Some(Arc::new(LookupDestination {
                lookup: Arc::new(lookup),
                codec,
            })),
            ..Request::of(self.method.id, self.subject?, headers, body)
        };
        let bound = backoff::after(deadline, LAYERS_GRACE);
        let reply = timeout_at(bound, self.layers.applied().run(request));
        let reply = reply.await.unwrap_or(Err(timed_out))?;
        let origin = reply.origin().unwrap_or(Origin::Service);
        let value = layered::decode_message(codec)(reply)?.into_inner();
        Ok(Cached { value, origin })
    }
}

impl<T: 'static, E: 'static> IntoFuture for CachedCall<T, E> {
    type Output = Result<Cached<T>, E>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let error = self.error;
        self.run()
            .map(move |result| result.map_err(error.from_status))
            .boxed()
    }
}

impl<T, E> fmt::Debug for CachedCall<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedCall")
            .field("bucket", &self.store.bucket())
            .field("key", &self.key)
            .field("max_age", &self.max_age)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A response and its origin; see [`CachedCall`]. Dereferences to the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cached<T> {
    /// The response.
    pub value: T,
    /// Whether it came from the store or from the service.
    pub origin: Origin,
}

impl<T> Deref for Cached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
