//! A cached call: the response from the store of the method, or from the service on a miss.
//!
//! Invariant: one deadline bounds all attempts of a [`CachedCall`], however many calls in flight it joins; each of those has its own
//! timeout.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::backoff;
use crate::client::cached::singleflight::{
    CacheKey, CachedBytes, CallOptions, Outcome, SingleFlight,
};
use crate::client::cached::store::{Lookup, ResponseStore};
use crate::codec::MessageCodec;
use crate::context::Context;
use crate::descriptor::key::Key;
use crate::descriptor::method::Method;
use crate::error::chain;
use crate::log::warn_limited;
use crate::service_error::ErrorCodec;
use crate::status::Status;
use crate::store::error::StoreError;
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
/// Calls of one client and its clones that are awaited at the same time for one key share one look-up and at most one call (single
/// flight). All of them get its result, also if it is an error; an error is not cached. A call joins one in flight that has the same
/// headers, a [maximum age](Self::with_max_age) that is no larger, a [timeout](Self::with_timeout) that is no shorter, and a look-up
/// that takes no longer (see below). Each caller waits for its own timeout. A caller that is dropped does not end the call of the
/// others.
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
    /// The index of the method in its service.
    method: usize,
    store: ResponseStore,
    key: Result<Key, Status>,
    headers: Result<HeaderMap, Status>,
    /// The call on whose behalf this one is made. Its trace headers are sent with a call that this one starts, and not compared when it joins
    /// one, since those of every request differ.
    context: Option<Context>,
    max_age: Duration,
    timeout: Duration,
    make_call: MakeCall,
    codec: MessageCodec<T>,
    error: ErrorCodec<E>,
}

/// Makes the call of the service with these headers. The call has no timeout; its callers have.
pub(crate) type MakeCall =
    Box<dyn Fn(HeaderMap) -> BoxFuture<'static, Result<Bytes, Status>> + Send>;

impl<T, E> CachedCall<T, E> {
    pub(crate) fn new<Req>(
        method: &Method<Req, T, E>,
        single_flight: Arc<SingleFlight>,
        store: ResponseStore,
        key: Result<Key, Status>,
        timeout: Duration,
        make_call: MakeCall,
    ) -> Self {
        Self {
            single_flight,
            method: method.settings.index,
            store,
            key,
            headers: Ok(HeaderMap::new()),
            context: None,
            max_age: Duration::MAX,
            timeout,
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
        let key = CacheKey {
            method: self.method,
            key: self.key?,
        };
        let mut options = CallOptions {
            max_age: self.max_age,
            timeout: self.timeout,
            headers: self.headers?,
        };
        let own_deadline = backoff::after(Instant::now(), self.timeout);
        let context_deadline = self.context.as_ref().and_then(Context::deadline);
        let deadline = context_deadline.map_or(own_deadline, |context| context.min(own_deadline));
        while Instant::now() < deadline {
            let call = self.single_flight.join(&key, &options, || {
                let mut headers = options.headers.clone();
                if let Some(cx) = &self.context {
                    cx.pass_trace(&mut headers);
                }
                let call = (self.make_call)(headers);
                let read_through = ReadThrough {
                    single_flight: Arc::clone(&self.single_flight),
                    key: key.clone(),
                    store: self.store.clone(),
                    max_age: options.max_age,
                };
                read_through
                    .run(options.timeout, options.lookup_timeout(), call)
                    .boxed()
            });
            let Ok(outcome) = timeout_at(deadline, call).await else {
                break;
            };
            // A call without an outcome was started by an earlier caller, and has timed out before the deadline of this one.
            let Some(response) = outcome.transpose()? else {
                continue;
            };
            match ((self.codec.decode)(response.value), response.origin) {
                (Ok(value), origin) => return Ok(Cached { value, origin }),
                (Err(error), Origin::Service) => {
                    let text = format!("failed to decode the response: {error}");
                    return Err(Status::internal(text));
                }
                (Err(error), Origin::Store { .. }) => {
                    warn_limited!(bucket = self.store.bucket(), key = %key.key, %error,
                        "an entry cannot be decoded: the service is called");
                    options.max_age = Duration::ZERO;
                }
            }
        }
        Err(Status::deadline_exceeded(format!(
            "neither `{}` nor the service had `{}` within {:?}",
            self.store.bucket(),
            key.key,
            self.timeout
        )))
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

/// Where a [`Cached`] response came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The store of the method.
    #[non_exhaustive]
    Store {
        /// The revision of the entry.
        revision: u64,
        /// When the entry was written, by the clock of the server.
        created: SystemTime,
        /// How long ago that was, by the clock of this machine; zero if that clock is behind the clock of the server.
        age: Duration,
    },
    /// A call of the service.
    Service,
}

impl Origin {
    pub(crate) fn store(revision: u64, created: SystemTime) -> Self {
        Self::Store {
            revision,
            created,
            age: SystemTime::now()
                .duration_since(created)
                .unwrap_or_default(),
        }
    }

    pub(crate) fn is_younger_than(&self, max_age: Duration) -> bool {
        match self {
            Self::Store { age, .. } => *age < max_age,
            Self::Service => true,
        }
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
