//! Writes without conditions, whose acknowledgements arrive through a multiplexer of their bucket.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;

use crate::persist::attempts::on_one_connection;
use crate::store::bucket::publish::Publisher;
use crate::store::error::WriteError;
use crate::store::kv::bucket::KvBucket;
use crate::transport::gate::Gate;
use crate::transport::mux::Multiplexer;

/// How long the acknowledgement of a write may take. After that, the next attempt reads whether the value was stored.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Puts values into one Key-Value bucket.
#[derive(Clone, Debug)]
pub(crate) struct PlainPut {
    publisher: Publisher,
}

impl PlainPut {
    pub(crate) fn new(gate: Gate) -> Self {
        Self {
            publisher: Publisher::new(Multiplexer::new(gate), ACK_TIMEOUT),
        }
    }

    /// Writes a value without a condition on what the key has.
    pub(crate) async fn put(
        &self,
        bucket: &KvBucket,
        key: &str,
        value: Bytes,
    ) -> Result<u64, WriteError> {
        let stored = bucket.publish_with(&self.publisher, key, HeaderMap::new(), value);
        on_one_connection(bucket.gate(), ACK_TIMEOUT, stored).await
    }
}
