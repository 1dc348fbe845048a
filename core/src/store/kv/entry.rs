//! One revision of a key, read from a message of the bucket.

use std::time::SystemTime;

use async_nats::header::NATS_MARKER_REASON;
use async_nats::jetstream::message::StreamMessage;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;

use crate::codec::MessageCodec;
use crate::descriptor::operation::Operation;
use crate::store::bucket::handle::decode;
use crate::store::error::StoreError;
use crate::store::reader::delivery::BucketMessage;

/// One revision of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<T> {
    /// The key.
    pub key: String,
    /// The value; `None` if the operation deleted it.
    pub value: Option<T>,
    /// The revision, which grows with every write to the bucket.
    pub revision: u64,
    /// When it was written, by the clock of the server.
    pub created: SystemTime,
    /// The operation that wrote this revision.
    pub operation: Operation,
}

/// Whether these are headers of the marker that the server writes for an expired entry.
pub(crate) fn is_expiry(headers: &HeaderMap) -> bool {
    let reason = headers.get(NATS_MARKER_REASON).map(HeaderValue::as_str);
    reason == Some("MaxAge")
}

impl<T> Entry<T> {
    pub(crate) fn of_message(
        codec: &MessageCodec<T>,
        key: &str,
        message: StreamMessage,
    ) -> Result<Self, StoreError> {
        let StreamMessage {
            headers,
            payload,
            sequence,
            time,
            ..
        } = message;
        let operation = Operation::of(&headers);
        Self::new(codec, key, operation, payload, sequence, time.into())
    }

    /// Reads the entry in a message whose subject is `prefix` and the key.
    pub(crate) fn of_delivered(
        codec: &MessageCodec<T>,
        prefix: &str,
        message: BucketMessage,
    ) -> Result<Self, StoreError> {
        let operation = message.operation();
        let BucketMessage {
            subject,
            headers: _,
            payload,
            sequence,
            published,
            is_malformed,
            is_repeated: _,
        } = message;
        let key = subject.strip_prefix(prefix).unwrap_or(&subject);
        if is_malformed {
            return Err(StoreError::malformed(key, sequence, payload));
        }
        Self::new(codec, key, operation, payload, sequence, published)
    }

    fn new(
        codec: &MessageCodec<T>,
        key: &str,
        operation: Operation,
        value: Bytes,
        revision: u64,
        created: SystemTime,
    ) -> Result<Self, StoreError> {
        let value = match operation {
            Operation::Put => Some(decode(codec, key, revision, value)?),
            Operation::Delete | Operation::Purge => None,
        };
        Ok(Self {
            key: key.to_owned(),
            value,
            revision,
            created,
            operation,
        })
    }
}
