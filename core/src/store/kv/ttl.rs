//! The TTL of a single entry, as the header of its message gives it.

use std::time::Duration;

use async_nats::header::NATS_MESSAGE_TTL;
use async_nats::{HeaderMap, HeaderValue};

/// The TTL of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageTtl {
    /// The message does not expire, even if the bucket has a TTL.
    Never,
    After(Duration),
}

/// How many digits after the point are read. More than 13 cannot change a number of nanoseconds, even of an hour.
const MAX_FRACTION_DIGITS: usize = 18;
/// The units of a Go duration, in nanoseconds. The micro sign and the Greek letter look the same, and Go takes both.
const DURATION_UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl MessageTtl {
    /// The TTL in the headers; `None` if there is none, or one that nats-server would have refused.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        headers
            .get(NATS_MESSAGE_TTL)
            .map(HeaderValue::as_str)
            .and_then(Self::parse)
    }

    /// Reads it as nats-server does: `never`, a Go duration such as `1m0s`, or seconds. The server counts whole seconds.
    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("never") {
            return Some(Self::Never);
        }
        let seconds = match text.parse() {
            Ok(seconds) => seconds,
            Err(_) => go_duration(text)?.as_secs(),
        };
        (seconds > 0).then(|| Self::After(Duration::from_secs(seconds)))
    }
}

/// One or more numbers with a unit each, as `time.ParseDuration` of Go reads them.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanos: u64 = 0;
    loop {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let is_number = |c: char| c == '.' || c.is_ascii_digit();
        let (name, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let (_, unit) = *DURATION_UNITS.iter().find(|(known, _)| *known == name)?;
        nanos = nanos.checked_add(nanos_of(whole, fraction, unit)?)?;
        if after.is_empty() {
            return Some(Duration::from_nanos(nanos));
        }
        rest = after;
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

fn nanos_of(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let whole: u64 = match whole {
        "" => 0,
        whole => whole.parse().ok()?,
    };
    let fraction = fraction.get(..MAX_FRACTION_DIGITS).unwrap_or(fraction);
    let mut part: u128 = 0;
    let mut scale: u128 = 1;
    for digit in fraction.bytes() {
        part = part * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    let part = u64::try_from(part * u128::from(unit) / scale).ok()?;
    whole.checked_mul(unit)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttls_that_nats_server_accepts() {
        for (text, seconds) in [
            ("1", 1),
            ("007", 7),
            ("+5", 5),
            ("86400", 86_400),
            ("1s", 1),
            ("+2s", 2),
            ("1m0s", 60),
            ("1h", 3_600),
            ("2m30s", 150),
            ("1h0m1s", 3_601),
            ("30s1m", 90),
            ("1.5s", 1),
            ("1.5m", 90),
            (".5h", 1_800),
            ("1.s", 1),
            ("0.1s0.2s0.7s", 1),
            ("1500ms", 1),
            ("3000000us", 3),
            ("3000000\u{b5}s", 3),
            ("3000000\u{3bc}s", 3),
            ("4000000000ns", 4),
            ("1.99999999999999999999999999999s", 1),
        ] {
            let after = MessageTtl::After(Duration::from_secs(seconds));
            assert_eq!(MessageTtl::parse(text), Some(after), "{text}");
        }
        for text in ["never", "Never", "NEVER"] {
            assert_eq!(MessageTtl::parse(text), Some(MessageTtl::Never), "{text}");
        }
    }

    #[test]
    fn ttls_that_nats_server_refuses() {
        for text in [
            "",
            " ",
            "0",
            "0s",
            "-1",
            "-1s",
            "999ms",
            "0.9s",
            "1d",
            "1 s",
            " 1",
            "1S",
            "s",
            ".",
            ".s",
            "1.2.3s",
            "1m5",
            "1m-3s",
            "++1s",
            "1e3",
            "1e3s",
            "\u{661}s",
            "nevers",
            "99999999999999999999999",
            "99999999999999999999h",
            "9999999999h",
        ] {
            assert_eq!(MessageTtl::parse(text), None, "{text}");
        }
    }
}
