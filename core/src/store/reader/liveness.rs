//! The time of the last contact of a reader with the server, and how many messages it is behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Written by a reader, and read to report its state. The two values are independent, so relaxed ordering is enough.
#[derive(Debug)]
pub(crate) struct Liveness {
    since: Instant,
    /// Milliseconds from `since` to the last contact.
    last_contact_ms: AtomicU64,
    pending: AtomicU64,
}

impl Liveness {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            last_contact_ms: AtomicU64::new(0),
            pending: AtomicU64::new(0),
        }
    }

    /// Records a message from the server.
    pub(crate) fn record(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_contact_ms.store(now, Ordering::Relaxed);
    }

    pub(crate) fn set_pending(&self, messages: u64) {
        self.pending.store(messages, Ordering::Relaxed);
    }

    /// The time since the last message from the server.
    pub(crate) fn age(&self) -> Duration {
        let last_contact = Duration::from_millis(self.last_contact_ms.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(last_contact)
    }

    /// How many messages the server still had to deliver at the last contact.
    pub(crate) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }
}
