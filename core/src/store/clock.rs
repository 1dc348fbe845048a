//! Whether something was before or after something else, by the clock of nats-server.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

/// How long an answer of the server is used.
const FRESH: Duration = Duration::from_secs(1);

/// What the server's clock said, at some moment between a question and its answer. That of this machine may say anything else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    said: SystemTime,
    asked: Instant,
    answered: Instant,
}

/// The part of what the server says of a stream that is about the time.
#[derive(Deserialize)]
pub(super) struct Now {
    ts: String,
}

impl Clock {
    /// `None` if that is no time.
    pub(super) fn read(now: &Now, asked: Instant) -> Option<Self> {
        Some(Self {
            said: OffsetDateTime::parse(&now.ts, &Rfc3339).ok()?.into(),
            asked,
            answered: Instant::now(),
        })
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.answered.elapsed() < FRESH
    }

    /// Whether the server did something after this moment here; `None` if that is too close to tell.
    pub(crate) fn is_after(&self, done: SystemTime, moment: Instant) -> Option<bool> {
        let earliest = self.said - (self.answered - moment);
        let latest = self.said - (self.asked - moment);
        match done {
            done if done < earliest => Some(false),
            done if done >= latest => Some(true),
            _ => None,
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
        assert_eq!(clock.is_after(at_moment + second, moment), Some(true));
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
