//! Claim checks: a response that is too large for a reply is stored as an object, and the reply refers to it.
//!
//! The reply is an error, whose message names the object for clients that do not follow references. The client of this crate reads the
//! reference from a header of that error, and fetches the object.

use async_nats::{HeaderMap, HeaderValue};

use crate::status::Status;
use crate::transport::headers;

/// Refers to a response that is stored as an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) bucket: String,
    pub(crate) name: String,
    /// The size of the response in bytes.
    pub(crate) size: usize,
    /// The digest in the metadata of the object. It identifies the response, since the object may be replaced.
    pub(crate) digest: String,
}

impl Claim {
    /// The status of the reply.
    pub(crate) fn status(&self, max_payload: usize) -> Status {
        let Self {
            bucket, name, size, ..
        } = self;
        Status::resource_exhausted(format!(
            "the response has {size} bytes, and the NATS server takes messages of up to {max_payload} bytes, headers included; \
             it is stored as object `{name}` in bucket `{bucket}`"
        ))
    }

    /// Writes the reference to the headers of the reply.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Self {
            bucket,
            name,
            size,
            digest,
        } = self;
        let text = format!("{bucket} {size} {digest} {name}");
        // Cannot panic: keys and digests have no line breaks.
        headers.insert(headers::OBJECT, HeaderValue::from(text));
    }

    /// Reads what [`write`](Self::write) writes.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ');
        let (bucket, size, digest, name) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        digest.starts_with("SHA-256=").then_some(Self {
            bucket: bucket.to_owned(),
            name: name.to_owned(),
            size: size.parse().ok()?,
            digest: digest.to_owned(),
        })
    }
}
