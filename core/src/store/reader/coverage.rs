//! Which keys the initial part of a reader has covered, and which are still to come.
//!
//! A consumer passes over a message that is superseded before it is delivered, and comes to the newer one later. A key that is written
//! again and again may thus be missing when the consumer has delivered what it has counted at its start. So the initial part does not
//! end before each key that the server lists then was delivered. Keys stand for their subjects here, in one range.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::reader::delivery::BucketMessage;
use crate::store::reader::range::{ConsumerFailure, Range};

/// For each of so many keys, the reader tries once to come to the end of the stream before it asks the server for all keys, which costs
/// it half of what their delivery costs.
const KEYS_PER_TRY: usize = 10_000;
/// How long keys may be missing while nothing is delivered. A replica that delivers may be behind the leader, which lists the keys.
const MAX_STANDSTILL: Duration = Duration::from_secs(10);

/// How long a replica may deliver nothing of what is missing before another one is tried, and again for each that follows.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(1);

/// The coverage of one initial part. Holds a hash of each key.
///
/// Invariant: `missing` has no key that is in `covered`. Keys are hashes with random seeds, so that nobody can choose two of the same.
#[derive(Default)]
pub(crate) struct Coverage {
    seeds: RandomState,
    covered: HashSet<u64>,
    /// What the server listed, and was not covered then or since; `None` before it has listed any.
    missing: Option<HashSet<u64>>,
    /// The sequence of the last message.
    position: u64,
    /// Where the stream ended before the consumer was made, if the consumer is known to get there.
    stream_end: Option<u64>,
    /// How often the reader was not at the end of the stream.
    tries: usize,
    /// When the server last listed something that is missing, without a message since.
    standstill: Option<Instant>,
    /// How many other replicas were tried since.
    replicas_tried: u32,
}

impl Coverage {
    /// `None` for a range that does not begin with all keys.
    pub(crate) fn of(range: &Range) -> Option<Self> {
        range.has_all_keys().then(Self::default)
    }

    /// Records where the stream ended before the consumer was made, if that says what is to come.
    pub(crate) fn begin_at(&mut self, stream_end: Option<u64>) {
        self.stream_end = stream_end;
    }

    /// Records a message. Returns whether the initial part had one with this key before.
    pub(crate) fn record(&mut self, message: &BucketMessage) -> bool {
        self.position = message.sequence;
        self.standstill = None;
        self.replicas_tried = 0;
        let key = self.seeds.hash_one(message.subject.as_str());
        if let Some(missing) = &mut self.missing {
            missing.remove(&key);
        }
        !self.covered.insert(key)
    }

    /// Whether all that the server listed is covered.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing.as_ref().is_some_and(HashSet::is_empty)
    }

    /// Asks the server for the keys that are not covered. `None` if the reader should first try to come to the end of the stream, from
    /// which it is `pending` messages away.
    pub(crate) async fn find_missing(
        &self,
        range: &Range,
        pending: u64,
    ) -> Result<Option<HashSet<u64>>, StoreError> {
        let mut missing = HashSet::new();
        let info = range.info().await.map_err(ConsumerFailure::into_error)?;
        let end = info.state.last_sequence;
        // Nothing was written meanwhile, or the reader is where it was written last: what was not delivered was superseded by what was.
        if Some(end) == self.stream_end || end == self.position {
            return Ok(Some(missing));
        }
        if pending > 0 && self.tries < self.covered.len() / KEYS_PER_TRY {
            return Ok(None);
        }
        for filter in &range.subjects {
            for subject in range.listed_subjects(filter).await? {
                let key = self.seeds.hash_one(subject.as_str());
                if !self.covered.contains(&key) {
                    missing.insert(key);
                }
            }
        }
        Ok(Some(missing))
    }

    /// Whether to read from another replica: this one may be behind the leader for long.
    pub(crate) fn tries_another_replica(&mut self) -> bool {
        let waits = REPLICA_TIMEOUT * (self.replicas_tried + 1);
        let is_over = self.standstill.is_some_and(|since| since.elapsed() > waits);
        self.replicas_tried += u32::from(is_over);
        is_over
    }

    /// Waits for these keys from now on. Fails if some have been missing for long while nothing was delivered.
    pub(crate) fn wait_for(
        &mut self,
        missing: Option<HashSet<u64>>,
        bucket: &str,
    ) -> Result<(), StoreError> {
        self.tries += 1;
        if let Some(missing) = &missing
            && !missing.is_empty()
        {
            let since = self.standstill.get_or_insert_with(Instant::now);
            if since.elapsed() > MAX_STANDSTILL {
                let count = missing.len();
                return Err(StoreError::new(
                    StoreErrorKind::Nats,
                    format!("bucket `{bucket}` has {count} keys that are listed and not delivered"),
                ));
            }
        }
        self.missing = missing;
        Ok(())
    }
}
