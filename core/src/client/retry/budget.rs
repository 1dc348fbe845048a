//! The budget: how many retries the calls of a client may make together.
//!
//! Guarantees that within any ten seconds there are at most as many retries as a number per second and a share of the calls allow.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::sync::Mutex;

/// The seconds that are looked back on, the current one included.
const SECONDS: u64 = 10;

/// Counts calls and retries.
#[derive(Debug)]
pub(super) struct Budget {
    /// The retries that are allowed for 100 calls.
    percent: u32,
    /// The retries per second that are allowed in any case.
    min_per_second: u32,
    started: Instant,
    /// The seconds in which something was counted, the oldest first.
    recent: Mutex<VecDeque<Second>>,
}

/// What was counted within one second.
#[derive(Debug, Default)]
struct Second {
    /// Its number since the start of the budget.
    number: u64,
    calls: u64,
    retries: u64,
}

impl Budget {
    pub(super) fn new(percent: u32, min_per_second: u32) -> Self {
        Self {
            percent,
            min_per_second,
            started: Instant::now(),
            recent: Mutex::default(),
        }
    }

    /// Counts a call.
    pub(super) fn deposit(&self, now: Instant) {
        let mut recent = self.recent.lock();
        self.start_second(&mut recent, now);
        if let Some(second) = recent.back_mut() {
            second.calls += 1;
        }
    }

    /// Counts a retry; false if the budget has none left, and nothing is counted.
    pub(super) fn withdraw(&self, now: Instant) -> bool {
        let mut recent = self.recent.lock();
        self.start_second(&mut recent, now);
        let calls: u64 = recent.iter().map(|second| second.calls).sum();
        let retries: u64 = recent.iter().map(|second| second.retries).sum();
        let share = calls.saturating_mul(u64::from(self.percent)) / 100;
        let min = u64::from(self.min_per_second) * SECONDS;
        let is_covered = retries < share.saturating_add(min);
        if let Some(second) = recent.back_mut().filter(|_| is_covered) {
            second.retries += 1;
        }
        is_covered
    }

    /// Makes the current second the last one, and removes those that are not looked back on any more.
    fn start_second(&self, recent: &mut VecDeque<Second>, now: Instant) {
        let number = now.saturating_duration_since(self.started).as_secs();
        while recent
            .front()
            .is_some_and(|oldest| oldest.number + SECONDS <= number)
        {
            recent.pop_front();
        }
        if recent.back().is_none_or(|last| last.number < number) {
            recent.push_back(Second {
                number,
                ..Second::default()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn after(budget: &Budget, seconds: u64) -> Instant {
        budget.started + Duration::from_secs(seconds)
    }

    fn deposit(budget: &Budget, seconds: u64, times: usize) {
        (0..times).for_each(|_| budget.deposit(after(budget, seconds)));
    }

    fn withdrawn(budget: &Budget, seconds: u64, times: usize) -> usize {
        let withdraw = |_: &usize| budget.withdraw(after(budget, seconds));
        (0..times).filter(withdraw).count()
    }

    #[test]
    fn retries_are_a_share_of_the_calls_and_a_minimum() {
        let budget = Budget::new(20, 1);
        assert_eq!(withdrawn(&budget, 0, 100), 10, "the minimum of ten seconds");
        deposit(&budget, 0, 100);
        assert_eq!(withdrawn(&budget, 0, 100), 20, "a fifth of the calls");
    }

    #[test]
    fn what_is_older_than_ten_seconds_does_not_count() {
        let budget = Budget::new(50, 0);
        deposit(&budget, 0, 10);
        assert_eq!(withdrawn(&budget, 0, 3), 3);
        deposit(&budget, 9, 4);
        assert_eq!(withdrawn(&budget, 9, 10), 4, "half of 14, and 3 are spent");
        assert_eq!(withdrawn(&budget, 10, 10), 0, "half of 4, and 4 are spent");
        deposit(&budget, 18, 2);
        assert_eq!(withdrawn(&budget, 19, 10), 1, "half of the last 2");
        assert_eq!(withdrawn(&budget, 40, 10), 0, "there was nothing lately");
    }

    #[test]
    fn a_clock_that_is_read_late_changes_nothing() {
        let budget = Budget::new(0, 1);
        assert_eq!(withdrawn(&budget, 12, 4), 4);
        assert_eq!(withdrawn(&budget, 11, 10), 6);
        assert_eq!(budget.recent.lock().len(), 1);
    }

    #[test]
    fn a_budget_of_nothing_has_no_retries_and_the_largest_has_no_end() {
        let nothing = Budget::new(0, 0);
        deposit(&nothing, 0, 1);
        assert_eq!(withdrawn(&nothing, 0, 1), 0);
        let endless = Budget::new(u32::MAX, u32::MAX);
        deposit(&endless, 0, 1);
        assert_eq!(withdrawn(&endless, 0, 1_000), 1_000);
    }
}
