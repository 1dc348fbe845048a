//! How recently a reader heard from the server, and how far it is behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Written by a reader and read by whoever reports its state. The two values are independent, so relaxed ordering is enough.
#[derive(Debug)]
pub(crate) struct Liveness {
    since: Instant,
    heard_ms: AtomicU64,
    pending: AtomicU64,
}

impl Liveness {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            heard_ms: AtomicU64::new(0),
            pending: AtomicU64::new(0),
        }
    }

    /// Records that the server was heard from just now.
    pub(crate) fn record(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(now, Ordering::Relaxed);
    }

    pub(crate) fn set_pending(&self, messages: u64) {
        self.pending.store(messages, Ordering::Relaxed);
    }

    /// The time since the server was last heard from.
    pub(crate) fn age(&self) -> Duration {
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(heard)
    }

    /// How many messages the server still had to deliver when it was last heard from.
    pub(crate) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }
}
