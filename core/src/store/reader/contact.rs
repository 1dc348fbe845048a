use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When the server was last heard of, and how much it then still had to deliver. Shared with whoever wants to know.
#[derive(Debug)]
pub(crate) struct Contact {
    since: Instant,
    heard_ms: AtomicU64,
    behind: AtomicU64,
}

impl Contact {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            heard_ms: AtomicU64::new(0),
            behind: AtomicU64::new(0),
        }
    }

    pub(crate) fn heard(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(now, Ordering::Relaxed);
    }

    pub(crate) fn set_behind(&self, messages: u64) {
        self.behind.store(messages, Ordering::Relaxed);
    }

    /// How long ago the server was heard of.
    pub(crate) fn age(&self) -> Duration {
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(heard)
    }

    /// How many messages the server had yet to deliver at that time.
    pub(crate) fn behind(&self) -> u64 {
        self.behind.load(Ordering::Relaxed)
    }
}
