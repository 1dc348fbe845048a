//! The messages of a stream on the wire: which kind a message is, by its headers, and how batches are put together and measured.
//!
//! Pure functions over headers and payloads. Whatever a peer sends is read as one of the kinds of [`Received`]; nothing panics.

use async_nats::{HeaderMap, HeaderName, HeaderValue, Message, StatusCode, Subject};
use bytes::{BufMut, Bytes, BytesMut};

use crate::status::Status;
use crate::stream::delivery::first_message;
use crate::stream::flow::{Arrival, Credit};
use crate::transport::headers;

pub(crate) static SEQ: HeaderName = HeaderName::from_static("Nats-Stream-Seq");
pub(crate) static END: HeaderName = HeaderName::from_static("Nats-Stream-End");
pub(crate) static INBOX: HeaderName = HeaderName::from_static("Nats-Stream-Inbox");
pub(crate) static VERSION: HeaderName = HeaderName::from_static("Natsmicro-Stream");
pub(crate) static CREDIT: HeaderName = HeaderName::from_static("Natsmicro-Credit");
static OPENED: HeaderName = HeaderName::from_static("Natsmicro-Opened");
static CANCEL: HeaderName = HeaderName::from_static("Natsmicro-Cancel");
static ENDED: HeaderName = HeaderName::from_static("Natsmicro-Ended");
pub(crate) static RETURNED: HeaderName = HeaderName::from_static("Natsmicro-Returned");
pub(crate) static BATCH: HeaderName = HeaderName::from_static("Natsmicro-Batch");
pub(crate) static COUNT: HeaderName = HeaderName::from_static("Natsmicro-Count");

/// The version of the extension that this crate speaks.
pub(crate) const EXTENSION_VERSION: &str = "1";

/// The bounds of a batch. Larger batches save nothing more: the cost per NATS message is spread over enough messages of the stream.
const MAX_BATCH_BYTES: usize = 32 * 1024;
const MAX_BATCH_MESSAGES: u64 = 512;

/// The kinds of messages on the inbox of a stream.
#[derive(Debug)]
pub(crate) enum Received {
    /// The NATS server reports that a message was published to a subject without a subscription.
    NoResponders,
    /// Messages of the stream.
    Messages(Arrival, Message),
    End {
        status: Option<Status>,
        announced: Option<u64>,
        message: Message,
    },
    Control(Control),
    /// A message without headers of the protocol: the response to a stream of requests, or an error reply.
    Response(Message),
    Malformed(&'static str),
}

/// A control message: it carries no message of the stream.
#[derive(Debug)]
pub(crate) struct Control {
    /// The inbox of the service.
    pub(crate) inbox: Option<Subject>,
    /// The service confirms the extension.
    pub(crate) confirmed: bool,
    pub(crate) credit: Option<Credit>,
    /// The number of messages of the stream that were sent before this one.
    pub(crate) sent: Option<u64>,
    /// The service answers to the reply subject of a control message of the caller.
    pub(crate) returned: bool,
    pub(crate) state: StreamState,
    pub(crate) message: Message,
}

/// What one end announces of its state, in control messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StreamState {
    /// The handler has returned its stream.
    pub(crate) opened: bool,
    /// The end was sent.
    pub(crate) ended: bool,
    /// The messages of the peer are no longer read.
    pub(crate) cancelled: bool,
}

impl StreamState {
    fn read(headers: &HeaderMap) -> Self {
        let has = |name: &HeaderName| headers.get(name.clone()).is_some();
        Self {
            opened: has(&OPENED),
            ended: has(&ENDED),
            cancelled: has(&CANCEL),
        }
    }

    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let flags = [
            (self.opened, &OPENED),
            (self.ended, &ENDED),
            (self.cancelled, &CANCEL),
        ];
        for (_, name) in flags.into_iter().filter(|(is_set, _)| *is_set) {
            headers.insert(name.clone(), HeaderValue::from("true"));
        }
    }
}

/// Reads a message of the inbox.
pub(crate) fn read(message: Message) -> Received {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Received::NoResponders;
    }
    let Some(headers) = &message.headers else {
        return Received::Response(message);
    };
    let has = |name: &HeaderName| headers.get(name.clone()).is_some();
    if has(&END) {
        if has(&SEQ) && !message.payload.is_empty() {
            return Received::Malformed("a message with both a number and the mark of the end");
        }
        return Received::End {
            status: headers::read_status(&message),
            announced: number(headers, &COUNT),
            message,
        };
    }
    if has(&SEQ) {
        return messages(message);
    }
    let is_control = [&INBOX, &VERSION, &CREDIT, &OPENED, &CANCEL, &RETURNED]
        .into_iter()
        .any(has);
    if is_control && headers::read_status(&message).is_none() {
        let text = |name: &HeaderName| headers.get(name.clone()).map(HeaderValue::as_str);
        return Received::Control(Control {
            inbox: text(&INBOX).map(Subject::from),
            confirmed: text(&VERSION) == Some(EXTENSION_VERSION),
            credit: credit(headers),
            sent: number(headers, &COUNT),
            returned: has(&RETURNED),
            state: StreamState::read(headers),
            message,
        });
    }
    Received::Response(message)
}

fn messages(mut message: Message) -> Received {
    let Some(headers) = &message.headers else {
        return Received::Malformed("a message without a number");
    };
    let Some(first) = number(headers, &SEQ) else {
        return Received::Malformed("a message with an invalid number");
    };
    let has_lengths = headers.get(BATCH.clone()).is_some();
    let measured = if has_lengths {
        number(headers, &BATCH).and_then(|count| measure(&message.payload, count))
    } else {
        Some((1, 0, message.payload.len() as u64))
    };
    match measured {
        Some((count, leading_bytes, last_bytes)) => {
            if count == 1 && has_lengths {
                let alone = first_message(&message.payload).unwrap_or_default();
                message.payload = message.payload.slice(alone);
            }
            let arrival = Arrival {
                first,
                count,
                leading_bytes,
                last_bytes,
            };
            Received::Messages(arrival, message)
        }
        None => Received::Malformed("a batch whose lengths do not add up"),
    }
}

/// The credit in the offer of a caller; `None` if the caller does not speak this version of the extension.
pub(crate) fn offered_credit(headers: &HeaderMap) -> Option<Credit> {
    let version = headers.get(VERSION.clone())?;
    (version.as_str() == EXTENSION_VERSION).then(|| credit(headers))?
}

fn credit(headers: &HeaderMap) -> Option<Credit> {
    headers.get(CREDIT.clone())?.as_str().parse().ok()
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name.clone())?.as_str().parse().ok()
}

/// The number of messages in a batch, the bytes of all but the last one, and those of the last one. `None` if the payload does not
/// consist of `announced` messages.
fn measure(mut payload: &[u8], announced: u64) -> Option<(u64, u64, u64)> {
    let (mut count, mut leading, mut last) = (0, 0, 0);
    while !payload.is_empty() {
        if count == announced {
            return None;
        }
        let message = first_message(payload)?;
        count += 1;
        leading += last;
        last = message.len() as u64;
        payload = payload.get(message.end..)?;
    }
    (count == announced && count > 0).then_some((count, leading, last))
}

/// Consecutive messages that are sent as one.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The number of the first message.
    first: u64,
    count: u64,
    /// The only message while `count` is 1, sent without a length; empty afterwards.
    single: Bytes,
    /// All messages with their lengths; empty while `count` is 1.
    joined: BytesMut,
    /// The largest payload of the batch in bytes. Only a single message may exceed it.
    limit: usize,
}

impl Batch {
    /// A batch that begins with this message, which may be of any size.
    pub(crate) fn new(first: u64, message: Bytes, max_payload: usize) -> Self {
        Self {
            first,
            count: 1,
            single: message,
            joined: BytesMut::new(),
            // The payload limit of the server includes the headers.
            limit: MAX_BATCH_BYTES.min(max_payload.saturating_sub(512)),
        }
    }

    fn len(&self) -> usize {
        if self.count == 1 {
            prefix_len(self.single.len()) + self.single.len()
        } else {
            self.joined.len()
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.count < MAX_BATCH_MESSAGES && self.len() < self.limit
    }

    /// Adds a message; returns it if it does not fit.
    pub(crate) fn push(&mut self, message: Bytes) -> Result<(), Bytes> {
        let length = prefix_len(message.len()) + message.len();
        if self.len() + length > self.limit {
            return Err(message);
        }
        if self.count == 1 {
            self.joined.reserve(self.limit.min(self.len() + 8 * length));
            let single = std::mem::take(&mut self.single);
            put_with_length(&mut self.joined, &single);
        }
        put_with_length(&mut self.joined, &message);
        self.count += 1;
        Ok(())
    }

    /// Adds the headers of the batch to `headers`; returns the payload.
    pub(crate) fn finish(self, headers: &mut HeaderMap) -> Bytes {
        headers.insert(SEQ.clone(), HeaderValue::from(self.first));
        if self.count == 1 {
            return self.single;
        }
        headers.insert(BATCH.clone(), HeaderValue::from(self.count));
        self.joined.freeze()
    }
}

fn put_with_length(joined: &mut BytesMut, message: &[u8]) {
    let mut length = message.len();
    while length >= 0x80 {
        joined.put_u8(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    joined.put_u8(length.to_le_bytes()[0]);
    joined.put_slice(message);
}

/// The size of the length prefix of a message, a protobuf varint.
fn prefix_len(length: usize) -> usize {
    let bits = usize::BITS - length.leading_zeros();
    (bits.div_ceil(7) as usize).max(1)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
