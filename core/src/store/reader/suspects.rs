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
    /// Up to where the messages after `position` were looked at, and how many these were.
    pub(crate) looked_up_to: u64,
    pub(crate) looked_at: usize,
    /// Whether no reader has ended here since it was last looked.
    pub(crate) is_looked_at: bool,
}

impl End {
    fn is_same(&self, other: &Self) -> bool {
        self.position == other.position && self.subjects == other.subjects
    }
}

/// Records that the reader of a range ended with its connection.
pub(crate) fn record(range: &Range, created: Option<SystemTime>, position: u64) {
    let end = End {
        subjects: range.subjects.clone(),
        position,
        looked_up_to: position,
        looked_at: 0,
        is_looked_at: false,
    };
    record_end(&range.stream, created, end);
}

fn record_end(stream: &str, created: Option<SystemTime>, end: End) {
    let mut streams = STREAMS.lock();
    if streams.len() >= MAX_REMEMBERED && !streams.contains_key(stream) {
        streams.pop_first();
    }
    let suspects = streams.entry(stream.to_owned()).or_default();
    let is_another = suspects
        .created
        .zip(created)
        .is_some_and(|(known, new)| known != new);
    if is_another {
        *suspects = Suspects::default();
    }
    // Readers that do not follow the stream do not know when it was created.
    suspects.created = created.or(suspects.created);
    // Nothing was found where a reader ended, and another one ended there: what follows is looked at too.
    if let Some(known) = suspects.ends.iter_mut().find(|known| known.is_same(&end)) {
        known.is_looked_at = false;
        return;
    }
    if suspects.ends.len() >= MAX_OF_STREAM {
        suspects.ends.retain(|known| !known.is_looked_at);
    }
    if suspects.ends.len() < MAX_OF_STREAM {
        suspects.ends.push(end);
    }
}

pub(crate) fn of_stream(stream: &str) -> Option<Suspects> {
    STREAMS.lock().get(stream).cloned()
}

/// Records that a message after an end is sound.
pub(crate) fn is_sound(stream: &str, end: &End, sequence: u64) {
    let mut streams = STREAMS.lock();
    let ends = streams.get_mut(stream).map(|it| it.ends.iter_mut());
    if let Some(known) = ends.and_then(|mut ends| ends.find(|known| known.is_same(end)))
        && known.looked_up_to < sequence
    {
        known.looked_up_to = sequence;
        known.looked_at += 1;
    }
}

/// Records what was found out about `looked_at`: exactly these messages are malformed. Of the ends, only those remain after which there
/// are more messages than were looked at.
pub(crate) fn looked_at(stream: &str, looked_at: &Suspects, malformed: impl Iterator<Item = u64>) {
    let mut streams = STREAMS.lock();
    let Some(suspects) = streams.get_mut(stream) else {
        return;
    };
    suspects.ends.retain_mut(|end| {
        let Some(looked) = looked_at.ends.iter().find(|looked| looked.is_same(end)) else {
            return true;
        };
        end.is_looked_at = true;
        looked.is_looked_at
    });
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
            looked_up_to: position,
            looked_at: 0,
            is_looked_at: false,
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
        // Another reader ends where not all was looked at: the next look goes on there.
        is_sound(stream, &end(9), 10);
        let mut half = suspects.clone();
        half.ends[0].is_looked_at = true;
        looked_at(stream, &half, std::iter::empty());
        assert!(of_stream(stream).unwrap().ends[0].is_looked_at);
        record_end(stream, None, end(9));
        let again = &of_stream(stream).unwrap().ends[0];
        assert_eq!(
            (again.looked_up_to, again.looked_at, again.is_looked_at),
            (10, 1, false)
        );
        // A reader that knows when the stream was created, and then another stream of this name.
        record_end(stream, Some(SystemTime::now()), end(9));
        assert_eq!(of_stream(stream).unwrap().ends[0].looked_at, 1);
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
