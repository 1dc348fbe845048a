//! What all readers of a client together may have reserved the server for.
//!
//! The server holds what a client does not take at once, and cuts the connection where that is more than its `max_pending`, 64 MiB
//! unless it is told otherwise. So readers share a part of that. What a reader has reserved for counts until it has come, or the reader
//! does not wait for it any more: then it lies in this process already, and nobody waits for a reader that is slow or stands still.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use crate::sync::Mutex;

/// For all readers together. A server's stores and a client may be on one connection, each with a budget of its own.
const BUDGET: usize = 24 << 20;
/// How many bytes one request asks for, unless a single message is larger.
pub(crate) const MAX_REQUEST_BYTES: usize = 4 << 20;
/// The same where many read at once: two chunks of an object, with what the server counts beside them.
pub(crate) const MIN_REQUEST_BYTES: usize = 264 << 10;
/// How long a reader waits for room.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// How often it looks whether others still wait for what they have reserved for.
const RECHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How long after a reader has last waited, the messages that it has reserved room for may still be on their way.
const IN_FLIGHT_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(crate) struct Budget {
    shares: Mutex<Shares>,
    /// Somebody has given room back.
    room: Notify,
}

#[derive(Default)]
struct Shares {
    made: u64,
    reserved: HashMap<u64, Reserved>,
}

/// The last two requests of a reader: no more are under way.
struct Reserved {
    older: usize,
    newer: usize,
    last_wait: Instant,
}

/// What one reader has reserved for.
pub(crate) struct Share {
    budget: Arc<Budget>,
    id: u64,
    last_wait: Instant,
}

impl Budget {
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        let mut shares = self.lock();
        shares.made += 1;
        Share {
            id: shares.made,
            budget: Arc::clone(self),
            last_wait: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shares> {
        self.shares.lock()
    }
}

impl Shares {
    fn free(&self, now: Instant) -> usize {
        let is_in_flight =
            |reserved: &&Reserved| now.duration_since(reserved.last_wait) < IN_FLIGHT_TIMEOUT;
        let reserved = self.reserved.values().filter(is_in_flight);
        BUDGET.saturating_sub(
            reserved
                .map(|reserved| reserved.older + reserved.newer)
                .sum(),
        )
    }

    fn add(&mut self, id: u64, bytes: usize, now: Instant) {
        let reserved = self.reserved.entry(id).or_insert(Reserved {
            older: 0,
            newer: 0,
            last_wait: now,
        });
        reserved.older = reserved.newer;
        reserved.newer = bytes;
        reserved.last_wait = now;
    }
}

impl Share {
    /// How many bytes the next request asks for, `least` or more. Waits for room, but only so long that no reader stands still.
    pub(crate) async fn reserve(&mut self, least: usize, most: usize) -> usize {
        let end = Instant::now() + MAX_WAIT;
        loop {
            if let Some(bytes) = self.try_reserve(least, most) {
                return bytes;
            }
            let now = Instant::now();
            if now >= end {
                self.budget.lock().add(self.id, least, now);
                return least;
            }
            // Either way, it is looked at again.
            let _ = timeout(RECHECK_INTERVAL, self.budget.room.notified()).await;
        }
    }

    /// The same without waiting, when all requests but one are over; `None` if there is no room.
    pub(crate) fn try_reserve(&mut self, least: usize, most: usize) -> Option<usize> {
        let now = Instant::now();
        let mut shares = self.budget.lock();
        let mut spare = 0;
        if let Some(reserved) = shares.reserved.get_mut(&self.id) {
            reserved.older = 0;
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
        // There may be room for the next one too.
        self.budget.room.notify_one();
        Some(bytes)
    }

    /// The next of the messages that were reserved for.
    pub(crate) async fn next(
        &mut self,
        messages: &mut Subscriber,
        patience: Duration,
    ) -> Result<Option<Message>, Elapsed> {
        if let Some(message) = messages.next().now_or_never() {
            return Ok(message);
        }
        // There may be a million of these in a second.
        if self.last_wait.elapsed() > IN_FLIGHT_TIMEOUT / 4 {
            self.last_wait = Instant::now();
            if let Some(reserved) = self.budget.lock().reserved.get_mut(&self.id) {
                reserved.last_wait = self.last_wait;
            }
        }
        timeout(patience, messages.next()).await
    }

    /// All has come that was reserved for.
    pub(crate) fn release(&mut self) {
        if self.budget.lock().reserved.remove(&self.id).is_some() {
            self.budget.room.notify_one();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(count: usize) -> Vec<Share> {
        let budget = Arc::<Budget>::default();
        (0..count).map(|_| budget.share()).collect()
    }

    fn reserved(share: &Share) -> usize {
        BUDGET - share.budget.lock().free(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn alone_there_is_room_for_two_requests_at_any_time() {
        let mut share = shares(1).remove(0);
        assert_eq!(
            share.reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES).await,
            MAX_REQUEST_BYTES
        );
        for _ in 0..10 {
            assert_eq!(
                share.try_reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES),
                Some(MAX_REQUEST_BYTES)
            );
            assert_eq!(reserved(&share), 2 * MAX_REQUEST_BYTES);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn together_they_stay_within_the_budget_and_become_equal() {
        let mut shares = shares(20);
        let mut last = Vec::new();
        for _ in 0..100 {
            last.clear();
            for share in &mut shares {
                let mut bytes = share.try_reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES);
                if bytes.is_none() {
                    // All has come.
                    share.release();
                    bytes = share.try_reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES);
                }
                last.push(bytes.unwrap_or(0));
                assert!(reserved(share) <= BUDGET);
            }
        }
        let most = last.iter().max().unwrap();
        assert!(last.iter().all(|bytes| *bytes >= most / 2), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn room_that_is_given_back_is_taken_at_once() {
        let mut shares = shares(7);
        let mut late = shares.remove(0);
        for share in &mut shares {
            share.reserve(MAX_REQUEST_BYTES, MAX_REQUEST_BYTES).await;
        }
        assert_eq!(late.try_reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES), None);
        let begun = Instant::now();
        let (bytes, ()) = tokio::join!(late.reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES), async {
            drop(shares.pop());
        });
        assert_eq!(
            (bytes, begun.elapsed()),
            (MAX_REQUEST_BYTES / 2, Duration::ZERO)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_wait_takes_up_no_room() {
        let mut shares = shares(7);
        let mut late = shares.remove(0);
        for share in &mut shares {
            share.reserve(MAX_REQUEST_BYTES, MAX_REQUEST_BYTES).await;
        }
        let begun = Instant::now();
        assert_eq!(
            late.reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES).await,
            MAX_REQUEST_BYTES
        );
        assert_eq!(begun.elapsed(), IN_FLIGHT_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_the_budget_goes_alone() {
        let mut shares = shares(2);
        let (mut other, mut share) = (shares.remove(0), shares.remove(0));
        other.reserve(MIN_REQUEST_BYTES, MIN_REQUEST_BYTES).await;
        assert_eq!(share.try_reserve(2 * BUDGET, 2 * BUDGET), None);
        other.release();
        assert_eq!(share.try_reserve(2 * BUDGET, 2 * BUDGET), Some(2 * BUDGET));
        assert_eq!(
            other.try_reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES),
            None
        );
    }
}
