//! The context of a call: what a handler can read of its request, and the headers of its response.
//!
//! May use `transport` for the rules of headers; knows no server and no store.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, Subject};
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
#[derive(Default)]
pub struct Context {
    names: Arc<Names>,
    subject: Option<Subject>,
    headers: HeaderMap,
    deadline: Option<Instant>,
    response: Mutex<HeaderMap>,
    not_stored: AtomicBool,
}

/// The names that the contexts of one endpoint share.
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
        names: Arc<Names>,
        subject: Subject,
        headers: Option<HeaderMap>,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            names,
            subject: Some(subject),
            headers: headers.unwrap_or_default(),
            deadline,
            response: Mutex::default(),
            not_stored: AtomicBool::new(false),
        }
    }

    /// Adds a request header, for tests of a handler.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, InvalidHeader> {
        headers::append(&mut self.headers, name, value)?;
        Ok(self)
    }

    /// Sets the deadline to this time from now, for tests of a handler.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Instant::now().checked_add(timeout);
        self
    }

    /// The name under which the service is registered; empty outside a call.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.names.service
    }

    /// The name of the endpoint, such as `save_profile`; empty outside a call.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.names.endpoint
    }

    /// The subject that the request was sent to; empty outside a call.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.subject.as_ref().map_or("", |subject| subject.as_str())
    }

    /// All headers of the request.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first value of a request header. Names are case-sensitive, as everywhere in NATS.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        // `HeaderMap::get` panics on names that cannot be headers.
        let name: async_nats::HeaderName = name.parse().ok()?;
        self.headers.get(name).map(HeaderValue::as_str)
    }

    /// When the response is due: the earlier of the endpoint's timeout and the caller's deadline. At that moment
    /// the handler's future is dropped and the caller gets `DEADLINE_EXCEEDED`.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The time remaining until [`deadline`](Self::deadline).
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Sets a header of the response, in place of values set before. It also travels with an error.
    ///
    /// Fails for an invalid header (a line break in the value, a name that is not printable ASCII) and for the names of the
    /// protocol (`Nats-*`, `Natsmicro-*`, `Status`, `Description`).
    pub fn insert_response_header(&self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        headers::insert(&mut self.lock_response(), name, value)
    }

    /// Adds a value to a header of the response; see [`insert_response_header`](Self::insert_response_header).
    pub fn append_response_header(&self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        headers::append(&mut self.lock_response(), name, value)
    }

    /// The response headers set so far.
    #[must_use]
    pub fn response_headers(&self) -> HeaderMap {
        self.lock_response().clone()
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
        self.not_stored.store(true, Ordering::Relaxed);
    }

    /// Whether the response goes to the stores of the method, if it has any: until [`do_not_store`](Self::do_not_store).
    #[must_use]
    pub fn stores_response(&self) -> bool {
        !self.not_stored.load(Ordering::Relaxed)
    }

    pub(crate) fn take_response_headers(&self) -> HeaderMap {
        std::mem::take(&mut *self.lock_response())
    }

    /// The size of the response headers in the reply, in bytes.
    pub(crate) fn response_headers_len(&self) -> usize {
        headers::headers_len(&self.lock_response())
    }

    /// The trace headers of the request, which a call made on its behalf passes on.
    pub(crate) fn trace_headers(&self) -> impl Iterator<Item = (&'static str, &HeaderValue)> {
        headers::TRACE
            .into_iter()
            .filter_map(|name| Some((name, self.headers.get(name)?)))
    }

    fn lock_response(&self) -> std::sync::MutexGuard<'_, HeaderMap> {
        self.response.lock()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold credentials.
        f.debug_struct("Context")
            .field("service", &self.service())
            .field("endpoint", &self.endpoint())
            .field("subject", &self.subject())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
