//! The bodies of requests and replies, in bytes: one message, or a stream of messages.

use std::fmt;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::status::Status;
use crate::transport::claim::Claim;

/// A stream of encoded messages.
pub(crate) type Messages = BoxStream<'static, Result<Bytes, Status>>;

/// The body of a request.
pub(crate) enum Body {
    Message(Bytes),
    Stream(Messages),
}

/// The body of a reply to a call that has succeeded.
pub(crate) enum Answer {
    Message(Bytes),
    Stream(Messages),
    /// A response that is too large for a message and is stored: the reply refers to the object. Boxed, so that an answer is as small as a
    /// message.
    Object(Box<StoredResponse>),
}

/// A response with the reference to the object that holds it.
pub(crate) struct StoredResponse {
    pub(crate) response: Bytes,
    pub(crate) claim: Box<Claim>,
}

impl Body {
    /// The message; empty for a stream.
    pub(crate) fn message(&self) -> &[u8] {
        match self {
            Self::Message(message) => message,
            Self::Stream(_) => &[],
        }
    }
}

impl Answer {
    /// The reference to a response that is stored, in place of the message that is too large for a reply.
    pub(crate) fn stored_as(self, claim: Box<Claim>) -> Self {
        match self {
            Self::Message(response) => Self::Object(Box::new(StoredResponse { response, claim })),
            other => other,
        }
    }

    /// The messages of a stream. A layer may have answered it with one message.
    pub(crate) fn into_messages(self) -> Messages {
        match self {
            Self::Stream(messages) => messages,
            Self::Message(message) => futures::stream::iter([Ok(message)]).boxed(),
            Self::Object(stored) => futures::stream::iter([Ok(stored.response)]).boxed(),
        }
    }

    /// The message; empty for a stream.
    pub(crate) fn message(&self) -> &[u8] {
        match self {
            Self::Message(message) => message,
            Self::Object(stored) => &stored.response,
            Self::Stream(_) => &[],
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => write!(f, "message of {} bytes", message.len()),
            Self::Stream(_) => f.write_str("stream"),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => write!(f, "message of {} bytes", message.len()),
            Self::Stream(_) => f.write_str("stream"),
            Self::Object(stored) => write!(f, "object of {} bytes", stored.response.len()),
        }
    }
}
