//! Bounds the bytes that all readers of a client together have requested from the server.
//!
//! The server buffers the messages that a client has not yet received, and closes the connection when they exceed its `max_pending`,
//! 64 MiB by default. So the readers of a client share a budget below that. A reservation counts until its messages have arrived, or
//! until the reader no longer waits for them: then the messages are already in this process, and other readers need not wait for a
//! slow one.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use crate::sync::Mutex;

/// The most bytes that all readers together reserve. The stores of a server and a client may share a connection, each with a budget of
/// its own.
const BUDGET_BYTES: usize = 24 << 20;
/// The most bytes of one request, unless a single message is larger.
pub(crate) const MAX_REQUEST_BYTES: usize = 4 << 20;
/// The fewest bytes of one request, when many readers share the budget: two chunks of an object with what the server adds to them.
pub(crate) const MIN_REQUEST_BYTES: usize = 264 << 10;
/// How long a reader waits for a reservation before it takes the minimum beyond the budget.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// How often a waiting reader checks whether reservations of others have timed out.
const RECHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How long after a reader last waited for messages its requested ones may still be in flight.
const IN_FLIGHT_TIMEOUT: Duration = Duration::from_millis(500);

/// The budget of one client.
#[derive(Default)]
pub(crate) struct Budget {
    shares: Mutex<Shares>,
    /// Notified when a reservation is released.
    released: Notify,
}

/// Invariant: a reader has an entry in `reserved` from its first reservation until it releases it.
#[derive(Default)]
struct Shares {
    last_id: u64,
    reserved: HashMap<u64, Reserved>,
}

/// The bytes of the last two requests of a reader; no more are outstanding.
struct Reserved {
    older: usize,
    newer: usize,
    last_wait: Instant,
}

/// The part of the budget that one reader uses. Dropping it releases the reservation.
pub(crate) struct Share {
    budget: Arc<Budget>,
    id: u64,
    last_wait: Instant,
}

impl Budget {
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        let mut shares = self.lock();
        shares.last_id += 1;
        Share {
            id: shares.last_id,
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
        BUDGET_BYTES.saturating_sub(
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
    /// Reserves the bytes of the next request, between `least` and `most`. Waits until there is room, but at most [`MAX_WAIT`], so
    /// that no reader starves.
    pub(crate) async fn reserve(&mut self, least: usize, most: usize) -> usize {
        let latest = Instant::now() + MAX_WAIT;
        loop {
            if let Some(bytes) = self.try_reserve(least, most) {
                return bytes;
            }
            let now = Instant::now();
            if now >= latest {
                self.budget.lock().add(self.id, least, now);
                return least;
            }
            // After a notification or a timeout alike, the loop checks again.
            let _ = timeout(RECHECK_INTERVAL, self.budget.released.notified()).await;
        }
    }

    /// Reserves without waiting, when at most one earlier request is outstanding; `None` if there is no room.
    pub(crate) fn try_reserve(&mut self, least: usize, most: usize) -> Option<usize> {
        let now = Instant::now();
        let mut shares = self.budget.lock();
        let mut spare = 0;
        if let Some(reserved) = shares.reserved.get_mut(&self.id) {
            reserved.older = 0;
            // A second request leaves room for the first one of another reader.
            spare = least;
        }
        let free = shares.free(now);
        // Half of what is free, so that the shares of all readers converge.
        let bytes = most.min(free / 2).max(least);
        // A request larger than the whole budget is made when nothing else is reserved.
        if bytes + spare > free && free < BUDGET_BYTES {
            return None;
        }
        shares.add(self.id, bytes, now);
        drop(shares);
        // There may be room for another waiting reader too.
        self.budget.released.notify_one();
        Some(bytes)
    }

    /// The next requested message. Records that the reader waits, which keeps its reservation alive.
    pub(crate) async fn next(
        &mut self,
        messages: &mut Subscriber,
        wait: Duration,
    ) -> Result<Option<Message>, Elapsed> {
        if let Some(message) = messages.next().now_or_never() {
            return Ok(message);
        }
        // Not every time: there may be a million messages per second.
        if self.last_wait.elapsed() > IN_FLIGHT_TIMEOUT / 4 {
            self.last_wait = Instant::now();
            if let Some(reserved) = self.budget.lock().reserved.get_mut(&self.id) {
                reserved.last_wait = self.last_wait;
            }
        }
        timeout(wait, messages.next()).await
    }

    /// Releases the reservation: all requested messages have arrived.
    pub(crate) fn release(&mut self) {
        if self.budget.lock().reserved.remove(&self.id).is_some() {
            self.budget.released.notify_one();
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
        BUDGET_BYTES - share.budget.lock().free(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_reader_may_have_two_requests_at_any_time() {
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
    async fn many_readers_stay_within_the_budget_and_converge() {
        let mut shares = shares(20);
        let mut last = Vec::new();
        for _ in 0..100 {
            last.clear();
            for share in &mut shares {
                let mut bytes = share.try_reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES);
                if bytes.is_none() {
                    // All messages have arrived.
                    share.release();
                    bytes = share.try_reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES);
                }
                last.push(bytes.unwrap_or(0));
                assert!(reserved(share) <= BUDGET_BYTES);
            }
        }
        let most = last.iter().max().unwrap();
        assert!(last.iter().all(|bytes| *bytes >= most / 2), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn released_bytes_are_reserved_at_once() {
        let mut shares = shares(7);
        let mut late = shares.remove(0);
        for share in &mut shares {
            share.reserve(MAX_REQUEST_BYTES, MAX_REQUEST_BYTES).await;
        }
        assert_eq!(late.try_reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES), None);
        let start = Instant::now();
        let (bytes, ()) = tokio::join!(late.reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES), async {
            drop(shares.pop());
        });
        assert_eq!(
            (bytes, start.elapsed()),
            (MAX_REQUEST_BYTES / 2, Duration::ZERO)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_wait_reserves_nothing() {
        let mut shares = shares(7);
        let mut late = shares.remove(0);
        for share in &mut shares {
            share.reserve(MAX_REQUEST_BYTES, MAX_REQUEST_BYTES).await;
        }
        let start = Instant::now();
        assert_eq!(
            late.reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES).await,
            MAX_REQUEST_BYTES
        );
        assert_eq!(start.elapsed(), IN_FLIGHT_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_above_the_budget_is_made_alone() {
        let mut shares = shares(2);
        let (mut other, mut share) = (shares.remove(0), shares.remove(0));
        other.reserve(MIN_REQUEST_BYTES, MIN_REQUEST_BYTES).await;
        assert_eq!(share.try_reserve(2 * BUDGET_BYTES, 2 * BUDGET_BYTES), None);
        other.release();
        assert_eq!(
            share.try_reserve(2 * BUDGET_BYTES, 2 * BUDGET_BYTES),
            Some(2 * BUDGET_BYTES)
        );
        assert_eq!(
            other.try_reserve(MIN_REQUEST_BYTES, MAX_REQUEST_BYTES),
            None
        );
    }
}
