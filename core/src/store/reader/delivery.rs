//! What readers of a bucket's stream yield.

use std::time::SystemTime;

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;

use crate::descriptor::operation::Operation;
use crate::store::error::StoreError;

/// An item of a reader.
pub(crate) enum ReaderEvent {
    Message(BucketMessage),
    /// Each key that had a message when the reader started, and has had one since, has been delivered. Comes exactly once, also if there
    /// were none.
    CaughtUp,
}

/// Why a consumer has ended.
pub(crate) enum ReadError {
    Store(StoreError),
    /// The connection was interrupted twice while the message after `position` was to come.
    Interrupted {
        position: u64,
    },
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A message of a bucket's stream.
pub(crate) struct BucketMessage {
    pub(crate) subject: Subject,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
    pub(crate) sequence: u64,
    pub(crate) published: SystemTime,
    /// Whether its headers cannot be read. They are `None` then.
    pub(crate) is_malformed: bool,
    /// Whether the initial part had an earlier message with the same subject.
    pub(crate) is_repeated: bool,
}

impl BucketMessage {
    /// What the message did to its key. One without headers stored a value.
    pub(crate) fn operation(&self) -> Operation {
        self.headers.as_ref().map_or(Operation::Put, Operation::of)
    }
}

/// The number in a header of NATS; `None` if the header is missing or holds something else.
pub(crate) fn header_number(message: &Message, name: &str) -> Option<u64> {
    message.headers.as_ref()?.get(name)?.as_str().parse().ok()
}
