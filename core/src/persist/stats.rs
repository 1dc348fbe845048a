//! What became of the writes of an endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::context::Names;

/// What became of the responses that a method persists, and of its deletions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PersistenceStats {
    /// Acknowledged by the store.
    pub persisted: u64,
    /// Not written since the entry existed (`write = "create"`), or since the handler called
    /// [`Context::do_not_store`](crate::context::Context::do_not_store).
    pub skipped: u64,
    /// Given up.
    pub persist_failed: u64,
    /// Not yet acknowledged.
    pub persist_pending: u64,
}

/// The endpoint that a write comes from: its names for the log, and its counters.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    pub(crate) names: Arc<Names>,
    pub(crate) counters: Counters,
}

/// Each is right by itself; they are not read at one moment.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) persisted: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Queued and not settled. Every write that adds one takes it away again, so that a reset leaves it alone.
    pub(crate) pending: AtomicU64,
}

impl Counters {
    pub(crate) fn stats(&self) -> PersistenceStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PersistenceStats {
            persisted: load(&self.persisted),
            skipped: load(&self.skipped),
            persist_failed: load(&self.failed),
            persist_pending: load(&self.pending),
        }
    }

    /// Back to zero, except for the writes that are still pending.
    pub(crate) fn reset(&self) {
        for counter in [&self.persisted, &self.skipped, &self.failed] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
