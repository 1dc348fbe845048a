//! The type of streams in service methods, [`Streaming`], and the channel that fills one.
//!
//! It hides the source of the messages: a stream or a channel of this process, or the peer of a call. It uses NATS and codecs only
//! through [`Incoming`].

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use crate::status::{Code, Status};
use crate::stream::delivery::Incoming;

/// A stream of messages: the requests of a service method, its responses, or both.
///
/// It is a [`Stream`] of `Result<T, Status>`. To send messages, make one from [any stream](Self::new), from an
/// [iterator](Self::iter), or from a [channel](Self::channel) that another task fills. One that comes out of a call yields the messages
/// of the other side.
///
/// ```
/// use futures::StreamExt;
/// use natsmicro::{Status, Streaming};
///
/// #[natsmicro::service(codec = "json")]
/// pub trait Numbers {
///     /// Streams a response.
///     async fn count_up(&self, to: u64) -> Result<Streaming<u64>, Status>;
///     /// Streams a request.
///     async fn sum(&self, numbers: Streaming<u64>) -> Result<u64, Status>;
///     /// Streams both.
///     async fn double(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>, Status>;
/// }
///
/// struct Impl;
///
/// impl Numbers for Impl {
///     async fn count_up(&self, to: u64) -> Result<Streaming<u64>, Status> {
///         Ok(Streaming::iter(1..=to))
///     }
///
///     async fn sum(&self, mut numbers: Streaming<u64>) -> Result<u64, Status> {
///         let mut sum = 0;
///         while let Some(number) = numbers.message().await? {
///             sum += number;
///         }
///         Ok(sum)
///     }
///
///     async fn double(&self, numbers: Streaming<u64>) -> Result<Streaming<u64>, Status> {
///         Ok(Streaming::new(numbers.map(|number| Ok(number? * 2))))
///     }
/// }
/// ```
///
/// # What is guaranteed
///
/// Between two sides that are both of this crate:
///
/// * All messages arrive, in order and once. The sender waits for a slow receiver, which holds at most `#[stream(window = ..)]`
///   messages (1,024) and 1 MiB of them, the last one of any size. If messages are lost all the same, because a connection broke or
///   a subscription overflowed, the stream ends with `DATA_LOSS`; it never skips one in silence.
/// * Dropping a stream cancels it at the other side at once: a service drops the future of the handler, and the
///   [`send`](StreamSender::send) of a caller fails.
/// * If the other side dies or can no longer be reached, the stream ends with `UNAVAILABLE` within six seconds.
/// * An error of the sender ends the stream with its code, message and details. A message that cannot be decoded is an error in its
///   place, and the stream goes on. One that `#[endpoint(validate = ..)]` refuses ends the stream for the handler.
///
/// With a generated peer, which has neither flow control nor heartbeats, the order is checked as well, and a receiver that is
/// 65,536 messages or 64 MiB behind gets `RESOURCE_EXHAUSTED`. The loss of such a peer is detected when a message is sent to it. A
/// service also gives up such a caller after ten minutes without a message. In all other cases the loss is not detected: set a timeout
/// for calls of a peer that may stay silent.
///
/// # Between accounts
///
/// A service may be exported by its account and imported by that of the caller. Streams in both directions then keep all these
/// guarantees if the export has the response type `stream` (or `chunked`): NATS maps the reply subjects of both sides. With the default,
/// `singleton`, NATS carries one reply for each request, and a call that streams fails at once with `FAILED_PRECONDITION`. The `threshold`
/// of the export, two minutes by default, must be more than the two seconds between heartbeats. Connections with limited permissions may
/// need `_R_.>` in what they publish: the service for all its replies, the caller for its requests, credit and heartbeats.
///
/// A generated caller in another account gets a stream of responses if its request has a reply subject. NATS does not tell when such
/// a caller is gone. The stream ends with `RESOURCE_EXHAUSTED` after 65,536 messages or 64 MiB, and with `DEADLINE_EXCEEDED` after ten
/// minutes, or eight seconds while the endpoint has no room for other streams. Its stream of requests is refused, since the inbox of the
/// service is in the account of the service. A generated service cannot stream to another account, because it sends to an inbox that is
/// not in its account: calls of it that stream fail.
///
/// # What a call returns, and when
///
/// A call with a stream of responses returns when the handler has returned that stream, or fails with the handler's error. With a
/// generated peer it returns at the first message. A call that streams in both directions returns as soon as the service has accepted
/// it, since the handler may wait for requests: the handler's error is then the first item. Requests that a handler keeps after it has
/// returned its response end with `CANCELLED`; dropping the responses ends the requests as well.
///
/// # Timeouts
///
/// A stream has no timeout by default. [`Client::with_timeout`](crate::client::Client::with_timeout) (10 seconds) bounds the time
/// until it is open, and, once a caller has sent its last request, the time until the response.
/// [`Call::with_timeout`](crate::client::call::Call::with_timeout), and `#[endpoint(timeout = ..)]` on the method itself, bound the
/// stream as a whole; a timeout of the whole service does not.
#[doc = include_str!("protocol.md")]
#[must_use = "a stream does nothing unless it is polled"]
pub struct Streaming<T>(Source<T>);

enum Source<T> {
    Stream(BoxStream<'static, Result<T, Status>>),
    /// Filled by [`StreamSender`]s. The flag is set when one of them is dropped by a panic.
    Channel(mpsc::Receiver<Result<T, Status>>, Arc<AtomicBool>),
    /// Received from the peer of a call.
    Incoming(Incoming<T>),
}

impl<T> Streaming<T> {
    /// Sends what `stream` yields. An error ends the stream, and the other side gets it as its last item.
    pub fn new(stream: impl Stream<Item = Result<T, Status>> + Send + 'static) -> Self {
        Self(Source::Stream(stream.boxed()))
    }

    /// Sends the items of an iterator. An item is taken from it only when it can be sent.
    pub fn iter<I>(items: I) -> Self
    where
        I: IntoIterator<Item = T, IntoIter: Send + 'static>,
        T: Send + 'static,
    {
        Self::new(futures::stream::iter(items.into_iter().map(Ok)))
    }

    /// Sends the messages of a [`StreamSender`], of which at most `capacity` are queued (at least one). The stream ends when all clones
    /// of the sender are dropped, and with `INTERNAL` if one of them is dropped by a panic. A task that returns early ends the stream
    /// without an error: use [`fail`](StreamSender::fail) if the messages are incomplete.
    ///
    /// ```
    /// # use natsmicro::{Status, Streaming};
    /// async fn tick() -> Result<Streaming<u64>, Status> {
    ///     let (sender, ticks) = Streaming::channel(8);
    ///     tokio::spawn(async move {
    ///         let mut n = 0;
    ///         // Waits while the stream is full, and fails when its reader is dropped.
    ///         while sender.send(n).await.is_ok() {
    ///             n += 1;
    ///         }
    ///     });
    ///     Ok(ticks)
    /// }
    /// ```
    pub fn channel(capacity: usize) -> (StreamSender<T>, Self) {
        let (sender, receiver) = mpsc::channel(capacity.clamp(1, mpsc_max()));
        let panicked = Arc::<AtomicBool>::default();
        let stream = Self(Source::Channel(receiver, Arc::clone(&panicked)));
        (StreamSender { sender, panicked }, stream)
    }

    pub(crate) fn incoming(incoming: Incoming<T>) -> Self {
        Self(Source::Incoming(incoming))
    }

    /// The next message; `None` at the end of the stream. No message is lost if the future is dropped.
    pub async fn message(&mut self) -> Result<Option<T>, Status> {
        self.next().await.transpose()
    }
}

/// The largest capacity that a channel of tokio can have.
fn mpsc_max() -> usize {
    tokio::sync::Semaphore::MAX_PERMITS
}

impl<T> Stream for Streaming<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Source::Stream(stream) => stream.as_mut().poll_next(cx),
            Source::Channel(receiver, panicked) => match ready!(receiver.poll_recv(cx)) {
                None if panicked.swap(false, Ordering::AcqRel) => Poll::Ready(Some(Err(
                    Status::internal("the producer of the stream panicked"),
                ))),
                item => Poll::Ready(item),
            },
            Source::Incoming(incoming) => incoming.poll_next(cx),
        }
    }
}

impl<T> Unpin for Streaming<T> {}

impl<T> fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.0 {
            Source::Stream(_) => "stream",
            Source::Channel(..) => "channel",
            Source::Incoming(_) => "incoming",
        };
        f.debug_tuple("Streaming").field(&source).finish()
    }
}

/// Fills a [`Streaming`]; made by [`Streaming::channel`].
pub struct StreamSender<T> {
    sender: mpsc::Sender<Result<T, Status>>,
    panicked: Arc<AtomicBool>,
}

impl<T> StreamSender<T> {
    /// Puts a message into the stream, and waits while it is full. Fails when the message can no longer be sent: the other side has
    /// dropped the stream or cannot be reached any more, or the call is over.
    pub async fn send(&self, message: T) -> Result<(), SendError<T>> {
        match self.sender.reserve().await {
            Ok(permit) => {
                permit.send(Ok(message));
                Ok(())
            }
            Err(_) => Err(SendError(message)),
        }
    }

    /// Puts a message into the stream if there is room for it at once.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        match self.sender.try_reserve() {
            Ok(permit) => {
                permit.send(Ok(message));
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(())) => Err(TrySendError::Full(message)),
            Err(mpsc::error::TrySendError::Closed(())) => Err(TrySendError::Closed(message)),
        }
    }

    /// Ends the stream with an error, which the other side gets as its last item.
    pub async fn fail(self, status: Status) {
        // Fails only if the stream was dropped: the error has no reader then.
        let _ = self.sender.send(Err(status)).await;
    }

    /// Whether messages can no longer be sent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until messages can no longer be sent.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

impl<T> Clone for StreamSender<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            panicked: Arc::clone(&self.panicked),
        }
    }
}

impl<T> Drop for StreamSender<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.panicked.store(true, Ordering::Release);
        }
    }
}

impl<T> fmt::Debug for StreamSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSender")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// A message that could not be sent, because the stream has no reader any more; from [`StreamSender::send`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(T);

impl<T> SendError<T> {
    /// The message.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").finish_non_exhaustive()
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream has no reader any more")
    }
}

impl<T> std::error::Error for SendError<T> {}

impl<T> From<SendError<T>> for Status {
    fn from(error: SendError<T>) -> Self {
        Self::cancelled(error.to_string())
    }
}

/// A message that could not be sent at once; from [`StreamSender::try_send`].
///
/// As a [`Status`] it has the code `RESOURCE_EXHAUSTED` for a full stream, and `CANCELLED` for a closed one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The stream is full: its reader is behind.
    Full(T),
    /// The stream has no reader any more.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The message.
    #[must_use]
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the stream is full",
            Self::Closed(_) => "the stream has no reader any more",
        })
    }
}

impl<T> std::error::Error for TrySendError<T> {}

impl<T> From<TrySendError<T>> for Status {
    fn from(error: TrySendError<T>) -> Self {
        let code = match error {
            TrySendError::Full(_) => Code::ResourceExhausted,
            TrySendError::Closed(_) => Code::Cancelled,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_stream_is_not_a_closed_one() {
        let (sender, stream) = Streaming::channel(1);
        assert_eq!(sender.try_send(1), Ok(()));
        let full = sender.try_send(2).unwrap_err();
        assert_eq!(full, TrySendError::Full(2));
        assert_eq!(Status::from(full).code(), &Code::ResourceExhausted);
        drop(stream);
        let closed = sender.try_send(3).unwrap_err();
        assert_eq!(closed, TrySendError::Closed(3));
        assert_eq!(Status::from(closed).code(), &Code::Cancelled);
        assert_eq!(closed.into_inner(), 3);
    }
}
