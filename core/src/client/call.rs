//! One call of a service: the public builder, and the future that sends the request and decodes the reply.
//!
//! May use `transport` for the request, `client::fetch` for a response in an object store, and the leaves; knows how streams are
//! opened only as a closure. Guarantees that nothing is sent before the call is awaited, and that it ends by its timeout or by the
//! deadline of its context, whichever is earlier.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::backoff;
use crate::client::fetch::Fetch;
use crate::client::layered::Layered;
use crate::client::retry::attempts::RetryPolicy;
use crate::client::retry::unary::{self, Sent};
use crate::codec::MessageCodec;
use crate::context::Context;
use crate::service_error::ErrorCodec;
use crate::status::Status;
use crate::transport::gate::Gate;
use crate::transport::headers;
use crate::transport::mux::Multiplexer;
use crate::transport::outgoing::Outgoing;
use crate::transport::request::timed_out;

/// A call of a service. Nothing is sent until it is awaited.
///
/// ```no_run
/// # use natsmicro::Status;
/// # use std::time::Duration;
/// # #[natsmicro::service(codec = "json")]
/// # pub trait Users { async fn find(&self, name: String) -> Result<u64, Status>; }
/// # async fn example(users: UsersClient) -> Result<(), Status> {
/// let id = users.find("ada".to_owned()).await?;
///
/// let response = users
///     .find("ada".to_owned())
///     .with_header("Accept-Language", "en")
///     .with_timeout(Duration::from_millis(200))
///     .response()
///     .await?;
/// println!("{:?} {}", response.headers(), response.get_ref());
/// # Ok(())
/// # }
/// ```
///
/// A failure of the client itself is reported as the method's error, made from a [`Status`]: `UNAVAILABLE` if no instance of the
/// service is running, `DEADLINE_EXCEEDED` if none replies in time, `RESOURCE_EXHAUSTED` if the request is too large,
/// `INVALID_ARGUMENT` for an invalid header, `INTERNAL` for a response that cannot be decoded.
///
/// A response that is too large for a message is fetched from the object store of the method, if it has one;
/// [`#[object_store]`](macro@crate::object_store#large-responses) describes how, and the errors of it.
#[must_use = "a call is sent when it is awaited"]
pub struct Call<T, E = Status> {
    /// The request; an error if it cannot be sent.
    outgoing: Result<Outgoing, Status>,
    /// How long the call waits for the reply, or for its stream to open.
    timeout: Duration,
    /// The timeout of the whole call, streams included, if the caller has set one. The service gets it in a header.
    total_timeout: Option<Duration>,
    /// The call on whose behalf this one is made.
    context: Option<Context>,
    /// How it is retried; `None` if it is not.
    retry: Option<RetryPolicy>,
    exchange: Exchange<T>,
    error: ErrorCodec<E>,
}

/// How a call is sent, and how its response arrives.
pub(crate) enum Exchange<T> {
    /// As one message; with `Fetch`, the response may be an object that the reply refers to.
    Unary(Arc<Multiplexer>, MessageCodec<T>, Option<Box<Fetch>>),
    /// Over a stream in at least one direction.
    Stream(Arc<Multiplexer>, OpenStream<T>, OpenedBy),
    /// Through layers, or to a service in this process.
    Layered(Box<Layered<T>>),
}

/// What gives a call that streams in both directions its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenedBy {
    /// The service has accepted the request. The handler may still wait for messages of the caller.
    Acceptance,
    /// The handler has returned its stream.
    Handler,
}

type OpenStream<T> = Box<dyn FnOnce(Opening) -> StreamFuture<T> + Send>;
type StreamFuture<T> = BoxFuture<'static, Result<Response<T>, Status>>;

/// A request that opens a stream.
pub(crate) struct Opening {
    pub(crate) gate: Gate,
    pub(crate) outgoing: Outgoing,
    /// How long the caller waits for the stream to open.
    pub(crate) timeout: Duration,
    /// When the stream must have ended.
    pub(crate) deadline: Option<Instant>,
    pub(crate) opened_by: OpenedBy,
    pub(crate) retry: Option<RetryPolicy>,
}

impl<T> Exchange<T> {
    pub(crate) fn stream<F, Fut>(multiplexer: &Arc<Multiplexer>, open: F) -> Self
    where
        F: FnOnce(Opening) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        let open: OpenStream<T> = Box::new(|opening| Box::pin(open(opening)));
        Self::Stream(Arc::clone(multiplexer), open, OpenedBy::Acceptance)
    }

    /// Whether caller or service send a stream.
    pub(crate) fn is_stream(&self) -> bool {
        match self {
            Self::Unary(..) => false,
            Self::Stream(..) => true,
            Self::Layered(layered) => layered.id.kind.is_streaming(),
        }
    }

    fn set_opened_by(&mut self, by: OpenedBy) {
        match self {
            Self::Unary(..) => {}
            Self::Stream(_, _, opened_by) => *opened_by = by,
            Self::Layered(layered) => layered.opened_by = by,
        }
    }
}

impl<T: 'static, E> Call<T, E> {
    pub(crate) fn new(
        subject: Result<Subject, Status>,
        payload: Result<Bytes, Status>,
        timeout: Duration,
        exchange: Exchange<T>,
        error: ErrorCodec<E>,
    ) -> Self {
        let outgoing =
            subject.and_then(|subject| Ok(Outgoing::to_own(subject).with_payload(payload?)));
        Self {
            outgoing,
            timeout,
            total_timeout: None,
            context: None,
            retry: None,
            exchange,
            error,
        }
    }

    /// Adds a header to the request. An invalid header, or one whose name belongs to the protocol, fails the call.
    pub fn with_header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.outgoing = self.outgoing.and_then(|mut outgoing| {
            headers::append(&mut outgoing.headers, name.as_ref(), value.as_ref())
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            Ok(outgoing)
        });
        self
    }

    /// Waits this long for the response. The timeout is sent to the service, which drops the handler when it has passed. A stream must
    /// end within this time, too.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.total_timeout = Some(timeout);
        self
    }

    /// Makes the call on behalf of the one that is being handled: it ends at the deadline of that one, and passes on its trace headers. One
    /// that [`with_header`](Self::with_header) sets, before or after, is sent in place of that of the context.
    pub fn with_context(mut self, cx: &Context) -> Self {
        self.context = Some(cx.clone());
        self
    }

    pub(crate) fn retried(mut self, retry: Option<RetryPolicy>) -> Self {
        self.retry = retry;
        self
    }

    /// Makes it a call that several callers share. It has no timeout and ends when they drop it, since each of them has a deadline of its
    /// own. None waits for longer than `until`.
    pub(crate) fn shared(mut self, headers: HeaderMap, until: Instant) -> Self {
        if let Some(retry) = &mut self.retry {
            retry.until = Some(until);
        }
        if let Ok(outgoing) = &mut self.outgoing {
            outgoing.headers = headers;
        }
        self.timeout = Duration::MAX;
        self.total_timeout = None;
        self
    }

    /// Sends the call, and returns the message with the headers of the response.
    ///
    /// For a response that is a stream, it waits until the handler has returned that stream, since its headers are known only then. An
    /// error of the handler before that is the error of this call. The timeout of the call bounds the wait, and dropping the future
    /// cancels the call at the service.
    ///
    /// If the requests are a stream as well, they are sent meanwhile. Awaiting the call itself does not wait for the handler of such a
    /// method, because the handler may wait for the first request. A caller that sends its first request only after this function has
    /// returned must do the same: where the handler waits for that request, this function ends with `DEADLINE_EXCEEDED`.
    pub async fn response(self) -> Result<Response<T>, E> {
        let error = self.error;
        let mut call = self;
        call.exchange.set_opened_by(OpenedBy::Handler);
        call.send().await.map_err(error.from_status)
    }

    /// Prepares the request and the timeouts. The request is sent by the first poll.
    pub(crate) fn send(self) -> PendingCall<T> {
        let mut outgoing = match self.outgoing {
            Ok(outgoing) => outgoing,
            Err(status) => return PendingCall::Failed(status),
        };
        if let Some(Err(status)) = self.retry.as_ref().map(RetryPolicy::check) {
            return PendingCall::Failed(status);
        }
        if let Some(cx) = &self.context {
            cx.pass_trace(&mut outgoing.headers);
        }
        let context_deadline = self.context.as_ref().and_then(Context::deadline);
        let until_context_deadline =
            context_deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let total_timeout = match (self.total_timeout, until_context_deadline) {
            (Some(own), Some(context)) => Some(own.min(context)),
            (own, context) => own.or(context),
        };
        let timeout = total_timeout.map_or(self.timeout, |total| total.min(self.timeout));
        if timeout.is_zero() {
            return PendingCall::Failed(timed_out(outgoing.subject(), timeout));
        }
        let times = Times {
            timeout,
            total_timeout,
        };
        if !matches!(self.exchange, Exchange::Layered(_)) {
            times.announce(&mut outgoing.headers, self.exchange.is_stream());
        }
        match self.exchange {
            Exchange::Unary(multiplexer, codec, fetch) => {
                let fetch = fetch.map(|fetch| *fetch);
                let sent = unary::send(multiplexer, outgoing, fetch, self.retry, timeout);
                PendingCall::Message(sent, codec)
            }
            Exchange::Stream(multiplexer, open, opened_by) => PendingCall::Boxed(open(
                times.opening(multiplexer.gate.clone(), outgoing, opened_by, self.retry),
            )),
            // Announces the timeout behind the layers, which take a part of it.
            Exchange::Layered(layered) => PendingCall::Boxed(Box::pin(layered.run(
                outgoing,
                self.context,
                times,
                self.retry,
            ))),
        }
    }
}

/// How long a call may take.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// How long the caller waits for the reply, or for the stream to open.
    pub(crate) timeout: Duration,
    /// How long the whole call may take, streams included, if that is bounded.
    pub(crate) total_timeout: Option<Duration>,
}

impl Times {
    /// Tells the service for how long the caller waits, if the caller has set that.
    pub(crate) fn announce(&self, headers: &mut HeaderMap, is_stream: bool) {
        let announced = if is_stream {
            self.total_timeout
        } else {
            // The whole call is one request and its reply, so the timeout of the reply is the tighter bound.
            self.total_timeout.map(|_| self.timeout)
        };
        if let Some(announced) = announced {
            headers::insert_timeout(headers, announced);
        }
    }

    pub(crate) fn opening(
        &self,
        gate: Gate,
        outgoing: Outgoing,
        opened_by: OpenedBy,
        retry: Option<RetryPolicy>,
    ) -> Opening {
        Opening {
            gate,
            outgoing,
            timeout: self.timeout,
            deadline: self
                .total_timeout
                .map(|total| backoff::after(Instant::now(), total)),
            opened_by,
            retry,
        }
    }
}

/// The future of a call.
pub(crate) enum PendingCall<T> {
    /// The request cannot be sent.
    Failed(Status),
    /// A request whose reply is one message.
    Message(Sent, MessageCodec<T>),
    Boxed(StreamFuture<T>),
}

impl<T> Future for PendingCall<T> {
    type Output = Result<Response<T>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Failed(status) => Poll::Ready(Err(status.clone())),
            Self::Message(sent, codec) => {
                let reply = ready!(Pin::new(sent).poll(cx));
                Poll::Ready(reply.and_then(|reply| Response::decode(reply, *codec)))
            }
            Self::Boxed(call) => call.as_mut().poll(cx),
        }
    }
}

impl<T: 'static, E> IntoFuture for Call<T, E> {
    type Output = Result<T, E>;
    type IntoFuture = CallFuture<T, E>;

    fn into_future(self) -> CallFuture<T, E> {
        CallFuture {
            error: self.error,
            call: self.send(),
        }
    }
}

/// The future of a [`Call`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct CallFuture<T, E> {
    call: PendingCall<T>,
    error: ErrorCodec<E>,
}

impl<T, E> Future for CallFuture<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.call).poll(cx)).map(Response::into_inner);
        Poll::Ready(result.map_err(self.error.from_status))
    }
}

/// A response with its headers.
#[derive(Clone, Debug)]
pub struct Response<T> {
    value: T,
    headers: HeaderMap,
}

impl<T> Response<T> {
    pub(crate) fn new(value: T, headers: HeaderMap) -> Self {
        Self { value, headers }
    }

    /// Decodes a reply. An error reply becomes its status.
    pub(crate) fn decode(reply: Message, codec: MessageCodec<T>) -> Result<Self, Status> {
        if let Some(status) = headers::read_status(&reply) {
            return Err(status);
        }
        let value = (codec.decode)(reply.payload)
            .map_err(|error| Status::internal(format!("failed to decode the response: {error}")))?;
        Ok(Self::new(value, reply.headers.unwrap_or_default()))
    }

    /// The headers that the service has set, and those of the protocol.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The message.
    #[must_use]
    pub fn get_ref(&self) -> &T {
        &self.value
    }

    /// The message without the headers.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The message and the headers.
    #[must_use]
    pub fn into_parts(self) -> (T, HeaderMap) {
        (self.value, self.headers)
    }
}

impl<T, E> fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self
            .outgoing
            .as_ref()
            .map(|outgoing| outgoing.subject().as_str());
        f.debug_struct("Call")
            .field("subject", &subject)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<T, E> fmt::Debug for CallFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").finish_non_exhaustive()
    }
}
