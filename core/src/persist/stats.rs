//! What became of the writes of one endpoint.

use serde::{Deserialize, Serialize};

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
