use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, Message, Subject};
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::backoff;
use crate::client::fetch::Fetch;
use crate::codec::MessageCodec;
use crate::context::Context;
use crate::service_error::ErrorCodec;
use crate::status::Status;
use crate::transport::headers;
use crate::transport::mux::{Multiplexer, OutgoingRequest};
use crate::transport::request::{RequestFuture, timed_out};

/// A call of a service: nothing is sent until it is awaited.
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
/// What the client itself finds wrong arrives as the method's error, made from a [`Status`]: `UNAVAILABLE` if no instance of
/// the service is there, `DEADLINE_EXCEEDED` if none answers in time, `RESOURCE_EXHAUSTED` if the request is too large,
/// `INVALID_ARGUMENT` for a header that cannot travel, `INTERNAL` for an answer that cannot be decoded.
///
/// A response that is too large for a message is fetched from the object store of the method, if it has one:
/// [`#[object_store]`](macro@crate::object_store#large-responses) says how, and how that can fail.
#[must_use = "a call is sent when it is awaited"]
pub struct Call<T, E = Status> {
    connection: Arc<Multiplexer>,
    /// What is to be sent; an error if something of it cannot be.
    outgoing: Result<OutgoingRequest, Status>,
    /// How long the answer may take.
    timeout: Duration,
    /// How long the whole of the call may take, which the service is told; and when the one that it is made for is over.
    limit: Option<Duration>,
    until: Option<Instant>,
    answer: Answer<T>,
    error: ErrorCodec<E>,
}

/// What answers a call.
pub(crate) enum Answer<T> {
    /// One message for one message.
    Message(MessageCodec<T>),
    /// The same, or an object in its place.
    MessageOrObject(MessageCodec<T>, Box<Fetch>),
    Stream(OpenStream<T>),
}

type OpenStream<T> = Box<dyn FnOnce(Opening) -> StreamFuture<T> + Send>;
type StreamFuture<T> = BoxFuture<'static, Result<Response<T>, Status>>;

/// A request that opens a stream.
pub(crate) struct Opening {
    pub(crate) nats: async_nats::Client,
    pub(crate) outgoing: OutgoingRequest,
    /// How long the caller waits for the stream to be open.
    pub(crate) timeout: Duration,
    /// When it must be over.
    pub(crate) deadline: Option<Instant>,
}

impl<T> Answer<T> {
    pub(crate) fn stream<F, Fut>(open: F) -> Self
    where
        F: FnOnce(Opening) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        Self::Stream(Box::new(|opening| Box::pin(open(opening))))
    }
}

impl<T, E> Call<T, E> {
    pub(crate) fn new(
        connection: Arc<Multiplexer>,
        subject: Result<Subject, Status>,
        payload: Result<Bytes, Status>,
        timeout: Duration,
        answer: Answer<T>,
        error: ErrorCodec<E>,
    ) -> Self {
        let outgoing = subject.and_then(|subject| {
            Ok(OutgoingRequest {
                subject,
                payload: payload?,
                headers: HeaderMap::new(),
            })
        });
        Self {
            connection,
            outgoing,
            timeout,
            limit: None,
            until: None,
            answer,
            error,
        }
    }

    /// Adds a header to the request. One that cannot travel, or whose name belongs to the protocol, fails the call.
    pub fn with_header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.outgoing = self.outgoing.and_then(|mut outgoing| {
            headers::append(&mut outgoing.headers, name.as_ref(), value.as_ref())
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            Ok(outgoing)
        });
        self
    }

    /// Waits this long for the answer, and tells the service, which then stops working on it. A stream has to end within this
    /// time, too.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.limit = Some(timeout);
        self
    }

    /// Makes the call on behalf of the one that is being answered: it ends when that one does, and carries its trace headers.
    pub fn with_context(mut self, cx: &Context) -> Self {
        self.until = cx.deadline();
        if let Ok(outgoing) = &mut self.outgoing {
            for (name, value) in cx.trace_headers() {
                outgoing.headers.insert(name, value.clone());
            }
        }
        self
    }

    /// Makes it a call for several callers, which ends when they drop it: each of them has a deadline of its own, of which the
    /// service is not told.
    pub(crate) fn shared(mut self, headers: HeaderMap) -> Self {
        if let Ok(outgoing) = &mut self.outgoing {
            outgoing.headers = headers;
        }
        self.timeout = Duration::MAX;
        self.limit = None;
        self
    }

    /// Sends the call; the result has the headers of the response next to the message.
    pub async fn response(self) -> Result<Response<T>, E> {
        let error = self.error;
        self.send().await.map_err(error.from_status)
    }

    pub(crate) fn send(self) -> Sending<T> {
        let mut outgoing = match self.outgoing {
            Ok(outgoing) => outgoing,
            Err(status) => return Sending::Failed(status),
        };
        let left = self
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        let limit = match (self.limit, left) {
            (Some(limit), Some(left)) => Some(limit.min(left)),
            (limit, left) => limit.or(left),
        };
        let timeout = limit.map_or(self.timeout, |limit| limit.min(self.timeout));
        if timeout.is_zero() {
            return Sending::Failed(timed_out(&outgoing.subject, timeout));
        }
        let announced = if let Answer::Stream(_) = self.answer {
            limit
        } else {
            // A call with one answer takes no longer than that.
            limit.map(|_| timeout)
        };
        if let Some(announced) = announced {
            // Rounded up: zero would be no time at all.
            let millis = announced.as_nanos().div_ceil(1_000_000);
            outgoing.headers.insert(
                headers::TIMEOUT,
                HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX)),
            );
        }
        match self.answer {
            Answer::Message(codec) => Sending::Message(
                RequestFuture::new(self.connection, outgoing, timeout),
                codec,
            ),
            Answer::MessageOrObject(codec, fetch) => {
                let exchange = RequestFuture::new(self.connection, outgoing, timeout);
                Sending::MessageOrObject(Box::pin(fetch.reply(exchange, timeout)), codec)
            }
            Answer::Stream(open) => Sending::Stream(open(Opening {
                nats: self.connection.nats.clone(),
                outgoing,
                timeout,
                deadline: limit.map(|limit| backoff::after(Instant::now(), limit)),
            })),
        }
    }
}

/// A call on its way.
pub(crate) enum Sending<T> {
    /// There is nothing that can be sent.
    Failed(Status),
    Message(RequestFuture, MessageCodec<T>),
    MessageOrObject(BoxFuture<'static, Result<Message, Status>>, MessageCodec<T>),
    Stream(StreamFuture<T>),
}

impl<T> Future for Sending<T> {
    type Output = Result<Response<T>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Failed(status) => Poll::Ready(Err(status.clone())),
            Self::Message(exchange, codec) => {
                let reply = ready!(Pin::new(exchange).poll(cx));
                Poll::Ready(reply.and_then(|reply| Response::decode(reply, *codec)))
            }
            Self::MessageOrObject(fetching, codec) => {
                let reply = ready!(fetching.as_mut().poll(cx));
                Poll::Ready(reply.and_then(|reply| Response::decode(reply, *codec)))
            }
            Self::Stream(opening) => opening.as_mut().poll(cx),
        }
    }
}

impl<T, E> IntoFuture for Call<T, E> {
    type Output = Result<T, E>;
    type IntoFuture = CallFuture<T, E>;

    fn into_future(self) -> CallFuture<T, E> {
        CallFuture {
            error: self.error,
            sending: self.send(),
        }
    }
}

/// A [`Call`] on its way.
#[must_use = "futures do nothing unless they are awaited"]
pub struct CallFuture<T, E> {
    sending: Sending<T>,
    error: ErrorCodec<E>,
}

impl<T, E> Future for CallFuture<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.sending).poll(cx)).map(Response::into_inner);
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

    /// The response in a reply.
    pub(crate) fn decode(reply: Message, codec: MessageCodec<T>) -> Result<Self, Status> {
        if let Some(status) = headers::read_status(&reply) {
            return Err(status);
        }
        let value = (codec.decode)(reply.payload)
            .map_err(|error| Status::internal(format!("failed to decode the response: {error}")))?;
        Ok(Self::new(value, reply.headers.unwrap_or_default()))
    }

    /// The headers that the service set, and those of the protocol.
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
            .map(|outgoing| outgoing.subject.as_str());
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
