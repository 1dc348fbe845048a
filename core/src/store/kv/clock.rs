//! Compares moments of this process with times of the server, whose clock may differ.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

/// How long a reading of the server clock is used.
const MAX_AGE: Duration = Duration::from_secs(1);
/// How far clocks may drift apart: that of the server may have run faster or slower since the moment in question, and another server of
/// the cluster may have been the leader then.
const TOLERANCE: Duration = Duration::from_millis(10);

/// A reading of the server clock, taken at some moment between `asked_at` and `answered_at`. The clock of this machine may differ by
/// any amount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    server_time: SystemTime,
    asked_at: Instant,
    answered_at: Instant,
}

/// The time in the stream information of the server.
#[derive(Deserialize)]
pub(crate) struct ServerTime {
    ts: String,
}

impl Clock {
    /// `None` if the server sent something else than a time.
    pub(crate) fn read(now: &ServerTime, asked_at: Instant) -> Option<Self> {
        Some(Self {
            server_time: OffsetDateTime::parse(&now.ts, &Rfc3339).ok()?.into(),
            asked_at,
            answered_at: Instant::now(),
        })
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.answered_at.elapsed() < MAX_AGE
    }

    /// Whether `done`, a time of the server, is after `moment`; `None` if they are too close to tell.
    pub(crate) fn is_after(&self, done: SystemTime, moment: Instant) -> Option<bool> {
        if done < self.at(moment, self.answered_at) - TOLERANCE {
            Some(false)
        } else if done >= self.at(moment, self.asked_at) + TOLERANCE {
            Some(true)
        } else {
            None
        }
    }

    /// What the server's clock showed at a moment, if it said what it did at another one.
    fn at(&self, moment: Instant, of_answer: Instant) -> SystemTime {
        match moment.checked_duration_since(of_answer) {
            Some(later) => self.server_time + later,
            None => self.server_time - (of_answer - moment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_and_after() {
        let second = Duration::from_secs(1);
        let moment = Instant::now();
        // The server's clock is an hour ahead, and its answer takes a second.
        let at_moment = SystemTime::now() + 3600 * second;
        let clock = Clock {
            server_time: at_moment + 10 * second,
            asked_at: moment + 9 * second,
            answered_at: moment + 10 * second,
        };
        assert_eq!(clock.is_after(at_moment - second, moment), Some(false));
        assert_eq!(clock.is_after(at_moment, moment), None);
        assert_eq!(clock.is_after(at_moment + second / 2, moment), None);
        assert_eq!(clock.is_after(at_moment + 2 * second, moment), Some(true));

        // The same answer, for a moment after it.
        let (at_later, later) = (at_moment + 20 * second, moment + 20 * second);
        assert_eq!(clock.is_after(at_moment + 12 * second, later), Some(false));
        assert_eq!(clock.is_after(at_later, later), None);
        assert_eq!(clock.is_after(at_later + 2 * second, later), Some(true));
    }

    #[test]
    fn times_of_the_server() {
        let read = |ts: &str| Clock::read(&ServerTime { ts: ts.to_owned() }, Instant::now());
        let clock = read("2026-11-22T10:39:54.123456789Z");
        let since = clock.and_then(|clock| {
            clock
                .server_time
                .duration_since(SystemTime::UNIX_EPOCH)
                .ok()
        });
        assert_eq!(since, Some(Duration::new(1_795_343_994, 123_456_789)));
        assert!(read("yesterday").is_none());
    }
}
