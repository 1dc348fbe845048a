//! A reply as layers see it.

use async_nats::HeaderMap;
use bytes::Bytes;

use crate::middleware::Extensions;
use crate::middleware::body::Answer;
use crate::middleware::on_end::OnEnd;
use crate::middleware::origin::Origin;
use crate::status::Status;
use crate::transport::headers::{self, InvalidHeader};

/// The reply to a call that has succeeded, or the stream that it has opened, as [layers](crate::middleware) see it.
///
/// ```
/// use natsmicro::middleware::{Next, Reply, Request, from_fn};
/// use natsmicro::Status;
///
/// /// Logs how each call ends, streams included.
/// async fn audit(request: Request, next: Next) -> Result<Reply, Status> {
///     let method = request.method();
///     let mut reply = next.run(request).await.inspect_err(|status| println!("{method}: {status}"))?;
///     reply.on_end(move |result| match result {
///         Ok(()) => println!("{method}: OK"),
///         Err(status) => println!("{method}: {status}"),
///     });
///     Ok(reply)
/// }
/// ```
#[derive(Debug)]
pub struct Reply {
    pub(crate) headers: HeaderMap,
    pub(crate) answer: Answer,
    pub(crate) extensions: Extensions,
    pub(crate) on_end: OnEnd,
}

impl Reply {
    /// A reply of one message, in the encoding of the method. For tests, and for a layer that answers a call itself.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self::of(HeaderMap::new(), Answer::Message(payload.into()))
    }

    pub(crate) fn of(headers: HeaderMap, answer: Answer) -> Self {
        Self {
            headers,
            answer,
            extensions: Extensions::new(),
            on_end: OnEnd::default(),
        }
    }

    /// The encoded response; empty for a stream.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.answer.message()
    }

    /// Replaces the response, or the stream, by this one message. What a service has stored stays as it is.
    pub fn set_payload(&mut self, payload: impl Into<Bytes>) {
        self.answer = Answer::Message(payload.into());
    }

    /// Whether it is a stream of responses.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self.answer, Answer::Stream(_))
    }

    /// The headers of the response.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first value of a header. Names are case-sensitive, as everywhere in NATS.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        headers::get(&self.headers, name)
    }

    /// Sets a header to this one value.
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

    /// What layers tell each other about this reply.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The same, to change it.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Where the response of a [`CachedCall`](crate::CachedCall) came from; `None` for other calls.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.extensions.get().copied()
    }

    /// Calls `told` once, with the result, when the reply or its stream is over.
    ///
    /// On a server that is when the reply has been handed to the connection, or the stream has ended: also with an error that occurs after
    /// the layers, such as a response that is too large for a message, or `CANCELLED` because the caller has dropped the stream. On a
    /// client it is when the response was decoded, or the caller has read the stream to its end or dropped it. A reply that an outer layer
    /// drops is over with `CANCELLED`.
    ///
    /// `told` must not block. If it panics, that is logged.
    pub fn on_end(&mut self, told: impl FnOnce(&Result<(), Status>) + Send + 'static) {
        self.on_end.push(told);
    }
}
