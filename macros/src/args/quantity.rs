//! Durations, numbers and sizes.
//!
//! Assumes and guarantees what [`value`](super::value) does.

use std::time::Duration;

use syn::{Expr, Lit, Meta, MetaNameValue};

use super::value::{Value, literal, setting_name, string, wrong_kind};
use crate::diag::{error, error_with_help};

/// A duration, written `"30s"`; never zero, and within what NATS can count in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period(pub(crate) Duration);

impl Value for Period {
    const WHAT: &'static str = "a string";

    fn example(name: &str) -> String {
        format!(
            "{name} = \"{}\"",
            if name == "timeout" { "30s" } else { "1h" }
        )
    }

    fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self> {
        let lit = string::<Self>(meta, errors)?;
        let text = lit.value();
        let shown = text.escape_debug();
        match parse_duration(&text) {
            Some(duration) if duration.is_zero() => {
                errors.push(error(
                    &lit,
                    format!("`{}` must be longer than zero", setting_name(meta.path())),
                ));
                None
            }
            Some(duration) => Some(Self(duration)),
            None if is_number_and_unit(&text) => {
                errors.push(error(
                    &lit,
                    format!("`{shown}` is longer than NATS can count (292 years)"),
                ));
                None
            }
            None => {
                let message = if text.is_empty() {
                    "a duration cannot be empty".to_owned()
                } else {
                    format!("`{shown}` is not a duration")
                };
                errors.push(error_with_help(
                    &lit,
                    message,
                    "write a whole number and a unit (`ms`, `s`, `m`, `h` or `d`), such as \"90s\"",
                ));
                None
            }
        }
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

fn is_number_and_unit(text: &str) -> bool {
    let (number, unit) = split_unit(text);
    !number.is_empty() && unit_millis(unit).is_some()
}

fn unit_millis(unit: &str) -> Option<u64> {
    match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    const MAX_MILLIS: u64 = i64::MAX as u64 / 1_000_000;
    let (number, unit) = split_unit(text);
    let millis = number
        .parse::<u64>()
        .ok()?
        .checked_mul(unit_millis(unit)?)?;
    (millis <= MAX_MILLIS).then(|| Duration::from_millis(millis))
}

/// A whole number between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Value for Number<MIN, MAX> {
    const WHAT: &'static str = "a number";

    fn example(name: &str) -> String {
        let number = match name {
            "window" => 4096,
            _ if MAX > 64 => 100,
            _ => 3,
        };
        format!("{name} = {number}")
    }

    fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self> {
        let name = setting_name(meta.path());
        match (literal(meta), meta) {
            (Some(Lit::Str(lit)), _) if name == "window" && is_number_of_bytes(&lit.value()) => {
                errors.push(error_with_help(
                    lit,
                    "`window` takes a number of messages",
                    format!("write `window_bytes = \"{}\"` for bytes", lit.value()),
                ));
            }
            (Some(Lit::Int(lit)), _) => {
                if let Some(number) = lit
                    .base10_parse::<u64>()
                    .ok()
                    .filter(|number| (MIN..=MAX).contains(number))
                {
                    return Some(Self(number));
                }
                errors.push(error(
                    lit,
                    format!("`{name}` must be between {MIN} and {MAX}"),
                ));
            }
            (
                None,
                Meta::NameValue(MetaNameValue {
                    value: value @ Expr::Unary(_),
                    ..
                }),
            ) => {
                errors.push(error(
                    value,
                    format!("`{name}` must be between {MIN} and {MAX}"),
                ));
            }
            _ => errors.push(wrong_kind::<Self>(meta)),
        }
        None
    }
}

/// How many messages of a stream its sender may be ahead of the reader.
pub(crate) type Window = Number<1, 65_536>;

/// How many bytes of a stream its sender may be ahead of the reader. The largest value is what a stream without flow control may hold.
pub(crate) type WindowBytes = Bytes<1024, { 64 << 20 }>;

/// A number of bytes between two bounds, written `65536` or `"64KiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Value for Bytes<MIN, MAX> {
    const WHAT: &'static str = "a number of bytes";

    fn example(name: &str) -> String {
        format!("{name} = \"64KiB\"")
    }

    fn read(meta: &Meta, errors: &mut Vec<syn::Error>) -> Option<Self> {
        let name = setting_name(meta.path());
        let (lit, bytes) = match literal(meta) {
            Some(lit @ Lit::Int(int)) => (lit, int.base10_parse::<u64>().ok()),
            Some(lit @ Lit::Str(text)) => {
                let text = text.value();
                let (number, unit) = split_unit(&text);
                let (false, Some(unit)) = (number.is_empty(), unit_bytes(unit.trim_start())) else {
                    errors.push(error_with_help(
                        lit,
                        format!("`{}` is not a number of bytes", text.escape_debug()),
                        "write a whole number and a unit (`B`, `KiB`, `MiB` or `GiB`), such as \"64KiB\"",
                    ));
                    return None;
                };
                (
                    lit,
                    number
                        .parse::<u64>()
                        .ok()
                        .and_then(|number| number.checked_mul(unit)),
                )
            }
            _ => {
                errors.push(wrong_kind::<Self>(meta));
                return None;
            }
        };
        let bytes = bytes.filter(|bytes| (MIN..=MAX).contains(bytes));
        if bytes.is_none() {
            let message = format!("`{name}` must be between {MIN} and {MAX} bytes");
            errors.push(match reason_of_bounds(&name) {
                Some(reason) => error_with_help(lit, message, reason),
                None => error(lit, message),
            });
        }
        bytes.map(Self)
    }
}

/// Why the bounds of a setting are what they are, where they are a choice of this crate and not of NATS.
fn reason_of_bounds(name: &str) -> Option<&'static str> {
    (name == "window_bytes").then_some(
        "with less, each message waits for credit of its own; with more, a few streams use up the memory for all streams of a server",
    )
}

fn is_number_of_bytes(text: &str) -> bool {
    let (number, unit) = split_unit(text);
    let unit = unit.trim_start();
    !number.is_empty() && !unit.is_empty() && unit_bytes(unit).is_some()
}

fn unit_bytes(unit: &str) -> Option<u64> {
    match unit {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    }
}
