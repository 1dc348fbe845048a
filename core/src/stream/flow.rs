//! How far a sender may run ahead, and what a receiver must get, as plain state: no time, no NATS.

use std::fmt;
use std::str::FromStr;

/// How many bytes the sender of a stream may be ahead of the reader. The last message may be the greater part of them.
const WINDOW_BYTES: u64 = 1024 * 1024;
/// What is held of a stream whose sender knows no credit.
pub(crate) const PLAIN_WINDOW: Credit = Credit {
    messages: 65_536,
    bytes: 64 * 1024 * 1024,
};

pub(crate) fn window(messages: u32) -> Credit {
    Credit {
        messages: messages.into(),
        bytes: WINDOW_BYTES,
    }
}

/// How much one side lets the other send, counted from the beginning of the stream. Because it is a sum and not a difference, a
/// grant that is lost or repeated does no harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credit {
    pub(crate) messages: u64,
    /// A message may be sent while fewer bytes than this were: the last one may be of any size.
    pub(crate) bytes: u64,
}

impl Credit {
    pub(crate) const UNLIMITED: Self = Self {
        messages: u64::MAX,
        bytes: u64::MAX,
    };

    pub(crate) fn after(self, consumed: Self) -> Self {
        Self {
            messages: self.messages.saturating_add(consumed.messages),
            bytes: self.bytes.saturating_add(consumed.bytes),
        }
    }
}

impl fmt::Display for Credit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.messages, self.bytes)
    }
}

impl FromStr for Credit {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (messages, bytes) = text.split_once(' ').unwrap_or((text, ""));
        Ok(Self {
            messages: messages.parse()?,
            bytes: bytes.parse()?,
        })
    }
}

/// The sending side of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outbound {
    sent: Credit,
    granted: Credit,
}

impl Outbound {
    pub(crate) fn new(granted: Credit) -> Self {
        Self {
            sent: Credit::default(),
            granted,
        }
    }

    pub(crate) fn may_send(&self) -> bool {
        self.sent.messages < self.granted.messages && self.sent.bytes < self.granted.bytes
    }

    /// Takes note of a message that goes out; gives its number.
    pub(crate) fn send(&mut self, bytes: usize) -> u64 {
        self.sent.messages += 1;
        self.sent.bytes += bytes as u64;
        self.sent.messages
    }

    /// How many messages went out.
    pub(crate) fn count(&self) -> u64 {
        self.sent.messages
    }

    /// Grants only grow; an older one that arrives late changes nothing.
    pub(crate) fn grant(&mut self, credit: Credit) {
        self.granted.messages = self.granted.messages.max(credit.messages);
        self.granted.bytes = self.granted.bytes.max(credit.bytes);
    }
}

/// Some consecutive messages that arrived together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The number of the first one.
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// The bytes of all but the last one, and those of the last one.
    pub(crate) leading_bytes: u64,
    pub(crate) last_bytes: u64,
}

/// What is wrong with an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A message between these two never arrived.
    Gap { expected: u64, got: u64 },
    /// A message that was received before.
    Repeated { number: u64 },
    /// More than was granted.
    Overrun,
    /// The last messages never arrived.
    Truncated { announced: u64, received: u64 },
    /// The end never arrived, and with it perhaps an error.
    EndLost,
}

/// The receiving side of one direction.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    received: Credit,
    /// Nothing more counts.
    closed: bool,
    /// The end has arrived.
    ended: bool,
}

impl Inbound {
    /// Accepts messages, or says what is wrong with them. What comes after the end is nothing: `Ok(false)`.
    pub(crate) fn receive(&mut self, arrival: Arrival, granted: Credit) -> Result<bool, Fault> {
        if self.closed {
            return Ok(false);
        }
        let expected = self.received.messages + 1;
        let got = arrival.first;
        if got < expected {
            return Err(Fault::Repeated { number: got });
        }
        if got > expected {
            return Err(Fault::Gap { expected, got });
        }
        let before_last = self.received.bytes.saturating_add(arrival.leading_bytes);
        let messages = self.received.messages.saturating_add(arrival.count);
        if messages > granted.messages || before_last >= granted.bytes {
            return Err(Fault::Overrun);
        }
        self.received = Credit {
            messages,
            bytes: before_last.saturating_add(arrival.last_bytes),
        };
        Ok(true)
    }

    /// Takes note of the end, with the number of messages that the sender says it sent. A second end is nothing: `Ok(false)`.
    pub(crate) fn end(&mut self, announced: Option<u64>) -> Result<bool, Fault> {
        self.ended = true;
        if std::mem::replace(&mut self.closed, true) {
            return Ok(false);
        }
        match announced {
            Some(announced) if announced != self.received.messages => Err(Fault::Truncated {
                announced,
                received: self.received.messages,
            }),
            _ => Ok(true),
        }
    }

    /// Compares with what the sender says it has sent before.
    pub(crate) fn check(&self, sent: Option<u64>, ended: bool) -> Result<(), Fault> {
        let received = self.received.messages;
        match sent {
            _ if self.closed => Ok(()),
            Some(announced) if announced > received => Err(Fault::Truncated {
                announced,
                received,
            }),
            _ if ended => Err(Fault::EndLost),
            _ => Ok(()),
        }
    }

    /// From now on nothing counts.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
