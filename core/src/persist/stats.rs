//! The counters of the writes of an endpoint, and the statistics made from them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::context::Names;

/// The numbers of writes of a method by their result: of the responses that it persists, and of its deletions. All but the last one are
/// set back to zero by a reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PersistenceStats {
    /// Acknowledged by the store. Also counts the writes that were replaced by newer ones before they were made: by one that waited for
    /// the same key, or, if no reply waited for them, by one of somebody else.
    pub persisted: u64,
    /// Not written because the entry existed (`write = "create"`), or because the handler called
    /// [`Context::do_not_store`](crate::context::Context::do_not_store).
    pub skipped: u64,
    /// Given up: the lost writes. Those of calls that have ended with an error are among them.
    pub persist_failed: u64,
    /// Queued or in flight.
    pub persist_pending: u64,
    /// How often a bucket in memory was gone, since the NATS server was restarted, and was made again without its entries. Counts for all
    /// methods that write to the bucket, since the start of the server.
    #[serde(default)]
    pub buckets_recreated: u64,
}

/// The endpoint that a write belongs to: its names for the log, and its counters.
#[derive(Debug, Default)]
pub(crate) struct WriteOrigin {
    pub(crate) names: Arc<Names>,
    pub(crate) counters: WriteCounters,
}

/// Invariant: each write is counted in `pending` while it is queued or in flight, and once in one of the others when it is settled. The
/// counters are read one after the other, so that their sum may be off by the writes that are settled meanwhile.
#[derive(Debug, Default)]
pub(crate) struct WriteCounters {
    pub(crate) persisted: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Queued and not settled. A reset keeps it: every write that has added one subtracts it again.
    pub(crate) pending: AtomicU64,
}

impl WriteCounters {
    pub(crate) fn stats(&self) -> PersistenceStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PersistenceStats {
            persisted: load(&self.persisted),
            skipped: load(&self.skipped),
            persist_failed: load(&self.failed),
            persist_pending: load(&self.pending),
            buckets_recreated: 0,
        }
    }

    /// Back to zero, except for the writes that are still pending.
    pub(crate) fn reset(&self) {
        for counter in [&self.persisted, &self.skipped, &self.failed] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
