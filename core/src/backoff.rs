//! Moments and pauses: deadlines, and the pauses between attempts.

use std::time::Duration;

use tokio::time::Instant;

/// `timeout` from `start`; for one that no clock reaches, as good as never.
pub(crate) fn after(start: Instant, timeout: Duration) -> Instant {
    const YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    start.checked_add(timeout).unwrap_or(start + YEARS)
}
