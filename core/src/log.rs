//! Logs bounded in rate: what a peer can provoke fills no disk.
//!
//! A leaf: uses nothing of the crate. Elsewhere clippy refuses the macros of `tracing` for warnings and errors.

use std::time::Duration;

use tokio::time::Instant;

use crate::sync::Mutex;

/// How many events one place in the code logs per [`PERIOD`].
const MAX_EVENTS: u64 = 20;
const PERIOD: Duration = Duration::from_secs(10);

/// The limit of one place in the code.
#[derive(Debug)]
pub(crate) struct Limit(Mutex<State>);

#[derive(Debug)]
struct State {
    /// When the current period began; `None` before the first event.
    started: Option<Instant>,
    logged: u64,
    suppressed: u64,
}

impl Limit {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State {
            started: None,
            logged: 0,
            suppressed: 0,
        }))
    }

    /// Whether an event may be logged; if so, how many were suppressed before it.
    pub(crate) fn permit(&self) -> Option<Suppressed> {
        self.permit_at(Instant::now())
    }

    fn permit_at(&self, now: Instant) -> Option<Suppressed> {
        let mut state = self.0.lock();
        let is_over = |started| now.saturating_duration_since(started) >= PERIOD;
        if state.started.is_none_or(is_over) {
            state.started = Some(now);
            state.logged = 0;
        }
        if state.logged == MAX_EVENTS {
            state.suppressed += 1;
            return None;
        }
        state.logged += 1;
        let suppressed = std::mem::take(&mut state.suppressed);
        // A field without a value is not logged.
        Some((suppressed > 0).then_some(suppressed))
    }
}

type Suppressed = Option<u64>;

/// [`tracing::warn!`] at a bounded rate. The field `suppressed` says how many events of the same place were left out before.
macro_rules! warn_limited {
    ($($event:tt)*) => {{
        static LIMIT: $crate::log::Limit = $crate::log::Limit::new();
        if let Some(suppressed) = LIMIT.permit() {
            tracing::event!(tracing::Level::WARN, suppressed, $($event)*);
        }
    }};
}

/// [`tracing::error!`] at a bounded rate, as [`warn_limited`].
macro_rules! error_limited {
    ($($event:tt)*) => {{
        static LIMIT: $crate::log::Limit = $crate::log::Limit::new();
        if let Some(suppressed) = LIMIT.permit() {
            tracing::event!(tracing::Level::ERROR, suppressed, $($event)*);
        }
    }};
}

pub(crate) use {error_limited, warn_limited};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let limit = Limit::new();
        let start = Instant::now();
        let logged = (0..1_000).filter(|_| limit.permit_at(start).is_some());
        assert_eq!(logged.count() as u64, MAX_EVENTS);
        assert_eq!(limit.permit_at(start + PERIOD), Some(Some(980)));
        assert_eq!(limit.permit_at(start + PERIOD), Some(None));
    }
}
