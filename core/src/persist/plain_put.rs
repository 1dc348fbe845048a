//! Writes without conditions, whose acknowledgements arrive through a multiplexer of their bucket.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{HeaderMap, Subject};
use bytes::Bytes;

use crate::store::error::WriteError;
use crate::transport::mux::{Multiplexer, OutgoingRequest};

/// How long the acknowledgement of a write may take. After that, the next attempt reads whether the value was stored.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Puts values into one Key-Value bucket. Cheaper than async-nats's `put`, which makes an inbox and two timers per message.
#[derive(Clone, Debug)]
pub(crate) struct PlainPut {
    multiplexer: Arc<Multiplexer>,
    /// The start of the subjects of the bucket, the last dot included.
    prefix: Arc<str>,
}

impl PlainPut {
    pub(crate) fn new(nats: async_nats::Client, prefix: &str) -> Self {
        Self {
            multiplexer: Multiplexer::new(nats),
            prefix: prefix.into(),
        }
    }

    /// Writes a value without a condition on what the key has.
    pub(crate) async fn put(&self, key: &str, value: Bytes) -> Result<u64, WriteError> {
        let outgoing = OutgoingRequest {
            subject: Subject::from([&*self.prefix, key].concat()),
            headers: HeaderMap::new(),
            payload: value,
        };
        let message = tokio::time::timeout(ACK_TIMEOUT, pin!(self.multiplexer.request(outgoing)))
            .await
            .map_err(|_| WriteError::Uncertain("no acknowledgement came in time".into()))?
            .map_err(|error| match error.kind() {
                RequestErrorKind::MaxPayloadExceeded => WriteError::TooLarge(error.into()),
                _ => WriteError::Uncertain(error.into()),
            })?;
        match serde_json::from_slice(&message.payload) {
            Ok(Response::Ok(PublishAck { sequence, .. })) => Ok(sequence),
            Ok(Response::Err { error }) => Err(WriteError::new(error)),
            Err(error) => Err(WriteError::Uncertain(error.into())),
        }
    }
}
