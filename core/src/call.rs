use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, Message, Subject};
use bytes::Bytes;

use crate::codec::MessageCodec;
use crate::context::Context;
use crate::exchange::{Exchange, Outgoing};
use crate::header;
use crate::replies::Connection;
use crate::service_error::ErrorCodec;
use crate::{Status, wire};

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
    connection: Arc<Connection>,
    /// What is to be sent; an error if something of it cannot be.
    outgoing: Result<Outgoing, Status>,
    timeout: Duration,
    /// Whether the service is told how long the caller waits.
    announce_timeout: bool,
    response: MessageCodec<T>,
    error: ErrorCodec<E>,
}

impl<T, E> Call<T, E> {
    pub(crate) fn new(
        connection: Arc<Connection>,
        subject: Result<Subject, Status>,
        payload: Result<Bytes, Status>,
        timeout: Duration,
        response: MessageCodec<T>,
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
            connection,
            outgoing,
            timeout,
            announce_timeout: false,
            response,
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
        let (response, error) = (self.response, self.error);
        let reply = match self.send() {
            Ok(exchange) => exchange.await,
            Err(status) => Err(status),
        };
        received(response, reply).map_err(error.from_status)
    }

    fn send(self) -> Result<Exchange, Status> {
        let mut outgoing = self.outgoing?;
        if self.announce_timeout {
            // Rounded up: zero would be no time at all.
            let millis = self.timeout.as_nanos().div_ceil(1_000_000);
            outgoing.headers.insert(
                wire::TIMEOUT,
                HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX)),
            );
        }
        Ok(Exchange::new(self.connection, outgoing, self.timeout))
    }
}

/// The response in a reply.
fn received<T>(
    codec: MessageCodec<T>,
    reply: Result<Message, Status>,
) -> Result<Response<T>, Status> {
    let message = reply?;
    if let Some(status) = wire::read_status(&message) {
        return Err(status);
    }
    let value = (codec.decode)(message.payload)
        .map_err(|error| Status::internal(format!("failed to decode the response: {error}")))?;
    Ok(Response {
        value,
        headers: message.headers.unwrap_or_default(),
    })
}

impl<T, E> IntoFuture for Call<T, E> {
    type Output = Result<T, E>;
    type IntoFuture = CallFuture<T, E>;

    fn into_future(self) -> CallFuture<T, E> {
        let (response, error) = (self.response, self.error);
        CallFuture {
            exchange: self.send(),
            response,
            error,
        }
    }
}

/// A [`Call`] on its way.
#[must_use = "futures do nothing unless they are awaited"]
pub struct CallFuture<T, E> {
    /// An error if there is nothing that can be sent.
    exchange: Result<Exchange, Status>,
    response: MessageCodec<T>,
    error: ErrorCodec<E>,
}

impl<T, E> Future for CallFuture<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let reply = match &mut self.exchange {
            Ok(exchange) => ready!(Pin::new(exchange).poll(cx)),
            Err(status) => Err(status.clone()),
        };
        let result = received(self.response, reply).map(Response::into_inner);
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
