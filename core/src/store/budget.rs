//! What all readers of a client together may have asked the server for.
//!
//! The server holds what a client does not take at once, and cuts the connection where that is more than its `max_pending`, 64 MiB
//! unless it is told otherwise. So readers share a part of that. What a reader has asked for counts until it has come. It also
//! counts no longer when nobody looks at the reader: then it lies in this process, and others are not to wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// For all readers together. A server's stores and a client may be on one connection, each with a budget of its own.
const BUDGET: usize = 24 << 20;
/// How many bytes one request asks for, unless a single message is larger.
pub(super) const MOST: usize = 4 << 20;
/// The same where many read at once: two chunks of an object, with what the server counts beside them.
pub(super) const LEAST: usize = 264 << 10;
/// How long a reader waits for room, and how long one that nobody looks at takes up room.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a reader that waits looks whether others are looked at.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(crate) struct Budget {
    shares: Mutex<Shares>,
    /// Somebody has given room back.
    room: Notify,
}

#[derive(Default)]
struct Shares {
    made: u64,
    asked: HashMap<u64, Asked>,
}

/// The last two requests of a reader: no more are under way.
struct Asked {
    older: usize,
    newer: usize,
    seen: Instant,
}

/// What one reader has asked for.
pub(super) struct Share {
    budget: Arc<Budget>,
    id: u64,
    seen: Instant,
}

impl Budget {
    pub(super) fn share(self: &Arc<Self>) -> Share {
        let mut shares = self.lock();
        shares.made += 1;
        Share {
            id: shares.made,
            budget: Arc::clone(self),
            seen: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shares {
    fn free(&self, now: Instant) -> usize {
        let seen = |asked: &&Asked| now.duration_since(asked.seen) < PATIENCE;
        let asked = self.asked.values().filter(seen);
        BUDGET.saturating_sub(asked.map(|asked| asked.older + asked.newer).sum())
    }

    fn add(&mut self, id: u64, bytes: usize, now: Instant) {
        let asked = self.asked.entry(id).or_insert(Asked {
            older: 0,
            newer: 0,
            seen: now,
        });
        asked.older = asked.newer;
        asked.newer = bytes;
        asked.seen = now;
    }
}

impl Share {
    /// How many bytes the next request asks for, `least` or more. Waits for room, but only so long that no reader stands still.
    pub(super) async fn ask(&mut self, least: usize, most: usize) -> usize {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(bytes) = self.try_ask(least, most) {
                return bytes;
            }
            let now = Instant::now();
            if now >= end {
                self.budget.lock().add(self.id, least, now);
                return least;
            }
            // Either way, it is looked at again.
            let _ = timeout(LOOK, self.budget.room.notified()).await;
        }
    }

    /// The same without waiting, when all requests but one are over; `None` if there is no room.
    pub(super) fn try_ask(&mut self, least: usize, most: usize) -> Option<usize> {
        let now = Instant::now();
        let mut shares = self.budget.lock();
        let mut spare = 0;
        if let Some(asked) = shares.asked.get_mut(&self.id) {
            asked.older = 0;
            asked.seen = now;
            // One request each comes before the second of anybody.
            spare = least;
        }
        let free = shares.free(now);
        // Half of it, so that those who have more come down to what others get.
        let bytes = most.min(free / 2).max(least);
        // What is larger than all of the budget goes alone.
        if bytes + spare > free && free < BUDGET {
            return None;
        }
        shares.add(self.id, bytes, now);
        drop(shares);
        self.seen = now;
        // There may be room for the next one too.
        self.budget.room.notify_one();
        Some(bytes)
    }

    /// Somebody looks at the reader.
    pub(super) fn touch(&mut self) {
        if self.seen.elapsed() < PATIENCE / 4 {
            return;
        }
        self.seen = Instant::now();
        if let Some(asked) = self.budget.lock().asked.get_mut(&self.id) {
            asked.seen = self.seen;
        }
    }

    /// All has come that was asked for.
    pub(super) fn release(&mut self) {
        if self.budget.lock().asked.remove(&self.id).is_some() {
            self.budget.room.notify_one();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}
