//! The context of a call: what a handler can read of its request, the headers of its response, and whether its server is stopping.
//!
//! May use `transport` for the rules of headers; knows no server and no store.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use async_nats::{HeaderMap, Subject};
use http::Extensions;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::sync::Mutex;
use crate::transport::headers::{self, InvalidHeader};

/// The call that a handler serves: headers, deadline and names, and the headers of the response.
///
/// A method that needs it declares it as its first parameter, `cx: &Context`.
///
/// ```
/// # use natsmicro::{Context, Status};
/// async fn greet(cx: &Context) -> Result<String, Status> {
///     let language = cx.header("Accept-Language").unwrap_or("en");
///     cx.insert_response_header("Content-Language", language)?;
///     Ok(format!("hello from {}", cx.subject()))
/// }
/// ```
///
/// In a unit test a service is an ordinary value, and the test makes the context:
///
/// ```
/// # use natsmicro::Context;
/// # use std::time::Duration;
/// let cx = Context::new().with_header("Accept-Language", "fr").unwrap().with_timeout(Duration::from_secs(2));
/// assert_eq!(cx.header("Accept-Language"), Some("fr"));
/// assert!(cx.remaining().unwrap() <= Duration::from_secs(2));
/// ```
///
/// It is cheap to clone, and a clone may live on in a task or in a stream that the handler returns:
///
/// ```
/// # use futures::StreamExt;
/// # use natsmicro::{Context, Status, Streaming};
/// async fn ticks(cx: &Context) -> Result<Streaming<u64>, Status> {
///     let stopping = cx.stopping();
///     let ticks = futures::stream::unfold(0, |tick| async move {
///         tokio::time::sleep(std::time::Duration::from_secs(1)).await;
///         Some((Ok(tick), tick + 1))
///     });
///     // Ends when the server is told to stop, which otherwise waits for the stream.
///     Ok(Streaming::new(ticks.take_until(stopping)))
/// }
/// ```
#[derive(Clone, Default)]
pub struct Context(Arc<Inner>);

#[derive(Default)]
struct Inner {
    shared: Arc<EndpointContext>,
    subject: Option<Subject>,
    headers: HeaderMap,
    extensions: Extensions,
    /// `None` outside a call.
    received: Option<Instant>,
    deadline: Option<Instant>,
    response: Mutex<ResponseHeaders>,
    not_stored: AtomicBool,
}

#[derive(Default)]
struct ResponseHeaders {
    headers: HeaderMap,
    /// Whether they were taken for the reply, or for the first message of a stream.
    have_left: bool,
}

/// What the contexts of one endpoint share.
#[derive(Debug, Default)]
pub(crate) struct EndpointContext {
    pub(crate) names: Arc<Names>,
    /// How far the stop of the server is; closed when the server is dropped. `None` outside a server.
    pub(crate) stopping: Option<watch::Receiver<Stopping>>,
}

/// How far the stop of a server is. It only goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Stopping {
    No,
    /// Open calls and streams should end.
    Told,
    /// The drain time is over: open calls are cut off.
    Over,
}

impl EndpointContext {
    /// Waits until the drain time of the server is over. Never ends outside a server, or when the server is dropped without a stop.
    pub(crate) async fn drain_over(&self) {
        if let Some(stopping) = &self.stopping
            && let Ok(_) = stopping
                .clone()
                .wait_for(|stopping| *stopping == Stopping::Over)
                .await
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// The names of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) service: String,
    pub(crate) endpoint: String,
}

impl Context {
    /// A context without a call, for tests of a handler.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn of_call(
        shared: Arc<EndpointContext>,
        subject: Subject,
        headers: HeaderMap,
        extensions: Extensions,
        received: Option<Instant>,
        deadline: Option<Instant>,
    ) -> Self {
        Self(Arc::new(Inner {
            shared,
            subject: Some(subject),
            headers,
            extensions,
            received,
            deadline,
            response: Mutex::default(),
            not_stored: AtomicBool::new(false),
        }))
    }

    /// Adds a request header, for tests of a handler. Clones that were made before do not get it, and share nothing with this one any more.
    pub fn with_header(self, name: &str, value: &str) -> Result<Self, InvalidHeader> {
        let mut own = self.into_own();
        headers::append(&mut own.headers, name, value)?;
        Ok(Self(Arc::new(own)))
    }

    /// Adds an [extension](Self::extensions), in place of one of the same type, for tests of a handler; for clones that were made before,
    /// see [`with_header`](Self::with_header).
    ///
    /// ```
    /// #[derive(Clone, Debug, PartialEq)]
    /// struct User(String);
    ///
    /// let cx = natsmicro::Context::new().with_extension(User("ada".to_owned()));
    /// assert_eq!(cx.extensions().get(), Some(&User("ada".to_owned())));
    /// ```
    #[must_use]
    pub fn with_extension<T: Clone + Send + Sync + 'static>(self, value: T) -> Self {
        let mut own = self.into_own();
        own.extensions.insert(value);
        Self(Arc::new(own))
    }

    /// Sets the deadline to this time from now, for tests of a handler; for clones that were made before, see
    /// [`with_header`](Self::with_header).
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        let mut own = self.into_own();
        own.deadline = Instant::now().checked_add(timeout);
        Self(Arc::new(own))
    }

    fn into_own(self) -> Inner {
        Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            shared: Arc::clone(&shared.shared),
            subject: shared.subject.clone(),
            headers: shared.headers.clone(),
            extensions: shared.extensions.clone(),
            received: shared.received,
            deadline: shared.deadline,
            ..Inner::default()
        })
    }

    /// The name under which the service is registered; empty outside a call.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.0.shared.names.service
    }

    /// The name of the endpoint, such as `save_profile`; empty outside a call.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.0.shared.names.endpoint
    }

    /// The subject that the request was sent to; empty outside a call.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.0
            .subject
            .as_ref()
            .map_or("", |subject| subject.as_str())
    }

    /// All headers of the request.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The first value of a request header. Names are case-sensitive, as everywhere in NATS.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        headers::get(&self.0.headers, name)
    }

    /// What [layers](crate::middleware) have told about the request, such as who calls: a value of each type.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }

    /// When the response is due: the earlier of the endpoint's timeout and the caller's deadline. At that moment
    /// the handler's future is dropped and the caller gets `DEADLINE_EXCEEDED`.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// When the request has arrived; `None` outside a call.
    pub(crate) fn received(&self) -> Option<Instant> {
        self.0.received
    }

    /// The time remaining until [`deadline`](Self::deadline).
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits until the server of this call is told to stop, or is dropped; it then waits for calls and streams that are open, until its
    /// drain time is over. For endless streams, and for handlers that wait for long. Never ends outside a server. The future is independent
    /// of the context.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        let stopping = self.0.shared.stopping.clone();
        async move {
            match stopping {
                // Fails if the server was dropped.
                Some(mut stopping) => {
                    let told = |stopping: &Stopping| *stopping >= Stopping::Told;
                    drop(stopping.wait_for(told).await);
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Sets a header of the response, in place of values set before. It also travels with an error. The headers of a stream are those that
    /// are set before the handler returns it.
    ///
    /// Fails for an invalid header (a line break in the value, a name that is not printable ASCII), for the names of the
    /// protocol (`Nats-*`, `Natsmicro-*`, `Status`, `Description`), and after the headers have left: with the reply, or when a stream was
    /// returned.
    pub fn insert_response_header(&self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        headers::insert(self.lock_response().open(name)?, name, value)
    }

    /// Adds a value to a header of the response; see [`insert_response_header`](Self::insert_response_header).
    pub fn append_response_header(&self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        headers::append(self.lock_response().open(name)?, name, value)
    }

    /// The response headers set so far; none after they have left.
    #[must_use]
    pub fn response_headers(&self) -> HeaderMap {
        self.lock_response().headers.clone()
    }

    /// Skips the stores for this call: the response of the handler is sent, and neither `#[kv_store]` nor `#[object_store]`
    /// writes it. The statistics count it as skipped. The reply then waits for no store, and placeholders for fields of the
    /// response are not filled in. A response that is too large for a message fails, since there is no object to fetch.
    ///
    /// Meant for a response that is right for this caller and should not be stored: a partial result, a cached one, one that did not
    /// change anything. `#[kv_delete]` still deletes its entry, since the success has made it stale.
    ///
    /// ```
    /// # use natsmicro::{Context, Status};
    /// # struct Prices { lagging: bool, last: u64 }
    /// # impl Prices {
    /// // Called by the handler of a method with a `#[kv_store]`.
    /// fn price(&self, cx: &Context) -> Result<u64, Status> {
    ///     if self.lagging {
    ///         cx.do_not_store();
    ///     }
    ///     Ok(self.last)
    /// }
    /// # }
    /// let cx = Context::new();
    /// assert_eq!(Prices { lagging: true, last: 7 }.price(&cx).unwrap(), 7);
    /// assert!(!cx.stores_response());
    /// ```
    pub fn do_not_store(&self) {
        self.0.not_stored.store(true, Ordering::Relaxed);
    }

    /// Whether the response goes to the stores of the method, if it has any: until [`do_not_store`](Self::do_not_store).
    #[must_use]
    pub fn stores_response(&self) -> bool {
        !self.0.not_stored.load(Ordering::Relaxed)
    }

    pub(crate) fn take_response_headers(&self) -> HeaderMap {
        let mut response = self.lock_response();
        response.have_left = true;
        std::mem::take(&mut response.headers)
    }

    /// The size of the response headers in the reply, in bytes.
    pub(crate) fn response_headers_len(&self) -> usize {
        headers::headers_len(&self.lock_response().headers)
    }

    /// Adds the trace headers of the request to those of a call that is made on its behalf, where that has none of its own.
    pub(crate) fn pass_trace(&self, to: &mut HeaderMap) {
        for name in headers::TRACE {
            if let Some(value) = self.0.headers.get(name)
                && to.get(name).is_none()
            {
                to.insert(name, value.clone());
            }
        }
    }

    fn lock_response(&self) -> MutexGuard<'_, ResponseHeaders> {
        self.0.response.lock()
    }
}

impl ResponseHeaders {
    fn open(&mut self, name: &str) -> Result<&mut HeaderMap, InvalidHeader> {
        if self.have_left {
            return Err(InvalidHeader::too_late(name));
        }
        Ok(&mut self.headers)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold credentials.
        f.debug_struct("Context")
            .field("service", &self.service())
            .field("endpoint", &self.endpoint())
            .field("subject", &self.subject())
            .field("deadline", &self.0.deadline)
            .finish_non_exhaustive()
    }
}
