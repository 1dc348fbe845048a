//! The messages of the batch protocol of nats-server: reply subjects of a batch, and the replies of the server.

use async_nats::{Message, StatusCode, Subject};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The error code for a stream that takes no batches.
const BATCHES_NOT_ENABLED: u64 = 10_205;
/// The error code for a batch that the server does not know, or no longer.
const UNKNOWN_BATCH: u64 = 10_208;

/// What a message does to its batch.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    Begin = 0,
    Add = 1,
    AddLast = 2,
    /// Ends the batch, and is not stored.
    End = 3,
}

/// The reply subject of a message: the number of its batch, its position in the batch, counted from 1, and its step.
pub(crate) fn reply_subject(inbox: &str, batch: u64, position: usize, step: Step) -> Subject {
    let step = step as u8;
    // With `fail`, a missing message ends the batch. The interval of 1000 is above any batch, so that the server sends no acknowledgements
    // in between.
    Subject::from(format!("{inbox}{batch}.1000.fail.{position}.{step}.$FI"))
}

/// The number of a batch, and the position in it, in the part of a reply subject after the inbox.
pub(crate) fn parse_position(subject: &str) -> Option<(u64, usize)> {
    let mut tokens = subject.split('.');
    let number = tokens.next()?.parse().ok()?;
    let position = tokens
        .nth(2)?
        .parse()
        .ok()
        .filter(|position| *position > 0)?;
    Some((number, position))
}

/// A reply of the server about a batch.
pub(crate) enum BatchReply {
    /// The batch is open, or is about to be ended.
    Open,
    /// The batch has ended. `stored` counts the messages that are stored, from the first one on.
    Ended {
        stored: usize,
        /// The revision of the last stored message.
        revision: Option<u64>,
    },
    /// One of its messages was refused.
    Refused,
    /// One of its messages was refused, since the bucket takes no batches.
    NotEnabled,
    /// The server does not know the batch, has stored it in another stream, or has sent something else.
    Unknown,
}

/// The parts of a reply that are read.
#[derive(Deserialize)]
struct Reply {
    /// These only in the reply that ends a batch.
    count: Option<usize>,
    stream: Option<String>,
    seq: Option<u64>,
    /// Only in a reply that refuses a message.
    error: Option<Refusal>,
    /// Only in a reply about an open batch.
    #[serde(rename = "type")]
    interim: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Refusal {
    err_code: u64,
}

impl BatchReply {
    /// Reads a reply to a batch that is meant for `stream`.
    pub(crate) fn of(message: &Message, stream: &str) -> Self {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Self::Unknown;
        }
        match serde_json::from_slice(&message.payload) {
            Ok(Reply {
                count: Some(stored),
                seq: revision,
                stream: Some(found),
                ..
            }) if found == stream => Self::Ended { stored, revision },
            Ok(Reply {
                interim: Some(_), ..
            }) => Self::Open,
            Ok(Reply {
                error: Some(Refusal { err_code }),
                ..
            }) => match err_code {
                BATCHES_NOT_ENABLED => Self::NotEnabled,
                UNKNOWN_BATCH => Self::Unknown,
                _ => Self::Refused,
            },
            Ok(Reply { .. }) | Err(_) => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_in_reply_subjects() {
        assert_eq!(parse_position("7.1000.fail.12.1.$FI"), Some((7, 12)));
        for invalid in [
            "",
            "7",
            "7.1000.fail",
            "x.1000.fail.1.1.$FI",
            "7.1000.fail.0.1.$FI",
        ] {
            assert_eq!(parse_position(invalid), None, "{invalid}");
        }
    }
}
