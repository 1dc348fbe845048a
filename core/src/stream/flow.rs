//! Flow control and the sequence check of one direction of a stream, as plain state: no time, no NATS.
//!
//! A sender that keeps to its credit never overruns the window of its receiver, whatever happens to the grants on their way. A
//! receiver accepts the complete sequence of messages and nothing else.

use std::fmt;
use std::str::FromStr;

/// The messages and bytes that are held of a stream whose sender does not speak the extension and so has no credit.
pub(crate) const PLAIN_WINDOW: Credit = Credit {
    messages: 65_536,
    bytes: 64 * 1024 * 1024,
};

/// An amount of messages and bytes, counted from the beginning of the stream: granted, sent, received or consumed. Because a grant is
/// a total and not an increment, one that is lost or repeated does no harm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credit {
    pub(crate) messages: u64,
    /// As a grant: a message may be sent while fewer bytes were sent before it, so the last one may be of any size.
    pub(crate) bytes: u64,
}

/// The window of a stream whose sender may be this many messages and bytes ahead of the reader. The last message may exceed the bytes.
pub(crate) fn window(messages: u32, bytes: u64) -> Credit {
    Credit {
        messages: messages.into(),
        bytes,
    }
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

/// The sending side of one direction. A message is sent only while `sent` is below `granted` in both parts.
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

    /// Counts a message that is sent; returns its number.
    pub(crate) fn send(&mut self, bytes: usize) -> u64 {
        self.sent.messages += 1;
        self.sent.bytes += bytes as u64;
        self.sent.messages
    }

    /// The number of messages that were sent.
    pub(crate) fn count(&self) -> u64 {
        self.sent.messages
    }

    /// Raises the grant. An older one that arrives late changes nothing.
    pub(crate) fn grant(&mut self, credit: Credit) {
        self.granted.messages = self.granted.messages.max(credit.messages);
        self.granted.bytes = self.granted.bytes.max(credit.bytes);
    }
}

/// Some consecutive messages that arrived together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The number of the first message.
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// The bytes of all messages but the last one.
    pub(crate) leading_bytes: u64,
    pub(crate) last_bytes: u64,
}

/// How a stream violates the protocol or has lost messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The messages from `expected` to the one before `got` are lost.
    Gap { expected: u64, got: u64 },
    /// A message arrived twice.
    Repeated { number: u64 },
    /// The sender exceeded its credit.
    Overrun,
    /// The messages after `received` are lost.
    Truncated { announced: u64, received: u64 },
    /// The end is lost, and with it perhaps an error.
    EndLost,
}

/// The receiving side of one direction. `ended` implies `closed`; neither is ever reset.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    received: Credit,
    /// Nothing more is accepted: the end has arrived, or the stream has failed.
    closed: bool,
    /// The end of the peer's messages has arrived.
    ended: bool,
}

impl Inbound {
    /// Accepts messages (`Ok(true)`). After the end they are ignored (`Ok(false)`).
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

    /// Accepts the end (`Ok(true)`), with the number of messages that the sender announces. A second end is ignored (`Ok(false)`).
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

    /// Compares the received messages with what a heartbeat announces as sent before it.
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

    /// Ignores all that arrives from now on.
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
