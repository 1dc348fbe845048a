//! The last messages that a reader has read, by which it knows its stream again.
//!
//! A sequence number does not tell that a stream is the same: after a snapshot was put back, or a power cut, others may have written past
//! the last position of a reader that was away. So a consumer that takes over delivers the messages of the trail again, and they are
//! compared.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::descriptor::operation::Operation;
use crate::store::reader::delivery::BucketMessage;

/// How many messages are remembered. Each is delivered again when a reader resumes.
const LENGTH: usize = 16;

/// Invariant: the footprints are those of successive messages of the range, unless `is_settled` is false.
#[derive(Default)]
pub(crate) struct Trail {
    footprints: VecDeque<Footprint>,
    /// Whether all footprints are known to be those of the stream as it is.
    is_settled: bool,
}

struct Footprint {
    sequence: u64,
    published: SystemTime,
    subject: String,
    /// Whether it stores no value: nothing is lost if it goes.
    is_marker: bool,
    /// Whether the stream still has the message, or a later one of its subject.
    is_confirmed: bool,
}

impl Trail {
    pub(crate) fn new() -> Self {
        Self {
            footprints: VecDeque::with_capacity(LENGTH),
            is_settled: true,
        }
    }

    /// The sequence of the first message; `None` if nothing was read.
    pub(crate) fn start(&self) -> Option<u64> {
        self.footprints.front().map(|first| first.sequence)
    }

    /// The sequence of the last message; `None` if nothing was read.
    pub(crate) fn end(&self) -> Option<u64> {
        self.footprints.back().map(|last| last.sequence)
    }

    /// Adds a message that was not read before.
    pub(crate) fn add(&mut self, message: &BucketMessage) {
        if !self.is_settled {
            self.confirm(message);
            return;
        }
        let is_marker = message.operation() != Operation::Put;
        // Reuses the text: this runs for every message.
        let mut footprint = if self.footprints.len() < LENGTH {
            Footprint {
                sequence: 0,
                published: message.published,
                subject: String::new(),
                is_marker,
                is_confirmed: true,
            }
        } else if let Some(oldest) = self.footprints.pop_front() {
            oldest
        } else {
            return;
        };
        footprint.sequence = message.sequence;
        footprint.published = message.published;
        footprint.is_marker = is_marker;
        footprint.is_confirmed = true;
        footprint.subject.clear();
        footprint.subject.push_str(&message.subject);
        self.footprints.push_back(footprint);
    }

    /// Forgets all but the last message: those before it were not successive ones of the range.
    pub(crate) fn keep_last(&mut self) {
        self.footprints
            .drain(..self.footprints.len().saturating_sub(1));
    }

    pub(crate) fn clear(&mut self) {
        self.footprints.clear();
        self.is_settled = true;
    }

    /// The messages are delivered again from now on, by the stream as it is.
    pub(crate) fn retrace(&mut self) {
        for footprint in &mut self.footprints {
            footprint.is_confirmed = false;
        }
        self.is_settled = self.footprints.is_empty();
    }

    /// Whether a message that was delivered before is the one that was read then.
    pub(crate) fn recognises(&mut self, message: &BucketMessage) -> bool {
        let (first, last) = (self.footprints.front(), self.footprints.back());
        let is_remembered = first.is_some_and(|first| first.sequence <= message.sequence)
            && last.is_some_and(|last| message.sequence <= last.sequence);
        if !is_remembered {
            return true;
        }
        let mut footprints = self.footprints.iter();
        let is_known = footprints.any(|footprint| {
            footprint.sequence == message.sequence
                && footprint.published == message.published
                && footprint.subject == message.subject.as_str()
        });
        self.confirm(message);
        is_known
    }

    /// All that the stream has was delivered. Whether it has all values that were read, or later ones in their place.
    pub(crate) fn settle(&mut self) -> bool {
        let is_complete = self.is_settled
            || self
                .footprints
                .iter()
                .all(|footprint| footprint.is_confirmed || footprint.is_marker);
        self.is_settled = true;
        is_complete
    }

    /// The subjects of the values that were read and not delivered again yet.
    pub(crate) fn unconfirmed(&self) -> Vec<String> {
        let mut subjects: Vec<_> = self
            .footprints
            .iter()
            .filter(|footprint| !self.is_settled && !footprint.is_confirmed)
            .filter(|footprint| !footprint.is_marker)
            .map(|footprint| footprint.subject.clone())
            .collect();
        subjects.dedup();
        subjects
    }

    /// The leader of the stream has this as the newest message of its subject: what was read of that, or something later.
    pub(crate) fn confirm_newest(&mut self, newest: &BucketMessage) {
        for footprint in &mut self.footprints {
            let is_same =
                footprint.sequence == newest.sequence && footprint.published == newest.published;
            footprint.is_confirmed |= footprint.subject == newest.subject.as_str()
                && (footprint.sequence < newest.sequence || is_same);
        }
    }

    fn confirm(&mut self, message: &BucketMessage) {
        if self.is_settled {
            return;
        }
        for footprint in &mut self.footprints {
            footprint.is_confirmed |= footprint.sequence <= message.sequence
                && footprint.subject == message.subject.as_str();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_nats::HeaderMap;

    use super::*;

    fn message(sequence: u64, subject: &'static str, second: u64) -> BucketMessage {
        BucketMessage {
            subject: subject.into(),
            headers: None,
            payload: bytes::Bytes::new(),
            sequence,
            published: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            is_malformed: false,
            is_repeated: false,
        }
    }

    fn read(messages: &[(u64, &'static str)]) -> Trail {
        let mut trail = Trail::new();
        for &(sequence, subject) in messages {
            trail.add(&message(sequence, subject, sequence));
        }
        trail
    }

    #[test]
    fn the_same_stream_is_recognised() {
        let mut trail = read(&[(1, "a"), (2, "b"), (3, "a")]);
        assert_eq!(trail.start(), Some(1));
        trail.retrace();
        // The first one was superseded, and so is the second one now.
        assert!(trail.recognises(&message(3, "a", 3)));
        trail.add(&message(4, "b", 4));
        assert!(trail.settle());
        trail.add(&message(5, "c", 5));
        trail.retrace();
        assert!(trail.recognises(&message(5, "c", 5)));
    }

    #[test]
    fn another_message_in_the_place_of_one_is_not() {
        for other in [message(2, "b", 7), message(2, "c", 2)] {
            let mut trail = read(&[(1, "a"), (2, "b")]);
            trail.retrace();
            assert!(!trail.recognises(&other));
        }
    }

    #[test]
    fn a_value_that_is_gone_is_noticed_and_a_marker_is_not() {
        let mut trail = read(&[(1, "a"), (2, "b")]);
        trail.retrace();
        assert!(trail.recognises(&message(1, "a", 1)));
        trail.add(&message(9, "c", 9));
        assert!(!trail.settle());

        let mut trail = read(&[(1, "a")]);
        let mut marker = message(2, "b", 2);
        marker.headers = Some(HeaderMap::from_iter([(
            "KV-Operation".parse().unwrap(),
            "DEL".parse().unwrap(),
        )]));
        trail.add(&marker);
        trail.retrace();
        assert!(trail.recognises(&message(1, "a", 1)));
        assert!(trail.settle());
    }

    #[test]
    fn what_a_replica_lacks_and_the_leader_has_is_not_lost() {
        let mut trail = read(&[(1, "a"), (2, "b"), (3, "c")]);
        trail.retrace();
        assert!(trail.recognises(&message(1, "a", 1)));
        assert_eq!(trail.unconfirmed(), ["b", "c"]);
        trail.confirm_newest(&message(7, "b", 7));
        // Another message stands in its place.
        trail.confirm_newest(&message(3, "c", 9));
        assert_eq!(trail.unconfirmed(), ["c"]);
        trail.confirm_newest(&message(3, "c", 3));
        assert!(trail.unconfirmed().is_empty());
        assert!(trail.settle());
        assert!(trail.recognises(&message(2, "b", 2)), "it comes later");
    }

    #[test]
    fn what_is_older_is_forgotten() {
        let mut trail = Trail::new();
        for sequence in 1..=40 {
            trail.add(&message(sequence, "a", sequence));
        }
        assert_eq!(trail.start(), Some(41 - LENGTH as u64));
        trail.retrace();
        assert!(
            trail.recognises(&message(3, "a", 77)),
            "nothing is known of it"
        );
    }
}
