//! What a service and nats-server tell each other of a batch.

use async_nats::{Message, StatusCode, Subject};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What the server says of a bucket that takes no batches, and of a batch that it does not know, or no more.
const NO_BATCHES: u64 = 10_205;
const UNKNOWN_BATCH: u64 = 10_208;

/// What a message does.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    Begin = 0,
    Add = 1,
    AddLast = 2,
    /// Ends the batch, and is not stored.
    End = 3,
}

/// Which batch a message belongs to, its place there, counted from 1, and what it does.
pub(crate) fn reply_subject(inbox: &str, batch: u64, place: usize, step: Step) -> Subject {
    let step = step as u8;
    // `fail`: a message that is missing ends the batch. Acknowledgements in between are of no use here.
    Subject::from(format!("{inbox}{batch}.1000.fail.{place}.{step}.$FI"))
}

/// The number of a batch, and the place in it, of a reply subject behind its inbox.
pub(crate) fn place_of(subject: &str) -> Option<(u64, usize)> {
    let mut tokens = subject.split('.');
    let number = tokens.next()?.parse().ok()?;
    let place = tokens.nth(2)?.parse().ok().filter(|place| *place > 0)?;
    Some((number, place))
}

/// What the server says of a batch.
pub(crate) enum Answer {
    /// It goes on, or is about to be ended.
    GoesOn,
    /// It is over, with so many of its messages stored from the first one on.
    Ended {
        stored: usize,
        /// That of the last one.
        revision: Option<u64>,
    },
    /// One of its messages is not taken.
    Refused,
    /// The same, since the bucket takes no batches.
    NoBatches,
    /// Nobody knows it.
    Unknown,
}

/// What matters here of what the server sends.
#[derive(Deserialize)]
struct Reply {
    /// In the message that ends a batch.
    count: Option<usize>,
    seq: Option<u64>,
    /// In one that refuses a message.
    error: Option<Refusal>,
    /// In what is said of a batch that is not over.
    #[serde(rename = "type")]
    interim: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Refusal {
    err_code: u64,
}

impl Answer {
    pub(crate) fn of(message: &Message) -> Self {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Self::Unknown;
        }
        match serde_json::from_slice(&message.payload) {
            Ok(Reply {
                count: Some(stored),
                seq: revision,
                ..
            }) => Self::Ended { stored, revision },
            Ok(Reply {
                interim: Some(_), ..
            }) => Self::GoesOn,
            Ok(Reply {
                error: Some(Refusal { err_code }),
                ..
            }) => match err_code {
                NO_BATCHES => Self::NoBatches,
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
    fn places() {
        assert_eq!(place_of("7.1000.fail.12.1.$FI"), Some((7, 12)));
        for odd in [
            "",
            "7",
            "7.1000.fail",
            "x.1000.fail.1.1.$FI",
            "7.1000.fail.0.1.$FI",
        ] {
            assert_eq!(place_of(odd), None, "{odd}");
        }
    }
}
