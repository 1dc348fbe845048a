//! What goes out of one end: encoded, several messages in one where the other end knows how to take them apart.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};

use crate::codec::MessageCodec;
use crate::status::Status;
use crate::stream::link::Link;
use crate::stream::streaming::Streaming;
use crate::stream::wire::{Batch, COUNT, END};

/// How long a message waits for a connection that takes nothing. The other end hears nothing for as long.
pub(crate) const STUCK: Duration = Duration::from_secs(5);

type Next = Option<Result<Bytes, Status>>;

/// What one end has to send.
pub(crate) struct Output {
    stream: BoxStream<'static, Result<Bytes, Status>>,
    /// What was taken out and did not fit.
    put_back: Option<Next>,
    /// Headers for the first message.
    pub(crate) headers: HeaderMap,
}

impl Output {
    /// Sends what `stream` yields, which must not panic.
    pub(crate) fn new(stream: impl Stream<Item = Result<Bytes, Status>> + Send + 'static) -> Self {
        Self {
            stream: stream.boxed(),
            put_back: None,
            headers: HeaderMap::new(),
        }
    }

    /// Nothing is lost if this is dropped.
    pub(crate) async fn next(&mut self) -> Next {
        match self.put_back.take() {
            Some(item) => item,
            None => self.stream.next().await,
        }
    }

    /// Drops what was not sent, and whoever makes it, which may panic.
    pub(crate) fn close(&mut self) -> Result<(), Box<dyn Any + Send>> {
        let stream = std::mem::replace(&mut self.stream, futures::stream::empty().boxed());
        let put_back = self.put_back.take();
        std::panic::catch_unwind(AssertUnwindSafe(|| drop((stream, put_back))))
    }

    fn ready(&mut self) -> Option<Next> {
        self.put_back
            .take()
            .or_else(|| self.stream.next().now_or_never())
    }
}

/// The header that ends a stream.
pub(crate) fn end_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(END.clone(), HeaderValue::from("true"));
    headers
}

/// A stream of messages as it goes out.
pub(crate) fn encoded<T: 'static>(
    messages: Streaming<T>,
    codec: MessageCodec<T>,
) -> impl Stream<Item = Result<Bytes, Status>> {
    messages.map(move |message| {
        (codec.encode)(&message?)
            .map_err(|error| Status::internal(format!("failed to encode a message: {error}")))
    })
}

impl Link {
    pub(crate) fn may_send(&self) -> bool {
        self.peer.is_some() && self.outbound.may_send()
    }

    /// Sends an item of `output`, together with what else is ready.
    pub(crate) async fn send(&mut self, first: Bytes, output: &mut Output) -> Result<(), Status> {
        let size = first.len();
        let mut outbound = self.outbound;
        let number = outbound.send(size);
        let mut batch = Batch::new(number, first, self.nats.max_payload());
        while self.extension && batch.has_room() && outbound.may_send() {
            match output.ready() {
                None => break,
                Some(Some(Ok(message))) => {
                    let size = message.len();
                    if let Err(message) = batch.push(message) {
                        output.put_back = Some(Some(Ok(message)));
                        break;
                    }
                    outbound.send(size);
                }
                Some(other) => {
                    output.put_back = Some(other);
                    break;
                }
            }
        }
        let mut headers = std::mem::take(&mut output.headers);
        let payload = batch.finish(&mut headers);
        let probe = self.probe();
        match self.publish(headers, payload, probe).await {
            Ok(()) => {
                self.outbound = outbound;
                Ok(())
            }
            // One that is alone: a batch is never so large.
            Err(PublishErrorKind::MaxPayloadExceeded) => Err(Status::resource_exhausted(format!(
                "message {number} of the stream has {size} bytes, and the NATS server takes messages of up to {} bytes",
                self.nats.max_payload()
            ))),
            Err(kind) => Err(Status::unavailable(format!("cannot send: {kind}"))),
        }
    }

    /// Tells the caller that the stream exists, unless its first message is there and tells that too.
    pub(crate) async fn opened(&mut self, output: &mut Output) -> Result<(), Status> {
        self.said.opened = true;
        if !self.extension {
            return Ok(());
        }
        output.put_back = output.ready();
        if output.put_back.is_some() {
            return Ok(());
        }
        let mut headers = std::mem::take(&mut output.headers);
        self.said.write(&mut headers);
        self.publish(headers, Bytes::new(), false)
            .await
            .map_err(|kind| Status::unavailable(format!("cannot send: {kind}")))
    }

    /// Sends the end of the stream, which may be an error.
    pub(crate) async fn end(&mut self, output: &mut Output, status: Option<&Status>) {
        let Some(peer) = self.peer.clone() else {
            return;
        };
        self.said.ended = true;
        let mut headers = std::mem::take(&mut output.headers);
        let mut end = end_headers();
        if self.extension {
            end.insert(COUNT.clone(), HeaderValue::from(self.outbound.count()));
        }
        let sent = if let Some(status) = status {
            let sent = crate::transport::headers::publish_status(
                &self.nats, &peer, headers, &end, status, None,
            );
            tokio::time::timeout(STUCK, sent)
                .await
                .unwrap_or(Err(PublishErrorKind::Send))
        } else {
            crate::transport::headers::add(&mut headers, &end);
            self.publish(headers, Bytes::new(), false).await
        };
        if let Err(error) = sent {
            tracing::debug!(inbox = %self.own, %error, "cannot send the end of a stream");
        }
    }

    async fn publish(
        &mut self,
        headers: HeaderMap,
        payload: Bytes,
        probe: bool,
    ) -> Result<(), PublishErrorKind> {
        let Some(peer) = self.peer.clone() else {
            return Err(PublishErrorKind::Send);
        };
        let sent = async {
            if probe {
                let own = self.own.clone();
                self.nats
                    .publish_with_reply_and_headers(peer, own, headers, payload)
                    .await
            } else {
                self.nats.publish_with_headers(peer, headers, payload).await
            }
        };
        match tokio::time::timeout(STUCK, sent).await {
            Ok(sent) => sent.map_err(|error| error.kind()),
            Err(_) => Err(PublishErrorKind::Send),
        }
    }
}
