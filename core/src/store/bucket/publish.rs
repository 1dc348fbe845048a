//! Messages that a bucket stores, and their acknowledgements.

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Message, Subject};

use crate::store::error::{StoreError, StoreErrorKind, WriteError};
use crate::transport::mux::{self, Multiplexer};
use crate::transport::outgoing::Outgoing;

/// Sends messages to buckets. Cheaper than async-nats's context, which makes an inbox and two timers per message.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    multiplexer: Arc<Multiplexer>,
    /// How long an acknowledgement may take.
    timeout: Duration,
}

impl Publisher {
    pub(crate) fn new(multiplexer: Arc<Multiplexer>, timeout: Duration) -> Self {
        Self {
            multiplexer,
            timeout,
        }
    }

    /// Stores a message, and waits for the acknowledgement of `stream`.
    pub(crate) async fn publish(
        &self,
        message: Outgoing,
        stream: &Arc<str>,
    ) -> Result<PublishAck, WriteError> {
        self.in_time(async { self.send(message, stream).await?.await })
            .await
    }

    /// Bounds what waits for acknowledgements.
    pub(crate) async fn in_time<T>(
        &self,
        acknowledged: impl Future<Output = Result<T, WriteError>>,
    ) -> Result<T, WriteError> {
        tokio::time::timeout(self.timeout, std::pin::pin!(acknowledged))
            .await
            .unwrap_or_else(|_| {
                let cause = "no acknowledgement came in time";
                Err(WriteError::Uncertain(cause.into()))
            })
    }

    /// Sends a message. The result is its acknowledgement by `stream`, which has no timeout of its own. Messages are stored in the order
    /// in which they are sent.
    pub(crate) async fn send(
        &self,
        mut message: Outgoing,
        stream: &Arc<str>,
    ) -> Result<impl Future<Output = Result<PublishAck, WriteError>> + Send + use<>, WriteError>
    {
        let subject = message.subject().clone();
        let reply = self.multiplexer.send(&mut message).await;
        let reply = reply.map_err(|error| unsent(&subject, error))?;
        let stream = Arc::clone(stream);
        Ok(async move {
            let reply = reply.await.map_err(|error| unsent(&subject, error))?;
            let ack = acknowledgement(&reply)?;
            if *ack.stream == *stream {
                return Ok(ack);
            }
            Err(stored_elsewhere(&subject, &ack.stream, &stream))
        })
    }
}

fn acknowledgement(reply: &Message) -> Result<PublishAck, WriteError> {
    match serde_json::from_slice(&reply.payload) {
        Ok(Response::Ok(ack)) => Ok(ack),
        Ok(Response::Err { error }) => Err(WriteError::new(error)),
        Err(error) => Err(WriteError::Uncertain(error.into())),
    }
}

/// The subjects of a bucket that is gone may belong to another stream, and an account may map them.
fn stored_elsewhere(subject: &Subject, found: &str, expected: &str) -> WriteError {
    let text = format!(
        "what was published to `{subject}` is in stream `{found}` and not in `{expected}`: free the subjects of the bucket"
    );
    WriteError::Refused(StoreError::new(StoreErrorKind::Nats, text).into())
}

fn unsent(subject: &Subject, error: RequestError) -> WriteError {
    if let Some(violation) = mux::violation(&error) {
        return violation.clone().into();
    }
    match error.kind() {
        RequestErrorKind::MaxPayloadExceeded => WriteError::TooLarge(error.into()),
        RequestErrorKind::NoResponders => {
            let text = format!("nobody stores what is published to `{subject}`");
            let error = StoreError::new(StoreErrorKind::Nats, text).with_source(error);
            WriteError::NotTaken(error.into())
        }
        _ => WriteError::Uncertain(error.into()),
    }
}
