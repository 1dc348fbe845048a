//! The headers of the protocol, the checks of those that users set, and how a [`Status`] travels in headers.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_nats::{HeaderMap, HeaderName, HeaderValue, Message};

use crate::status::{Code, Status};

pub(crate) const ERROR: &str = "Nats-Service-Error";
pub(crate) const ERROR_CODE: &str = "Nats-Service-Error-Code";
/// The pair that some generated peers send instead of the two above.
const PEER_CODE: &str = "Status";
const PEER_MESSAGE: &str = "Description";
/// The subject on which a caller receives a stream.
pub(crate) const REPLY_TO: &str = "Reply-To";
/// Our extension: for how many milliseconds the caller waits for the answer.
pub(crate) const TIMEOUT: &str = "Natsmicro-Timeout-Ms";
/// In the end of a stream that is cut off because the service stops: another instance may serve it.
pub(crate) const STOPPING: &str = "Natsmicro-Stopping";
/// Our extension: refers to the object that holds the response. Bucket, size in bytes, digest and name, separated by spaces.
pub(crate) const OBJECT: &str = "Natsmicro-Object";
/// W3C trace context, passed on untouched.
pub(crate) const TRACE: [&str; 2] = ["traceparent", "tracestate"];
/// The headers of a request that say for whom it is traced, and not what is asked for.
const TRACED: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// Headers that belong to the protocol: a user's value there would be read as something else by the peer.
pub(crate) fn is_reserved(name: &str) -> bool {
    let has_prefix = |prefix: &str| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    has_prefix("Nats-") || has_prefix("Natsmicro-") || name == PEER_CODE || name == PEER_MESSAGE
}

/// Why a header was refused: a name or value that cannot travel, or a name that the protocol itself uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHeader {
    name: String,
    reason: &'static str,
}

impl InvalidHeader {
    pub(crate) fn too_late(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            reason: "cannot be set any more: the headers of the response have left",
        }
    }
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

/// The first value under `name`.
pub(crate) fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    // `HeaderMap::get` panics on names that cannot be headers.
    let name: HeaderName = name.parse().ok()?;
    headers.get(name).map(HeaderValue::as_str)
}

/// Removes all values under `name`.
pub(crate) fn remove(headers: &mut HeaderMap, name: &str) -> Result<(), InvalidHeader> {
    let (name, _) = check(name, "")?;
    // async-nats has no function that removes a header.
    let removed: &str = name.as_ref();
    if headers.get(removed).is_some() {
        *headers = filtered(headers, |name| name != removed);
    }
    Ok(())
}

fn check(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), InvalidHeader> {
    let invalid = |reason| InvalidHeader {
        name: name.to_owned(),
        reason,
    };
    if is_reserved(name) {
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

/// Writes `status` into the headers of a reply. Neither header is ever empty: peers would drop such a reply or wait for ever.
pub(crate) fn write_status(headers: &mut HeaderMap, status: &Status) {
    let code = header_text(status.code().as_str(), Code::Unknown.as_str());
    let message = header_text(status.message(), code.as_str());
    headers.insert(ERROR, message);
    headers.insert(ERROR_CODE, code);
}

/// Tells the service for how long the caller waits.
pub(crate) fn insert_timeout(headers: &mut HeaderMap, timeout: Duration) {
    // Rounded up, since the service would reject a timeout of zero at once.
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    headers.insert(TIMEOUT, HeaderValue::from(millis));
}

/// Tells the service for how long the caller still waits, if the headers say how long it waits.
pub(crate) fn renew_timeout(headers: &mut HeaderMap, remaining: Duration) {
    if headers.get(TIMEOUT).is_some() {
        insert_timeout(headers, remaining);
    }
}

/// The size of the headers on the wire in bytes, which counts towards the `max_payload` of the server.
pub(crate) fn headers_len(headers: &HeaderMap) -> usize {
    if headers.is_empty() {
        return 0;
    }
    let lines = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        let line = move |value: &HeaderValue| name.len() + ": ".len() + value.as_str().len() + 2;
        values.iter().map(line)
    });
    "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
}

/// Whether two requests have the same headers, those aside by which they are traced.
pub(crate) fn equal_but_trace(some: &HeaderMap, others: &HeaderMap) -> bool {
    let count = |headers: &HeaderMap| {
        headers.len()
            - TRACED
                .iter()
                .filter(|name| headers.get(**name).is_some())
                .count()
    };
    count(some) == count(others)
        && some.iter().all(|(name, values)| {
            TRACED.contains(&name.as_ref()) || others.get_all(name.clone()).eq(values)
        })
}

/// Adds `more` to `headers`.
pub(crate) fn add(headers: &mut HeaderMap, more: &HeaderMap) {
    add_if(headers, more, |_| true);
}

/// A copy of those headers whose names `keep` accepts.
pub(crate) fn filtered(headers: &HeaderMap, keep: impl Fn(&str) -> bool) -> HeaderMap {
    let mut kept = HeaderMap::new();
    add_if(&mut kept, headers, keep);
    kept
}

fn add_if(headers: &mut HeaderMap, more: &HeaderMap, keep: impl Fn(&str) -> bool) {
    for (name, values) in more.iter() {
        if keep(name.as_ref()) {
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
    }
}

/// `status` with a message of at most `chars` characters and without details.
pub(crate) fn shortened(status: &Status, chars: usize) -> Status {
    let code = match status.code() {
        code if code.as_str().len() <= 64 => code.clone(),
        _ => Code::ResourceExhausted,
    };
    Status::new(
        code,
        status.message().chars().take(chars).collect::<String>(),
    )
}

/// The failure that a reply reports, in either of the header pairs that peers send.
pub(crate) fn read_status(reply: &Message) -> Option<Status> {
    let headers = reply.headers.as_ref()?;
    let text = |name: &str| {
        headers
            .get(name)
            .map(HeaderValue::as_str)
            .filter(|text| !text.is_empty())
    };
    let is_peer_error = headers.get(PEER_MESSAGE).is_some();
    let (code, message) = match (text(ERROR_CODE), text(PEER_CODE)) {
        (Some(code), _) => (code, text(ERROR).unwrap_or(code)),
        (None, Some(code)) if is_peer_error => (code, text(PEER_MESSAGE).unwrap_or(code)),
        _ => return None,
    };
    Some(Status::new(code, message).with_details(reply.payload.clone()))
}

/// `text` as a header value: control characters (CR and LF would end the header) become spaces.
fn header_text(text: &str, fallback: &str) -> HeaderValue {
    let clean = if text.contains(char::is_control) {
        Cow::Owned(text.replace(char::is_control, " "))
    } else {
        Cow::Borrowed(text)
    };
    let clean = clean.trim();
    let value = if clean.is_empty() { fallback } else { clean };
    // Cannot panic: only CR and LF are refused, and both are control characters.
    HeaderValue::from(value)
}
