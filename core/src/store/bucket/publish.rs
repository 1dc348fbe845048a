//! Messages that a bucket stores, and their acknowledgements.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use tokio::time::Instant;

use crate::store::error::WriteError;
use crate::transport::mux::Multiplexer;
use crate::transport::outgoing::Outgoing;

/// How often a write that may be sent anew looks whether its connection still exists.
const CONNECTION_CHECK: Duration = Duration::from_secs(1);

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

    /// Stores a message, and waits for the acknowledgement.
    pub(crate) async fn publish(&self, message: Outgoing) -> Result<PublishAck, WriteError> {
        let acknowledged = async { self.send(message).await?.await };
        tokio::time::timeout(self.timeout, std::pin::pin!(acknowledged))
            .await
            .unwrap_or_else(|_| Err(not_acknowledged()))
    }

    /// The same, but fails soon after the connection was lost: the acknowledgement is most likely lost with it, and a message that the
    /// connection has not taken yet is withdrawn.
    pub(crate) async fn publish_on_one_connection(
        &self,
        message: Outgoing,
    ) -> Result<PublishAck, WriteError> {
        let gate = &self.multiplexer.gate;
        let connection = gate.connection_epoch();
        let mut check = Instant::now() + CONNECTION_CHECK;
        let end = Instant::now() + self.timeout;
        let mut acknowledged = std::pin::pin!(async { self.send(message).await?.await });
        loop {
            let checked = check.min(end);
            match tokio::time::timeout_at(checked, &mut acknowledged).await {
                Ok(acknowledged) => return acknowledged,
                Err(_) if gate.connected_epoch() != Some(connection) => {
                    let cause = "the connection was lost before the acknowledgement came";
                    return Err(WriteError::Uncertain(cause.into()));
                }
                Err(_) if checked == end => return Err(not_acknowledged()),
                Err(_) => check += CONNECTION_CHECK,
            }
        }
    }

    /// Sends a message. The result is its acknowledgement, which has no timeout of its own. Messages are stored in the order in which
    /// they are sent.
    pub(crate) async fn send(
        &self,
        mut message: Outgoing,
    ) -> Result<impl Future<Output = Result<PublishAck, WriteError>> + Send + use<>, WriteError>
    {
        let reply = self.multiplexer.send(&mut message).await.map_err(unsent)?;
        Ok(async move { acknowledgement(&reply.await.map_err(unsent)?) })
    }
}

fn not_acknowledged() -> WriteError {
    WriteError::Uncertain("no acknowledgement came in time".into())
}

fn acknowledgement(reply: &Message) -> Result<PublishAck, WriteError> {
    match serde_json::from_slice(&reply.payload) {
        Ok(Response::Ok(ack)) => Ok(ack),
        Ok(Response::Err { error }) => Err(WriteError::new(error)),
        Err(error) => Err(WriteError::Uncertain(error.into())),
    }
}

fn unsent(error: RequestError) -> WriteError {
    match error.kind() {
        RequestErrorKind::MaxPayloadExceeded => WriteError::TooLarge(error.into()),
        _ => WriteError::Uncertain(error.into()),
    }
}
