//! Single messages as the API of JetStream gives them, in JSON: a malformed header harms no connection there.
//!
//! Slow, one request per message to the leader of the stream, so this is for suspects only.

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessage;
use async_nats::jetstream::{Context, ErrorCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tokio::time::timeout;

use crate::store::error::StoreError;
use crate::store::reader::api_request::request;
use crate::store::reader::delivery::BucketMessage;
use crate::transport::gate::Gate;

/// Which message of a stream.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Which<'a> {
    /// The first one with this sequence or a later one, whose subject matches.
    From {
        seq: u64,
        next_by_subj: &'a str,
    },
    Revision {
        seq: u64,
    },
    Newest {
        last_by_subj: &'a str,
    },
}

/// Reads a message; `None` if there is none.
pub(crate) async fn read(
    gate: &Gate,
    context: &Context,
    stream: &str,
    which: Which<'_>,
) -> Result<Option<BucketMessage>, StoreError> {
    let failed = "cannot read the bucket";
    let address = format!("STREAM.MSG.GET.{stream}");
    match request(gate, context, &address, &which, failed).await? {
        Ok(Answer { message }) => Ok(Some(parse(message))),
        Err(error) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
        Err(error) => Err(StoreError::nats(failed, error)),
    }
}

/// How long the leader of a stream may take to name a message. Without the permission to ask it does not answer.
const LEADER_TIMEOUT: Duration = Duration::from_millis(500);

/// The newest message of a subject, which may have wildcards, as the leader of the stream has it; `None` also if the leader does not say.
pub(crate) async fn newest_at_leader(
    gate: &Gate,
    context: &Context,
    stream: &str,
    subject: &str,
) -> Option<BucketMessage> {
    let which = Which::Newest {
        last_by_subj: subject,
    };
    let newest = read(gate, context, stream, which);
    timeout(LEADER_TIMEOUT, newest).await.ok()?.ok()?
}

#[derive(serde::Deserialize)]
struct Answer {
    message: RawMessage,
}

fn parse(raw: RawMessage) -> BucketMessage {
    // The parser of async-nats for this form finds the same faults as that of its connection, and returns them.
    match StreamMessage::try_from(raw.clone()) {
        Ok(message) => BucketMessage {
            subject: message.subject,
            headers: Some(message.headers),
            payload: message.payload,
            sequence: message.sequence,
            published: message.time.into(),
            is_malformed: false,
            is_repeated: false,
        },
        Err(_) => BucketMessage {
            subject: raw.subject.into(),
            headers: None,
            payload: STANDARD.decode(raw.payload).unwrap_or_default().into(),
            sequence: raw.sequence,
            published: raw.time.into(),
            is_malformed: true,
            is_repeated: false,
        },
    }
}

impl BucketMessage {
    /// As a message of a direct read; fails if it is malformed.
    pub(crate) fn into_stream_message(self, key: &str) -> Result<StreamMessage, StoreError> {
        if self.is_malformed {
            return Err(StoreError::malformed(key, self.sequence, self.payload));
        }
        Ok(self.into())
    }
}

/// Without headers if it is malformed.
impl From<BucketMessage> for StreamMessage {
    fn from(message: BucketMessage) -> Self {
        Self {
            subject: message.subject,
            sequence: message.sequence,
            headers: message.headers.unwrap_or_default(),
            payload: message.payload,
            time: message.published.into(),
        }
    }
}
