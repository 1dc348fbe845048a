//! What may have killed a connection: messages that async-nats cannot parse.
//!
//! A malformed header in a stored message interrupts the connection that receives it, or ends it for good, and does the same to the next
//! connection, for ever. The reader that it ends cannot know what it was. So this process remembers where readers ended with their
//! connections, and the next ones read on carefully there (see `careful`), also on another connection: that is why this is a static.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::sync::Mutex;
use crate::transport::gate::Gate;

/// How many streams and subjects are remembered. Beyond that, the first ones are forgotten.
const MAX_REMEMBERED: usize = 10_000;

static STREAMS: Mutex<BTreeMap<String, Suspect>> = Mutex::new(BTreeMap::new());
static SUBJECTS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Where the malformed messages of a stream may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suspect {
    /// When the stream was created, if it is known: another one of its name is not suspect.
    pub(crate) created: Option<SystemTime>,
    /// The sequence of the last malformed message that was found; 0 for none.
    pub(crate) found: u64,
    /// A reader ended with its connection after this sequence, and what it would have read next is not looked at yet.
    pub(crate) after: Option<u64>,
}

/// Records that a reader of a stream ended with its connection after it had read up to `position`.
pub(crate) fn record(stream: &str, created: Option<SystemTime>, position: u64) {
    let mut streams = STREAMS.lock();
    if streams.len() >= MAX_REMEMBERED && !streams.contains_key(stream) {
        streams.pop_first();
    }
    let new = Suspect {
        created,
        found: 0,
        after: None,
    };
    let suspect = streams.entry(stream.to_owned()).or_insert(new);
    if suspect.created != created {
        *suspect = new;
    }
    suspect.after = suspect.after.max(Some(position));
}

pub(crate) fn of_stream(stream: &str) -> Option<Suspect> {
    STREAMS.lock().get(stream).copied()
}

/// Records a malformed message.
pub(crate) fn found(stream: &str, sequence: u64) {
    if let Some(suspect) = STREAMS.lock().get_mut(stream) {
        suspect.found = suspect.found.max(sequence);
        suspect.after = suspect.after.filter(|after| *after >= sequence);
    }
}

/// Records that a stream has no malformed message.
pub(crate) fn clear(stream: &str) {
    STREAMS.lock().remove(stream);
}

/// Whether the newest message of a subject may have interrupted a connection.
pub(crate) fn is_suspect(subject: &str) -> bool {
    let subjects = SUBJECTS.lock();
    // Most processes never meet one.
    !subjects.is_empty() && subjects.contains(subject)
}

pub(crate) fn clear_subject(subject: &str) {
    SUBJECTS.lock().remove(subject);
}

/// A read of the newest message of a subject. If it is dropped without its answer, and the connection broke since it began, the message
/// is suspect.
pub(crate) struct Read<'a> {
    gate: &'a Gate,
    subject: &'a str,
    connection: u64,
    is_answered: bool,
}

impl<'a> Read<'a> {
    pub(crate) fn begin(gate: &'a Gate, subject: &'a str) -> Self {
        Self {
            gate,
            subject,
            connection: gate.connection_epoch(),
            is_answered: false,
        }
    }

    pub(crate) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Read<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        if self.gate.connection_epoch() == self.connection && !self.gate.is_closed() {
            return;
        }
        let mut subjects = SUBJECTS.lock();
        if subjects.len() >= MAX_REMEMBERED {
            subjects.pop_first();
        }
        subjects.insert(self.subject.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_remembered_until_it_is_cleared() {
        let stream = "KV_suspects";
        assert_eq!(of_stream(stream), None);
        record(stream, None, 4);
        let suspect = of_stream(stream).unwrap();
        assert_eq!((suspect.found, suspect.after), (0, Some(4)));
        found(stream, 7);
        let suspect = of_stream(stream).unwrap();
        assert_eq!((suspect.found, suspect.after), (7, None));
        // A second one, later in the stream.
        record(stream, None, 9);
        let suspect = of_stream(stream).unwrap();
        assert_eq!((suspect.found, suspect.after), (7, Some(9)));
        // Another stream of this name.
        record(stream, Some(SystemTime::UNIX_EPOCH), 2);
        let suspect = of_stream(stream).unwrap();
        assert_eq!((suspect.found, suspect.after), (0, Some(2)));
        clear(stream);
        assert_eq!(of_stream(stream), None);
    }
}
