use std::fmt;
use std::str::FromStr;

use async_nats::{HeaderMap, HeaderName, HeaderValue};

use crate::status::Status;
use crate::transport::headers;

/// Why a header was refused: a name or value that cannot travel, or a name that the protocol itself uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHeader {
    name: String,
    reason: &'static str,
}

impl fmt::Display for InvalidHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "header `{}` {}", self.name.escape_debug(), self.reason)
    }
}

impl std::error::Error for InvalidHeader {}

impl From<InvalidHeader> for Status {
    fn from(error: InvalidHeader) -> Self {
        Self::internal(error.to_string())
    }
}

/// Adds a value under `name`, next to those that are there.
pub(crate) fn append(
    headers: &mut HeaderMap,
    name: &str,
    value: &str,
) -> Result<(), InvalidHeader> {
    let (name, value) = check(name, value)?;
    headers.append(name, value);
    Ok(())
}

/// Sets `name` to this one value.
pub(crate) fn insert(
    headers: &mut HeaderMap,
    name: &str,
    value: &str,
) -> Result<(), InvalidHeader> {
    let (name, value) = check(name, value)?;
    headers.insert(name, value);
    Ok(())
}

fn check(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), InvalidHeader> {
    let invalid = |reason| InvalidHeader {
        name: name.to_owned(),
        reason,
    };
    if headers::is_reserved(name) {
        return Err(invalid("is used by the protocol; choose another name"));
    }
    // async-nats takes an empty name, and the receiving connection then breaks on it.
    if name.is_empty() {
        return Err(invalid("has an empty name"));
    }
    let name = HeaderName::from_str(name).map_err(|_| {
        invalid("has a character in its name other than printable ASCII without `:`")
    })?;
    let value =
        HeaderValue::from_str(value).map_err(|_| invalid("has a line break in its value"))?;
    Ok((name, value))
}
