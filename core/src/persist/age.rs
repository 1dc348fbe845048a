//! The age of a write, which counts from when it was queued, and what its key may hold that is newer.
//!
//! A write that is made soon is made at once, whatever its key holds. One that is *late* reads its key first, as a repetition does, and
//! stands back for a value that was written after it was queued: that value may have been acknowledged to somebody long ago.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use tokio::time::Instant;

use crate::store::error::StoreError;
use crate::store::kv::bucket::KvBucket;
use crate::transport::gate::Gate;

/// How long after it was queued a write may still be made without reading its key. A full queue takes less where nothing is wrong, so that
/// load alone makes few writes late; a cluster that lost a leader takes longer.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// When a write was queued, and how far the bucket had been written then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteStart {
    at: Instant,
    /// From then on the write is late.
    late_from: Instant,
    /// The newest place that the bucket had acknowledged by then.
    newest: Option<Place>,
    /// The epoch of the connection.
    connection: u64,
}

/// A moment at which writes are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    /// The epoch of the connection; `None` while it is down.
    pub(crate) connection: Option<u64>,
}

/// A revision that a bucket has acknowledged. One that is made again under the same name begins again with the first revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// When the bucket was created, as it was known before the write at this place was sent. If it has been made again since then, this is
    /// the time of an earlier bucket; it is never that of a later one. Places of a later bucket are greater.
    pub(crate) created: SystemTime,
    pub(crate) revision: u64,
}

/// What is known of the place of an ended write in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    /// It was not stored.
    Nowhere,
    /// It was stored, at this revision or before it.
    UpTo(u64),
    /// It may have been stored, or may yet be.
    Unknown,
}

/// The earlier writes of this queue to a key. They are older than the next one whenever they are stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Earlier {
    /// The last one that is stored: its revision, or one after it, and its value; empty for a deletion.
    stored: Option<(u64, Bytes)>,
    /// The value of the last one of which it is unknown whether and where it is stored; empty for a deletion.
    unknown: Option<Bytes>,
}

/// What a late write compares its key with.
#[derive(Debug)]
pub(crate) struct Age {
    pub(crate) start: WriteStart,
    pub(crate) earlier: Earlier,
}

impl WriteStart {
    /// The start of a write that is queued now. `due` is the deadline of the call that waits for it.
    pub(crate) fn now(newest: Option<Place>, connection: u64, due: Option<Instant>) -> Self {
        let at = Instant::now();
        // The caller counts its time from a little earlier than the service. In the second half of the time it may have given up, and
        // have sent the next value elsewhere.
        let half = due.map(|due| due.saturating_duration_since(at) / 2);
        Self {
            at,
            late_from: at + half.map_or(MAX_DELAY, |half| half.min(MAX_DELAY)),
            newest,
            connection,
        }
    }

    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Whether a first attempt at this moment reads the key before it writes.
    pub(crate) fn is_late(&self, moment: Moment) -> bool {
        self.late_from <= moment.now || moment.connection != Some(self.connection)
    }
}

impl Moment {
    pub(crate) fn now(gate: &Gate) -> Self {
        Self {
            now: Instant::now(),
            connection: gate.connected_epoch(),
        }
    }
}

impl Earlier {
    /// Whether the message is what one of them has put, or may have.
    fn have_put(&self, message: &StreamMessage) -> bool {
        let is_stored = |(revision, value): &(u64, Bytes)| {
            message.sequence <= *revision && *value == message.payload
        };
        self.stored.as_ref().is_some_and(is_stored)
            || self.unknown.as_ref() == Some(&message.payload)
    }

    /// Adds a write with this value that has ended.
    pub(crate) fn add(&mut self, trace: Trace, value: &Bytes) {
        match trace {
            Trace::Nowhere => {}
            Trace::UpTo(revision) => {
                self.stored = Some((revision, value.clone()));
                self.unknown = None;
            }
            Trace::Unknown => self.unknown = Some(value.clone()),
        }
    }
}

impl Age {
    /// Whether a message was stored after the write was queued, and not by an earlier write of the same queue; `None` if the two times are
    /// too close to decide.
    pub(crate) async fn is_before(
        &self,
        bucket: &KvBucket,
        message: &StreamMessage,
    ) -> Result<Option<bool>, StoreError> {
        if self.earlier.have_put(message) {
            return Ok(Some(false));
        }
        let time = message.time.into();
        let is_after = bucket.clock(false).await?.is_after(time, self.start.at);
        let newest = self.start.newest;
        match newest.filter(|newest| message.sequence <= newest.revision) {
            // The clock contradicts the revision, which was acknowledged before the start: it is that of another server of the cluster, or
            // the revision that of another bucket. The server is asked after the message was read, so that the bucket that it tells of is
            // that of the message or a later one.
            Some(newest) if is_after == Some(true) => {
                let created = bucket.facts().now().await?.created;
                Ok(Some(created != newest.created))
            }
            Some(_) => Ok(Some(false)),
            None if is_after.is_none() => {
                Ok(bucket.clock(true).await?.is_after(time, self.start.at))
            }
            None => Ok(is_after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long after it was queued a write is late.
    const SECOND: Duration = Duration::from_secs(1);

    fn late(start: WriteStart, after: Duration, connection: Option<u64>) -> bool {
        let now = start.at + after;
        start.is_late(Moment { now, connection })
    }

    #[test]
    fn a_write_is_late_after_a_while_and_on_another_connection() {
        let start = WriteStart::now(None, 3, None);
        assert!(!late(start, SECOND / 2, Some(3)));
        assert!(late(start, SECOND, Some(3)));
        assert!(late(start, Duration::ZERO, Some(4)));
        assert!(late(start, Duration::ZERO, None));
    }

    #[test]
    fn a_write_is_late_in_the_second_half_of_the_time_of_its_call() {
        let due = |time| Some(Instant::now() + time);
        let start = WriteStart::now(None, 1, due(SECOND));
        assert!(!late(start, SECOND / 4, Some(1)));
        assert!(late(start, SECOND / 2, Some(1)));
        let start = WriteStart::now(None, 1, due(100 * SECOND));
        assert!(!late(start, SECOND / 2, Some(1)));
        assert!(late(start, SECOND, Some(1)));
        assert!(late(
            WriteStart::now(None, 1, due(Duration::ZERO)),
            Duration::ZERO,
            Some(1)
        ));
    }

    #[test]
    fn an_unknown_write_is_remembered_until_a_later_one_is_stored() {
        let (one, two) = (Bytes::from_static(b"1"), Bytes::from_static(b"2"));
        let mut earlier = Earlier::default();
        earlier.add(Trace::Unknown, &one);
        earlier.add(Trace::Nowhere, &two);
        assert_eq!((&earlier.stored, &earlier.unknown), (&None, &Some(one)));
        earlier.add(Trace::UpTo(5), &two);
        assert_eq!(
            (&earlier.stored, &earlier.unknown),
            (&Some((5, two)), &None)
        );
    }
}
