//! Compares moments of this process with times of the server, whose clock may differ.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

/// How long a reading of the server clock is used.
const MAX_READING_AGE: Duration = Duration::from_secs(1);
/// How far the clocks may have drifted apart since the moment in question: that of the server may have run faster or slower, and another
/// server of the cluster may have been the leader then.
const MAX_CLOCK_DRIFT: Duration = Duration::from_millis(10);

/// A reading of the server clock, taken at some moment between `asked_at` and `answered_at`. The clock of this machine may differ by
/// any amount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    server_time: SystemTime,
    asked_at: Instant,
    answered_at: Instant,
}

impl Clock {
    /// Reads the time in an answer of the server; `None` if the text is not a time.
    pub(crate) fn read(now: &str, asked_at: Instant) -> Option<Self> {
        Some(Self {
            server_time: OffsetDateTime::parse(now, &Rfc3339).ok()?.into(),
            asked_at,
            answered_at: Instant::now(),
        })
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.answered_at.elapsed() < MAX_READING_AGE
    }

    pub(crate) fn is_asked_after(&self, moment: Instant) -> bool {
        self.asked_at >= moment
    }

    /// Whether another reading would hardly decide more.
    pub(crate) fn is_precise(&self) -> bool {
        self.answered_at - self.asked_at <= 2 * MAX_CLOCK_DRIFT
    }

    /// Whether `server_time` is after `moment`; `None` if the two are too close to decide.
    pub(crate) fn is_after(&self, server_time: SystemTime, moment: Instant) -> Option<bool> {
        if server_time < self.at(moment, self.answered_at) - MAX_CLOCK_DRIFT {
            Some(false)
        } else if server_time >= self.at(moment, self.asked_at) + MAX_CLOCK_DRIFT {
            Some(true)
        } else {
            None
        }
    }

    /// The time of the server now. It may be later by as much as the answer took.
    pub(crate) fn now(&self) -> SystemTime {
        self.at(Instant::now(), self.answered_at)
    }

    /// The time of the server at `moment`, if its clock was read at `read_at`.
    fn at(&self, moment: Instant, read_at: Instant) -> SystemTime {
        match moment.checked_duration_since(read_at) {
            Some(later) => self.server_time + later,
            None => self.server_time - (read_at - moment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Clock {
        /// A reading that took no time.
        pub(crate) fn at_once(server_time: SystemTime, moment: Instant) -> Self {
            Self {
                server_time,
                asked_at: moment,
                answered_at: moment,
            }
        }
    }

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
    fn ten_milliseconds_are_too_close_to_decide() {
        let ms = Duration::from_millis;
        let (moment, server_time) = (Instant::now(), SystemTime::now());
        let clock = Clock::at_once(server_time, moment);
        for (apart, decided) in [(ms(9), false), (ms(11), true)] {
            let after = clock.is_after(server_time + apart, moment);
            assert_eq!(after, decided.then_some(true));
            let before = clock.is_after(server_time - apart, moment);
            assert_eq!(before, decided.then_some(false));
        }
    }

    #[test]
    fn times_of_the_server() {
        let read = |ts: &str| Clock::read(ts, Instant::now());
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
