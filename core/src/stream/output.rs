//! The messages that one end sends: encoded, numbered, and in batches to a peer with the extension.
//!
//! An [`Output`] is the source of the messages; the functions of [`Link`] send them. No message is sent without credit, and none is
//! taken from its source before it can be sent, except one that did not fit into a batch and is put back.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt};

use crate::codec::MessageCodec;
use crate::status::{Code, Status};
use crate::stream::delivery::undecodable;
use crate::stream::link::Link;
use crate::stream::streaming::Streaming;
use crate::stream::wire::{Batch, COUNT, END, StreamState};
use crate::transport::backlog::Lane;
use crate::transport::outgoing::{Outgoing, PublishError};
use crate::transport::publishing::Publishing;

/// How long a publish may wait for a connection that takes no messages. The peer gets no heartbeats meanwhile.
pub(crate) const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

type NextItem = Option<Result<Bytes, Status>>;

/// The source of the messages that one end sends.
pub(crate) struct Output {
    stream: BoxStream<'static, Result<Bytes, Status>>,
    /// What was taken from `stream` and could not be sent yet; it comes before the rest of `stream`.
    put_back: Option<NextItem>,
    /// Headers for the first message.
    pub(crate) headers: HeaderMap,
}

impl Output {
    /// An output of the items of `stream`, which must not panic when it is polled.
    pub(crate) fn new(stream: BoxStream<'static, Result<Bytes, Status>>) -> Self {
        Self {
            stream,
            put_back: None,
            headers: HeaderMap::new(),
        }
    }

    /// Sends the items of `stream` in place of what is left.
    pub(crate) fn set_stream(&mut self, stream: BoxStream<'static, Result<Bytes, Status>>) {
        self.stream = stream;
        self.put_back = None;
    }

    /// Waits for the next item. No item is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> NextItem {
        match self.put_back.take() {
            Some(item) => item,
            None => self.stream.next().await,
        }
    }

    /// Drops the unsent items and their source. Returns the panic of a destructor of the user.
    pub(crate) fn close(&mut self) -> Result<(), Box<dyn Any + Send>> {
        let stream = std::mem::replace(&mut self.stream, futures::stream::empty().boxed());
        let put_back = self.put_back.take();
        std::panic::catch_unwind(AssertUnwindSafe(|| drop((stream, put_back))))
    }

    fn next_if_ready(&mut self) -> Option<NextItem> {
        self.put_back
            .take()
            .or_else(|| self.stream.next().now_or_never())
    }
}

/// Headers that mark a message as the end of a stream.
pub(crate) fn end_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(END.clone(), HeaderValue::from("true"));
    headers
}

/// Encodes the messages of a stream.
pub(crate) fn encoded<T: 'static>(
    messages: Streaming<T>,
    codec: MessageCodec<T>,
) -> impl Stream<Item = Result<Bytes, Status>> {
    messages.map(move |message| {
        (codec.encode)(&message?)
            .map_err(|error| Status::internal(format!("failed to encode a message: {error}")))
    })
}

/// Decodes the messages of a stream. One that cannot be decoded is an error with this code in its place, and the stream goes on.
pub(crate) fn decoded<T: 'static>(
    messages: BoxStream<'static, Result<Bytes, Status>>,
    codec: MessageCodec<T>,
    error_code: Code,
) -> impl Stream<Item = Result<T, Status>> + Send + Unpin {
    let mut number = 0;
    messages.map(move |message| {
        number += 1;
        (codec.decode)(message?).map_err(|error| undecodable(error_code.clone(), number, &error))
    })
}

impl Link {
    pub(crate) fn may_send(&self) -> bool {
        self.peer.is_some() && self.outbound.may_send()
    }

    /// Sends `first` in one message with the further items of `output` that are ready, have credit and fit into a batch.
    pub(crate) async fn send(&mut self, first: Bytes, output: &mut Output) -> Result<(), Status> {
        let size = first.len();
        let mut outbound = self.outbound;
        let number = outbound.send(size);
        let mut batch = Batch::new(number, first, self.gate.max_payload());
        while self.extension && batch.has_room() && outbound.may_send() {
            match output.next_if_ready() {
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
        let probe = self.start_probe_if_due();
        match self.publish(headers, payload, probe).await {
            Ok(()) => {
                self.outbound = outbound;
                Ok(())
            }
            // A single message: a batch is bounded by the payload limit.
            Err(PublishError::TooLarge) => Err(Status::resource_exhausted(format!(
                "message {number} of the stream has {size} bytes, and the NATS server takes messages of up to {} bytes",
                self.gate.max_payload()
            ))),
            Err(error) => Err(Status::unavailable(format!("cannot send: {error}"))),
        }
    }

    /// Announces to the caller that the handler has returned its stream: by the first message or the end if one is ready and can be
    /// sent, else by a control message. The announcement has the headers of the handler, so no state may say `opened` before it.
    pub(crate) async fn announce_opened(&mut self, output: &mut Output) -> Result<(), Status> {
        if !self.extension {
            return Ok(());
        }
        let next = if self.may_send() {
            output.next_if_ready()
        } else {
            None
        };
        match next {
            Some(Some(Ok(message))) => self.send(message, output).await?,
            Some(end) => {
                output.put_back = Some(end);
                return Ok(());
            }
            None => {
                let mut headers = std::mem::take(&mut output.headers);
                let state = StreamState {
                    opened: true,
                    ..self.state
                };
                state.write(&mut headers);
                self.publish(headers, Bytes::new(), false)
                    .await
                    .map_err(|error| Status::unavailable(format!("cannot send: {error}")))?;
            }
        }
        self.state.opened = true;
        Ok(())
    }

    /// Sends the end of the stream, with an error if it has failed.
    pub(crate) async fn end(&mut self, output: &mut Output, status: Option<&Status>) {
        let Some(peer) = self.peer.clone() else {
            return;
        };
        self.state.ended = true;
        let mut headers = std::mem::take(&mut output.headers);
        let mut end = end_headers();
        if self.extension {
            end.insert(COUNT.clone(), HeaderValue::from(self.outbound.count()));
        }
        let sent = if let Some(status) = status {
            let message = Outgoing::to_peer(&peer).with_headers(headers);
            let sent = self
                .gate
                .publish_status(Lane::Stream, message, &end, status);
            in_time(sent).await
        } else {
            crate::transport::headers::add(&mut headers, &end);
            self.publish(headers, Bytes::new(), false).await
        };
        if let Err(error) = sent {
            tracing::debug!(inbox = %self.inbox, %error, "cannot send the end of a stream");
        }
    }

    async fn publish(
        &mut self,
        headers: HeaderMap,
        payload: Bytes,
        probe: bool,
    ) -> Result<(), PublishError> {
        let peer = self.peer.as_ref().ok_or(PublishError::Closed)?;
        let mut message = Outgoing::to_peer(peer)
            .with_headers(headers)
            .with_payload(payload);
        message.reply = probe.then(|| self.inbox.clone());
        in_time(self.gate.publish(Lane::Stream, message)).await
    }
}

async fn in_time(publishing: Publishing) -> Result<(), PublishError> {
    tokio::time::timeout(PUBLISH_TIMEOUT, publishing)
        .await
        .unwrap_or(Err(PublishError::Refused))
}
