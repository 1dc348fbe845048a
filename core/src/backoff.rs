//! When to try again and when to stop: deadlines, and the pauses between attempts.
//!
//! A leaf: uses nothing of the crate.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// The deadline `timeout` after `start`. A timeout that overflows the clock becomes thirty years, which is as good as none.
pub(crate) fn after(start: Instant, timeout: Duration) -> Instant {
    const YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    start.checked_add(timeout).unwrap_or(start + YEARS)
}

/// Exponential backoff: each pause is twice the one before, up to a maximum.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, max: Duration) -> Self {
        Self { next: first, max }
    }

    /// The pause before the next attempt.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.next.min(self.max);
        self.next = pause.saturating_mul(2);
        pause
    }

    /// A pause for one of several that compete: the next one less up to `percent` of it, so that they do not meet again.
    pub(crate) fn next_random_pause(&mut self, percent: u32) -> Duration {
        let pause = self.next_pause();
        // The standard library seeds each hasher anew. Of its 64 random bits, as many as a float holds exactly.
        let random = (RandomState::new().hash_one(()) >> 32) as u32;
        let part = f64::from(random) / f64::from(u32::MAX);
        pause.saturating_sub(pause.mul_f64(part * f64::from(percent) / 100.0))
    }

    /// Waits before the next attempt.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next_pause()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(150));
        let pauses: Vec<_> = (0..4).map(|_| backoff.next_pause().as_millis()).collect();
        assert_eq!(pauses, [50, 100, 150, 150]);
    }

    #[test]
    fn random_pauses_lie_between_half_and_all() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second);
        let pauses: Vec<_> = (0..100).map(|_| backoff.next_random_pause(50)).collect();
        assert!(
            pauses
                .iter()
                .all(|pause| (second / 2..=second).contains(pause))
        );
        assert!(pauses.iter().any(|pause| pause != &pauses[0]));
    }

    #[test]
    fn a_first_pause_above_the_maximum_is_cut() {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(backoff.next_pause(), Duration::from_secs(1));
        assert_eq!(backoff.next_pause(), Duration::from_secs(1));
    }

    #[test]
    fn a_deadline_that_no_clock_reaches_is_far_away() {
        let start = Instant::now();
        assert_eq!(
            after(start, Duration::from_secs(1)),
            start + Duration::from_secs(1)
        );
        assert!(after(start, Duration::MAX) > start + Duration::from_secs(1_000_000));
    }
}
