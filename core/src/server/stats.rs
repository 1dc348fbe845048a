//! The counters of one endpoint, as `$SRV.STATS` and `RunningServer::stats` report them.
//!
//! Each counter is exact; a reading of all of them is no atomic snapshot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::contract::discovery::saturating_nanos;
use crate::status::Status;
use crate::sync::Mutex;

/// The number of characters that are kept of the last error: the statistics of a service have to fit into one message.
const MAX_LAST_ERROR: usize = 512;

/// The counters of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    errors: AtomicU64,
    processing: AtomicU64,
    last_error: Mutex<String>,
}

impl Counters {
    /// Counts a finished call, with its error if it failed.
    pub(crate) fn record(&self, error: Option<&Status>, took: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.processing
            .fetch_add(saturating_nanos(took), Ordering::Relaxed);
        if let Some(status) = error {
            self.record_error(status);
        }
    }

    /// Counts an error of a call that was already counted as a success.
    pub(crate) fn record_error(&self, status: &Status) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut last = self.last_error.lock();
        last.clear();
        for part in [status.code().as_str(), ":", status.message()] {
            if part.len() <= MAX_LAST_ERROR {
                last.push_str(part);
            } else {
                last.extend(part.chars().take(MAX_LAST_ERROR));
            }
        }
        if let Some((end, _)) = last.char_indices().nth(MAX_LAST_ERROR) {
            last.truncate(end);
        }
    }

    /// The current values.
    pub(crate) fn read(&self) -> Counted {
        Counted {
            requests: self.requests.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            last_error: self.last_error.lock().clone(),
            processing_time: Duration::from_nanos(self.processing.load(Ordering::Relaxed)),
        }
    }

    /// Resets all counters to zero, and clears the last error.
    pub(crate) fn reset(&self) {
        for counter in [&self.requests, &self.errors, &self.processing] {
            counter.store(0, Ordering::Relaxed);
        }
        self.last_error.lock().clear();
    }
}

/// The values of [`Counters`] at one moment.
pub(crate) struct Counted {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) last_error: String,
    pub(crate) processing_time: Duration,
}

impl Counted {
    /// The mean time of a request; zero if there was none.
    pub(crate) fn average_processing_time(&self) -> Duration {
        let nanos = saturating_nanos(self.processing_time);
        Duration::from_nanos(nanos.checked_div(self.requests).unwrap_or(0))
    }
}
