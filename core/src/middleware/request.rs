//! A request as layers see it.

use std::fmt;
use std::sync::Arc;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use tokio::time::Instant;

use crate::context::Context;
use crate::descriptor::method::{MethodId, MethodKind};
use crate::middleware::Extensions;
use crate::middleware::body::Body;
use crate::middleware::bypass::Bypass;
use crate::middleware::inner::Destination;
use crate::transport::headers::{self, InvalidHeader};

/// A request as [layers](crate::middleware) see it: one that a service has received, or one that a client sends.
pub struct Request {
    pub(crate) id: MethodId,
    pub(crate) subject: Subject,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) extensions: Extensions,
    /// On a server, when the request has arrived.
    pub(crate) received: Option<Instant>,
    /// When the call must be answered.
    pub(crate) deadline: Option<Instant>,
    /// On a client, the call on whose behalf this one is made.
    pub(crate) context: Option<Context>,
    /// Where the request goes behind all layers; `None` in a test.
    pub(crate) destination: Option<Arc<dyn Destination>>,
    /// Set on a server whose endpoint has layers.
    pub(crate) bypass: Option<Arc<Bypass>>,
    /// On a server, the largest reply in bytes, headers included.
    pub(crate) max_payload: usize,
}

impl Request {
    /// A request with this payload, in the encoding of its method, for tests of a layer.
    ///
    /// ```
    /// use natsmicro::Status;
    /// use natsmicro::middleware::{MethodKind, Next, Reply, Request};
    ///
    /// # async fn only_read(request: Request, next: Next) -> Result<Reply, Status> {
    /// #     if request.method().starts_with("get_") { next.run(request).await } else { Err(Status::permission_denied("read only")) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let next = Next::from_fn(|request: Request| async move { Ok(Reply::new(request.payload().to_vec())) });
    /// let get = Request::new("1").with_method("Users", "get_user", MethodKind::Unary);
    /// let set = Request::new("1").with_method("Users", "set_user", MethodKind::Unary);
    /// assert_eq!(only_read(get, next.clone()).await.unwrap().payload(), b"1");
    /// assert!(only_read(set, next).await.is_err());
    /// # }
    /// ```
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        let id = MethodId {
            service: "",
            method: "",
            kind: MethodKind::Unary,
        };
        let body = Body::Message(payload.into());
        Self::of(id, Subject::from_static(""), HeaderMap::new(), body)
    }

    /// A request without a deadline, which goes nowhere yet.
    pub(crate) fn of(id: MethodId, subject: Subject, headers: HeaderMap, body: Body) -> Self {
        Self {
            id,
            subject,
            headers,
            body,
            extensions: Extensions::new(),
            received: None,
            deadline: None,
            context: None,
            destination: None,
            bypass: None,
            max_payload: usize::MAX,
        }
    }

    /// Sets the names and the kind of the method, for tests of a layer.
    #[must_use]
    pub fn with_method(
        mut self,
        service: &'static str,
        method: &'static str,
        kind: MethodKind,
    ) -> Self {
        self.id = MethodId {
            service,
            method,
            kind,
        };
        self
    }

    /// The name of the trait, as it is written in Rust, whatever name the service has in discovery.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.id.service
    }

    /// The name of the method, as the trait writes it.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.id.method
    }

    /// Whether caller or service send a stream.
    #[must_use]
    pub fn kind(&self) -> MethodKind {
        self.id.kind
    }

    /// The subject of the endpoint. A request cannot be sent elsewhere.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// All headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first value of a header. Names are case-sensitive, as everywhere in NATS.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        headers::get(&self.headers, name)
    }

    /// Sets a header to this one value. On a server it is what the handler sees.
    ///
    /// Fails for an invalid header (a line break in the value, a name that is not printable ASCII), and for the names of the protocol
    /// (`Nats-*`, `Natsmicro-*`, `Status`, `Description`).
    pub fn insert_header(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        headers::insert(&mut self.headers, name, value)
    }

    /// Adds a value to a header; see [`insert_header`](Self::insert_header).
    pub fn append_header(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        headers::append(&mut self.headers, name, value)
    }

    /// Removes all values of a header. Fails as [`insert_header`](Self::insert_header) does.
    pub fn remove_header(&mut self, name: &str) -> Result<(), InvalidHeader> {
        headers::remove(&mut self.headers, name)
    }

    /// What layers tell each other, and on a server the handler, who has it in [`Context::extensions`].
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The same, to change it.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// When the call must be answered, or the stream must have ended: the caller gets `DEADLINE_EXCEEDED` then. `None` if nothing bounds
    /// it.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The encoded request; empty for a stream of requests.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.body.message()
    }

    /// Replaces the request by this one. A stream of requests stays a stream.
    pub fn set_payload(&mut self, payload: impl Into<Bytes>) {
        if let Body::Message(message) = &mut self.body {
            *message = payload.into();
        }
    }

    /// On a client, the call on whose behalf this one is made, given with [`Call::with_context`](crate::Call::with_context).
    #[must_use]
    pub fn context(&self) -> Option<&Context> {
        self.context.as_ref()
    }

    /// A copy, to send the request again: headers, payload and extensions. `None` for a stream of requests.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        let Body::Message(message) = &self.body else {
            return None;
        };
        Some(Self {
            id: self.id,
            subject: self.subject.clone(),
            headers: self.headers.clone(),
            body: Body::Message(message.clone()),
            extensions: self.extensions.clone(),
            received: self.received,
            deadline: self.deadline,
            context: self.context.clone(),
            destination: self.destination.clone(),
            bypass: self.bypass.clone(),
            max_payload: self.max_payload,
        })
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold credentials.
        f.debug_struct("Request")
            .field("service", &self.service())
            .field("method", &self.method())
            .field("kind", &self.kind())
            .field("body", &self.body)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
