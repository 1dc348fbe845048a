//! Messages to publish, and why they may not be.

use std::fmt;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;

use crate::transport::headers::headers_len;
use crate::transport::subject::PeerSubject;

/// A message to publish.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: Subject,
    /// Where answers go, or the notice of the NATS server that nobody listens on the subject.
    pub(crate) reply: Option<Subject>,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    /// A message to a subject of this crate's own making: an endpoint that is called, a bucket, the API of JetStream. It is text and
    /// no [`Subject`], as which the subjects of peers arrive.
    pub(crate) fn to(subject: impl Into<String>) -> Self {
        Self::to_own(Subject::from(subject.into()))
    }

    /// The same, for a subject that is kept for many messages.
    pub(crate) fn to_own(subject: Subject) -> Self {
        Self {
            subject,
            reply: None,
            headers: HeaderMap::new(),
            payload: Bytes::new(),
        }
    }

    /// A message to a peer.
    pub(crate) fn to_peer(subject: &PeerSubject) -> Self {
        Self::to_own(subject.subject().clone())
    }

    pub(crate) fn with_reply(mut self, reply: Subject) -> Self {
        self.reply = Some(reply);
        self
    }

    pub(crate) fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    pub(crate) fn with_payload(mut self, payload: Bytes) -> Self {
        self.payload = payload;
        self
    }

    /// Takes headers and payload out.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            subject: self.subject.clone(),
            reply: self.reply.take(),
            headers: std::mem::take(&mut self.headers),
            payload: std::mem::take(&mut self.payload),
        }
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Its size as it counts towards `max_payload`.
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + headers_len(&self.headers)
    }
}

/// Why a message was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishError {
    /// It has more bytes than the NATS server takes.
    TooLarge,
    /// A subject has a space, an empty token or the like, or both are too long for a protocol line.
    InvalidSubject,
    /// There are too many like it.
    Refused,
    /// The connection is closed.
    Closed,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the message is larger than the NATS server takes",
            Self::InvalidSubject => "the subject cannot be one, or is too long",
            Self::Refused => "too many messages wait for the connection",
            Self::Closed => "the connection is closed",
        })
    }
}

impl std::error::Error for PublishError {}
