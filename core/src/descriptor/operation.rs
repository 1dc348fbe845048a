//! What can be done to a key of a bucket.

use async_nats::header::NATS_MARKER_REASON;
use async_nats::{HeaderMap, HeaderName, HeaderValue};

static OPERATION: HeaderName = HeaderName::from_static("KV-Operation");

/// What was done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// It got a value.
    Put,
    /// Its value was deleted; older revisions are kept as far as the history goes.
    Delete,
    /// It was deleted with all its revisions, or expired.
    Purge,
}

impl Operation {
    /// What a message of a bucket did to its key. The server writes markers too, for what expires, and says why.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let operation = headers.get(OPERATION.clone()).map(HeaderValue::as_str);
        let reason = headers.get(NATS_MARKER_REASON).map(HeaderValue::as_str);
        match (operation, reason) {
            (Some("DEL"), _) | (None, Some("Remove")) => Self::Delete,
            (Some("PURGE"), _) | (None, Some(_)) => Self::Purge,
            _ => Self::Put,
        }
    }
}
