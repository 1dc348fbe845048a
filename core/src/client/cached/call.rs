//! Calls that look into the store of their method first.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::backoff;
use crate::client::cached::shelf::{Seen, Shelf};
use crate::client::cached::singleflight::{Destination, Flights, Landed, Outcome, Terms};
use crate::codec::MessageCodec;
use crate::context::Context;
use crate::descriptor::key::Key;
use crate::descriptor::method::Method;
use crate::error::chain;
use crate::service_error::ErrorCodec;
use crate::status::Status;
use crate::store::error::StoreError;
use crate::transport::headers;

/// A call that takes the response from the store of the method if it is there, and from the service otherwise: nothing is sent
/// until it is awaited.
///
/// `client.save_profile_cached(request)` makes one for a method with a store whose key needs the request alone. Of a method with
/// both stores, it is the Key-Value bucket that is read.
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
/// Calls of one client and its clones that are awaited at the same time for one key make one look at the store and at most one
/// call, of which all get the result, also if it is an error; an error is not kept. A call joins one that has the same headers, a
/// [maximum age](Self::with_max_age) that is no larger and a [timeout](Self::with_timeout) that is no shorter (and that waits no
/// longer for the store, see below). Each waits for as
/// long as its own timeout says, and none depends on the others: the rest goes on when the first is dropped.
///
/// Requests with the same key are the same request, as they are to the store: which of their other fields the service sees is
/// not determined.
///
/// # When it calls the service
///
/// * The entry is missing, deleted or expired, or is as old as the maximum age or older.
/// * The store cannot be read: there is no bucket, or no answer within half of the timeout or a second. The first such failure is logged as
///   a warning, further ones at the level `debug`.
/// * The entry is not such a message.
///
/// Of a replicated bucket, any replica may answer; one may lag behind, as with [`KvStore::get`](crate::store::kv::handle::KvStore::get).
///
/// What the service answers it stores by itself; by default that happens behind the reply, so that a call right after this one
/// may still miss it. A method with `write = "create"` never replaces an entry, so that once it is older than the maximum age, each
/// such call goes to the service. With `client_only`, the client stores the response instead, also behind it, and only if nobody else has
/// written to the key since it looked (an object is stored in any case).
///
/// # Errors
///
/// Those of a [`Call`](crate::Call), and `FAILED_PRECONDITION` if the client was made without
/// [`with_jetstream`](crate::client::Client::with_jetstream), `INVALID_ARGUMENT` if the request makes no key.
#[must_use = "a call is sent when it is awaited"]
pub struct CachedCall<T, E = Status> {
    flights: Arc<Flights>,
    method: usize,
    shelf: Shelf,
    key: Result<Key, Status>,
    headers: Result<HeaderMap, Status>,
    trace: Vec<(&'static str, HeaderValue)>,
    max_age: Duration,
    timeout: Duration,
    until: Option<Instant>,
    call: MakeCall,
    codec: MessageCodec<T>,
    error: ErrorCodec<E>,
}

/// The call of the service with these headers, which takes as long as it is waited for.
pub(crate) type MakeCall =
    Box<dyn Fn(HeaderMap) -> BoxFuture<'static, Result<Bytes, Status>> + Send>;

impl<T, E> CachedCall<T, E> {
    pub(crate) fn new<Req>(
        method: &Method<Req, T, E>,
        flights: Arc<Flights>,
        shelf: Shelf,
        key: Result<Key, Status>,
        timeout: Duration,
        call: MakeCall,
    ) -> Self {
        Self {
            flights,
            method: method.settings.index,
            shelf,
            key,
            headers: Ok(HeaderMap::new()),
            trace: Vec::new(),
            max_age: Duration::MAX,
            timeout,
            until: None,
            call,
            codec: method.response,
            error: method.error,
        }
    }

    /// Takes nothing from the store that is as old as this, or older; by default, any age will do. Zero always calls the service.
    ///
    /// The age is the time from when the server wrote the entry, by its clock, to now, by the clock of this machine. If this one
    /// is behind, entries seem younger than they are, down to zero; if it is ahead, older.
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Adds a header to the request, if the service is called. One that cannot travel, or whose name belongs to the protocol,
    /// fails the call.
    pub fn with_header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.headers = self.headers.and_then(|mut headers| {
            headers::append(&mut headers, name.as_ref(), value.as_ref())
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            Ok(headers)
        });
        self
    }

    /// Waits this long for the store and the service together; by default, as long as a [`Call`](crate::Call). The service is
    /// not told, since others may wait for the same answer.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes the call on behalf of the one that is being answered: it ends when that one does, and carries its trace headers if
    /// it is not answered together with others.
    pub fn with_context(mut self, cx: &Context) -> Self {
        self.until = cx.deadline();
        self.trace = cx
            .trace_headers()
            .map(|(name, value)| (name, value.clone()))
            .collect();
        self
    }

    async fn answer(self) -> Result<Cached<T>, Status> {
        self.shelf.check()?;
        let to = Destination {
            method: self.method,
            key: self.key?,
        };
        let mut terms = Terms {
            max_age: self.max_age,
            timeout: self.timeout,
            headers: self.headers?,
        };
        let own = backoff::after(Instant::now(), self.timeout);
        let deadline = self.until.map_or(own, |until| until.min(own));
        while Instant::now() < deadline {
            let flight = self.flights.join(&to, &terms, || {
                let mut headers = terms.headers.clone();
                for (name, value) in &self.trace {
                    headers.insert(*name, value.clone());
                }
                let call = (self.call)(headers);
                let route = Route {
                    flights: Arc::clone(&self.flights),
                    to: to.clone(),
                    shelf: self.shelf.clone(),
                    max_age: terms.max_age,
                };
                route.fly(terms.timeout, terms.look(), call).boxed()
            });
            let Ok(outcome) = timeout_at(deadline, flight).await else {
                break;
            };
            // Without an outcome, it had begun before this call, and so has ended before it.
            let Some(landed) = outcome.transpose()? else {
                continue;
            };
            match ((self.codec.decode)(landed.value), landed.origin) {
                (Ok(value), origin) => return Ok(Cached { value, origin }),
                (Err(error), Origin::Service) => {
                    let text = format!("failed to decode the response: {error}");
                    return Err(Status::internal(text));
                }
                (Err(error), Origin::Store { .. }) => {
                    tracing::warn!(bucket = self.shelf.bucket(), key = %to.key, %error,
                        "an entry is no such response: the service is called");
                    terms.max_age = Duration::ZERO;
                }
            }
        }
        Err(Status::deadline_exceeded(format!(
            "neither `{}` nor the service had `{}` within {:?}",
            self.shelf.bucket(),
            to.key,
            self.timeout
        )))
    }
}

impl<T: 'static, E: 'static> IntoFuture for CachedCall<T, E> {
    type Output = Result<Cached<T>, E>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let error = self.error;
        self.answer()
            .map(move |answer| answer.map_err(error.from_status))
            .boxed()
    }
}

impl<T, E> fmt::Debug for CachedCall<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedCall")
            .field("bucket", &self.shelf.bucket())
            .field("key", &self.key)
            .field("max_age", &self.max_age)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A response, and where it came from; see [`CachedCall`]. Dereferences to the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cached<T> {
    /// The response.
    pub value: T,
    /// Where it came from.
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
    /// The store.
    #[non_exhaustive]
    Store {
        /// The revision of the entry.
        revision: u64,
        /// When it was written, by the clock of the server.
        created: SystemTime,
        /// How long ago that was, by the clock of this machine; zero if that one is behind.
        age: Duration,
    },
    /// The service, which was called.
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

/// One look at the store, and one call if it gave nothing.
struct Route {
    flights: Arc<Flights>,
    to: Destination,
    shelf: Shelf,
    max_age: Duration,
}

impl Route {
    async fn fly(
        self,
        time: Duration,
        look: Duration,
        call: BoxFuture<'static, Result<Bytes, Status>>,
    ) -> Outcome {
        let flight = async {
            let seen = self.look(look).await;
            if let Some(Seen {
                fresh: Some(landed),
                ..
            }) = seen
            {
                return Ok(landed);
            }
            let value = call.await?;
            if let Some(seen) = seen.filter(|_| self.shelf.is_client_only()) {
                tokio::spawn(self.fill(value.clone(), seen.revision));
            }
            Ok(Landed {
                value,
                origin: Origin::Service,
            })
        };
        timeout(time, flight).await.ok()
    }

    /// What is in the store; `None` if that need not or cannot be known.
    async fn look(&self, time: Duration) -> Option<Seen> {
        if self.max_age.is_zero() && !self.shelf.is_client_only() {
            return None;
        }
        let look = timeout(time, self.shelf.look(&self.to.key, self.max_age));
        let seen = look.await.unwrap_or_else(|_| Err(StoreError::timed_out()));
        self.note(seen, "a store cannot be read: the service is called")
    }

    fn fill(&self, value: Bytes, revision: u64) -> impl Future<Output = ()> + use<> {
        let route = Self {
            flights: Arc::clone(&self.flights),
            to: self.to.clone(),
            shelf: self.shelf.clone(),
            max_age: self.max_age,
        };
        async move {
            let filled = route.shelf.fill(&route.to.key, &value, revision).await;
            route.note(filled, "a response cannot be stored");
        }
    }

    /// Warns of a failure that follows a success.
    fn note<R>(&self, result: Result<R, StoreError>, failure: &'static str) -> Option<R> {
        let is_news = self.flights.note(self.to.method, failure, result.is_err());
        match &result {
            Ok(_) => {}
            Err(error) if is_news => {
                tracing::warn!(bucket = self.shelf.bucket(), key = %self.to.key, error = chain(error), "{failure}");
            }
            Err(error) => {
                tracing::debug!(bucket = self.shelf.bucket(), key = %self.to.key, error = chain(error), "{failure}");
            }
        }
        result.ok()
    }
}
