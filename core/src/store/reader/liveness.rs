//! What a reader reports while it reads: when it last heard from the server, how far it is behind, and which consumer it has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::Mutex;

/// Written by a reader, and read to report its state. The values are independent, so relaxed ordering is enough.
#[derive(Debug)]
pub(crate) struct Liveness {
    since: Instant,
    /// Milliseconds from `since` to the last contact.
    last_contact_ms: AtomicU64,
    pending: AtomicU64,
    consumer: Mutex<ConsumerProgress>,
}

/// The server-side consumer of a reader, and how many of its messages the reader has received. The name is empty while there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConsumerProgress {
    pub(crate) name: String,
    pub(crate) delivered: u64,
}

impl Liveness {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            last_contact_ms: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            consumer: Mutex::default(),
        }
    }

    /// Records that the reader has another consumer; an empty name stands for none.
    pub(crate) fn set_consumer(&self, name: &str) {
        *self.consumer.lock() = ConsumerProgress {
            name: name.to_owned(),
            delivered: 0,
        };
    }

    /// Records a message of the consumer.
    pub(crate) fn set_delivered(&self, messages: u64) {
        self.consumer.lock().delivered = messages;
    }

    pub(crate) fn consumer(&self) -> ConsumerProgress {
        self.consumer.lock().clone()
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
