//! Writes without conditions, whose acknowledgements arrive through a multiplexer of their bucket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::persist::attempts::on_one_connection;
use crate::store::bucket::publish::Publisher;
use crate::store::error::WriteError;
use crate::transport::gate::Gate;
use crate::transport::mux::Multiplexer;
use crate::transport::outgoing::Outgoing;

/// How long the acknowledgement of a write may take. After that, the next attempt reads whether the value was stored.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Puts values into one Key-Value bucket.
#[derive(Clone, Debug)]
pub(crate) struct PlainPut {
    gate: Gate,
    publisher: Publisher,
    /// The start of the subjects of the bucket, the last dot included.
    prefix: Arc<str>,
}

impl PlainPut {
    pub(crate) fn new(gate: Gate, prefix: &str) -> Self {
        Self {
            publisher: Publisher::new(Multiplexer::new(gate.clone()), ACK_TIMEOUT),
            gate,
            prefix: prefix.into(),
        }
    }

    /// Writes a value without a condition on what the key has.
    pub(crate) async fn put(&self, key: &str, value: Bytes) -> Result<u64, WriteError> {
        let message = Outgoing::to([&*self.prefix, key].concat()).with_payload(value);
        let acknowledged = async { self.publisher.send(message).await?.await };
        let acknowledged = on_one_connection(&self.gate, ACK_TIMEOUT, acknowledged).await?;
        Ok(acknowledged.sequence)
    }
}
