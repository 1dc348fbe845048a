use std::fmt;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::{HeaderMap, HeaderValue, Message, Subject};
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::codec::MessageCodec;
use crate::context::Context;
use crate::header;
use crate::service_error::ErrorCodec;
use crate::{Status, nats, wire};

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
#[must_use = "a call is sent when it is awaited"]
pub struct Call<T, E = Status> {
    nats: async_nats::Client,
    /// What is to be sent; an error if something of it cannot be.
    outgoing: Result<Outgoing, Status>,
    timeout: Duration,
    /// Whether the service is told how long the caller waits.
    announce_timeout: bool,
    exchange: Exchange<T>,
    error: ErrorCodec<E>,
}

/// What travels besides the request.
pub(crate) enum Exchange<T> {
    /// One message for one message.
    Unary(MessageCodec<T>),
    Stream(OpenStream<T>),
}

type OpenStream<T> =
    Box<dyn FnOnce(Opening) -> BoxFuture<'static, Result<Response<T>, Status>> + Send>;

/// A request that opens a stream.
pub(crate) struct Opening {
    pub(crate) nats: async_nats::Client,
    pub(crate) subject: Subject,
    pub(crate) payload: Bytes,
    pub(crate) headers: HeaderMap,
    /// How long the caller waits for the stream to be open.
    pub(crate) timeout: Duration,
    /// When it must be over.
    pub(crate) deadline: Option<Instant>,
}

impl<T> Exchange<T> {
    pub(crate) fn stream<F, Fut>(open: F) -> Self
    where
        F: FnOnce(Opening) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        Self::Stream(Box::new(|opening| Box::pin(open(opening))))
    }
}

struct Outgoing {
    subject: Subject,
    payload: Bytes,
    headers: HeaderMap,
}

impl<T, E> Call<T, E> {
    pub(crate) fn new(
        nats: async_nats::Client,
        subject: Result<Subject, Status>,
        payload: Result<Bytes, Status>,
        timeout: Duration,
        exchange: Exchange<T>,
        error: ErrorCodec<E>,
    ) -> Self {
        let outgoing = subject.and_then(|subject| {
            Ok(Outgoing {
                subject,
                payload: payload?,
                headers: HeaderMap::new(),
            })
        });
        Self {
            nats,
            outgoing,
            timeout,
            announce_timeout: false,
            exchange,
            error,
        }
    }

    /// Adds a header to the request. One that cannot travel, or whose name belongs to the protocol, fails the call.
    pub fn with_header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.outgoing = self.outgoing.and_then(|mut outgoing| {
            header::append(&mut outgoing.headers, name.as_ref(), value.as_ref())
                .map_err(|error| Status::invalid_argument(error.to_string()))?;
            Ok(outgoing)
        });
        self
    }

    /// Waits this long for the answer, and tells the service, which then stops working on it.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.announce_timeout = true;
        self
    }

    /// Makes the call on behalf of the one that is being answered: it ends when that one does, and carries its trace headers.
    pub fn with_context(mut self, cx: &Context) -> Self {
        if let Some(remaining) = cx.remaining() {
            self.timeout = self.timeout.min(remaining);
            self.announce_timeout = true;
        }
        if let Ok(outgoing) = &mut self.outgoing {
            for (name, value) in cx.trace_headers() {
                outgoing.headers.insert(name, value.clone());
            }
        }
        self
    }

    /// Sends the call; the result has the headers of the response next to the message.
    pub async fn response(self) -> Result<Response<T>, E> {
        let error = self.error;
        self.send().await.map_err(error.from_status)
    }

    async fn send(self) -> Result<Response<T>, Status> {
        let Outgoing {
            subject,
            payload,
            mut headers,
        } = self.outgoing?;
        let timeout = self.timeout;
        if timeout.is_zero() {
            return Err(timed_out(&subject, timeout));
        }
        if self.announce_timeout {
            // Rounded up: zero would be no time at all.
            let millis = timeout.as_nanos().div_ceil(1_000_000);
            headers.insert(
                wire::TIMEOUT,
                HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX)),
            );
        }
        match self.exchange {
            Exchange::Unary(codec) => {
                let reply = request(&self.nats, subject, payload, headers, timeout).await?;
                Response::decode(reply, codec)
            }
            Exchange::Stream(open) => {
                let deadline = self
                    .announce_timeout
                    .then(|| nats::after(Instant::now(), timeout));
                open(Opening {
                    nats: self.nats,
                    subject,
                    payload,
                    headers,
                    timeout,
                    deadline,
                })
                .await
            }
        }
    }
}

async fn request(
    nats: &async_nats::Client,
    subject: Subject,
    payload: Bytes,
    headers: HeaderMap,
    timeout: Duration,
) -> Result<Message, Status> {
    // One timeout around everything: async-nats does not count the time until the request is queued, which is long while
    // the connection is down.
    let mut request = async_nats::Request::new().payload(payload).timeout(None);
    if !headers.is_empty() {
        request = request.headers(headers);
    }
    match tokio::time::timeout(timeout, nats.send_request(subject.clone(), request)).await {
        Ok(Ok(reply)) => match wire::read_status(&reply) {
            Some(status) => Err(status),
            None => Ok(reply),
        },
        Ok(Err(error)) => Err(not_sent(&subject, &error)),
        Err(_) => Err(timed_out(&subject, timeout)),
    }
}

pub(crate) fn timed_out(subject: &str, timeout: Duration) -> Status {
    Status::deadline_exceeded(format!("no answer from `{subject}` within {timeout:?}"))
}

fn not_sent(subject: &str, error: &RequestError) -> Status {
    match error.kind() {
        RequestErrorKind::NoResponders => Status::unavailable(format!(
            "no instance of the service answers on `{subject}`; is it running?"
        )),
        RequestErrorKind::TimedOut => {
            Status::deadline_exceeded(format!("no answer from `{subject}`"))
        }
        RequestErrorKind::MaxPayloadExceeded => {
            Status::resource_exhausted(format!("the request is too large: {error}"))
        }
        RequestErrorKind::InvalidSubject => {
            Status::invalid_argument(format!("`{subject}` is not a subject"))
        }
        RequestErrorKind::Other => {
            Status::unavailable(format!("the request to `{subject}` failed: {error}"))
        }
    }
}

impl<T, E> IntoFuture for Call<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    type Output = Result<T, E>;
    type IntoFuture = CallFuture<T, E>;

    fn into_future(self) -> CallFuture<T, E> {
        CallFuture(Box::pin(async move {
            self.response().await.map(Response::into_inner)
        }))
    }
}

/// A [`Call`] on its way.
#[must_use = "futures do nothing unless they are awaited"]
pub struct CallFuture<T, E>(BoxFuture<'static, Result<T, E>>);

impl<T, E> Future for CallFuture<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
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

    pub(crate) fn decode(reply: Message, codec: MessageCodec<T>) -> Result<Self, Status> {
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
