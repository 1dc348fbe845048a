//! Whether something was before or after something else, by the clock of nats-server.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

/// How long an answer of the server is used.
const FRESH: Duration = Duration::from_secs(1);
/// How far two clocks may be apart: that of the server has run faster or slower since the moment that is asked for, and another
/// server of the cluster may have been the leader then.
const SLACK: Duration = Duration::from_millis(10);

/// What the server's clock said, at some moment between a question and its answer. That of this machine may say anything else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    said: SystemTime,
    asked: Instant,
    answered: Instant,
}

/// The part of what the server says of a stream that is about the time.
#[derive(Deserialize)]
pub(crate) struct Now {
    ts: String,
}

impl Clock {
    /// `None` if that is no time.
    pub(crate) fn read(now: &Now, asked: Instant) -> Option<Self> {
        Some(Self {
            said: OffsetDateTime::parse(&now.ts, &Rfc3339).ok()?.into(),
            asked,
            answered: Instant::now(),
        })
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.answered.elapsed() < FRESH
    }

    /// Whether the server did something after this moment here; `None` if that is too close to tell.
    pub(crate) fn is_after(&self, done: SystemTime, moment: Instant) -> Option<bool> {
        if done < self.at(moment, self.answered) - SLACK {
            Some(false)
        } else if done >= self.at(moment, self.asked) + SLACK {
            Some(true)
        } else {
            None
        }
    }

    /// What the server's clock showed at a moment, if it said what it did at another one.
    fn at(&self, moment: Instant, of_answer: Instant) -> SystemTime {
        match moment.checked_duration_since(of_answer) {
            Some(later) => self.said + later,
            None => self.said - (of_answer - moment),
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
            said: at_moment + 10 * second,
            asked: moment + 9 * second,
            answered: moment + 10 * second,
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
        let read = |ts: &str| Clock::read(&Now { ts: ts.to_owned() }, Instant::now());
        let clock = read("2026-11-22T10:39:54.123456789Z");
        let since = clock.and_then(|clock| clock.said.duration_since(SystemTime::UNIX_EPOCH).ok());
        assert_eq!(since, Some(Duration::new(1_795_343_994, 123_456_789)));
        assert!(read("yesterday").is_none());
    }
}
