//! The memory that peers can make a server hold: one budget for each kind of what waits, shared by all endpoints of the server.

use std::sync::Arc;

use crate::transport::budget::MemoryBudget;

/// The settings of [`Memory`], in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryLimits {
    pub(crate) waiting: usize,
    pub(crate) streams: usize,
    pub(crate) plain_streams: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            waiting: 64 * MIB,
            streams: 256 * MIB,
            plain_streams: 64 * MIB,
        }
    }
}

/// The budgets of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// Requests that wait for their turn.
    pub(crate) waiting: Arc<MemoryBudget>,
    /// Messages of streams with flow control that no handler has read yet.
    pub(crate) streams: Arc<MemoryBudget>,
    /// The same of streams without flow control, whose callers send as fast as they can.
    pub(crate) plain_streams: Arc<MemoryBudget>,
}

impl Memory {
    pub(crate) fn new(limits: MemoryLimits) -> Self {
        Self {
            waiting: MemoryBudget::new(limits.waiting),
            streams: MemoryBudget::new(limits.streams),
            plain_streams: MemoryBudget::new(limits.plain_streams),
        }
    }
}
