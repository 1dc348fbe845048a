//! What may have killed a connection: messages that async-nats cannot parse.
//!
//! A malformed header in a stored message interrupts the connection that receives it, or ends it for good, and does the same to the next
//! connection, for ever. The reader that it ends cannot know what it was. So this process remembers where readers ended with their
//! connections, and the next ones look there before they make a consumer, also on another connection: that is why this is a static.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::store::reader::range::Range;
use crate::sync::Mutex;
use crate::transport::gate::Gate;

/// How many streams and subjects are remembered. Beyond that, the first ones are forgotten.
const MAX_REMEMBERED: usize = 10_000;
/// How many of each are remembered for a stream.
const MAX_OF_STREAM: usize = 1_000;

static STREAMS: Mutex<BTreeMap<String, Suspects>> = Mutex::new(BTreeMap::new());
static SUBJECTS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The malformed messages of a stream, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suspects {
    /// When the stream was created, if it is known: another one of its name is not suspect.
    pub(crate) created: Option<SystemTime>,
    /// The sequences of malformed messages.
    pub(crate) found: BTreeSet<u64>,
    /// Where readers ended, and what comes there is not looked at yet.
    pub(crate) ends: Vec<End>,
}

/// A reader of these subjects ended with its connection when it had read up to this sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) subjects: Vec<String>,
    pub(crate) position: u64,
}

/// Records that the reader of a range ended with its connection.
pub(crate) fn record(range: &Range, created: Option<SystemTime>, position: u64) {
    let end = End {
        subjects: range.subjects.clone(),
        position,
    };
    record_end(&range.stream, created, end);
}

fn record_end(stream: &str, created: Option<SystemTime>, end: End) {
    let mut streams = STREAMS.lock();
    if streams.len() >= MAX_REMEMBERED && !streams.contains_key(stream) {
        streams.pop_first();
    }
    let suspects = streams.entry(stream.to_owned()).or_default();
    if suspects.created != created {
        *suspects = Suspects {
            created,
            ..Suspects::default()
        };
    }
    if suspects.ends.len() < MAX_OF_STREAM && !suspects.ends.contains(&end) {
        suspects.ends.push(end);
    }
}

pub(crate) fn of_stream(stream: &str) -> Option<Suspects> {
    STREAMS.lock().get(stream).cloned()
}

/// Records what was found out about `looked_at`: exactly these messages are malformed.
pub(crate) fn looked_at(stream: &str, looked_at: &Suspects, malformed: impl Iterator<Item = u64>) {
    let mut streams = STREAMS.lock();
    let Some(suspects) = streams.get_mut(stream) else {
        return;
    };
    suspects.ends.retain(|end| !looked_at.ends.contains(end));
    suspects.found.retain(|it| !looked_at.found.contains(it));
    suspects.found.extend(malformed);
    while suspects.found.len() > MAX_OF_STREAM {
        suspects.found.pop_first();
    }
    if suspects.ends.is_empty() && suspects.found.is_empty() {
        streams.remove(stream);
    }
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
        let is_connected =
            self.gate.connection_epoch() == self.connection && !self.gate.is_closed();
        if self.is_answered || is_connected {
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

    fn end(position: u64) -> End {
        End {
            subjects: vec!["a".to_owned()],
            position,
        }
    }

    #[test]
    fn what_is_found_is_remembered_as_long_as_it_is_there() {
        let stream = "KV_suspects";
        assert_eq!(of_stream(stream), None);
        record_end(stream, None, end(4));
        record_end(stream, None, end(4));
        let suspects = of_stream(stream).unwrap();
        assert_eq!(suspects.ends, [end(4)]);
        looked_at(stream, &suspects, [7].into_iter());
        // A second one, later in the stream, while the first is looked at again.
        let first = of_stream(stream).unwrap();
        record_end(stream, None, end(9));
        looked_at(stream, &first, [7].into_iter());
        let suspects = of_stream(stream).unwrap();
        assert_eq!(
            (suspects.found.len(), &suspects.ends[..]),
            (1, &[end(9)][..])
        );
        // Another stream of this name.
        record_end(stream, Some(SystemTime::UNIX_EPOCH), end(2));
        let suspects = of_stream(stream).unwrap();
        assert_eq!(
            (suspects.found.len(), &suspects.ends[..]),
            (0, &[end(2)][..])
        );
        looked_at(stream, &suspects, std::iter::empty());
        assert_eq!(of_stream(stream), None);
    }
}
