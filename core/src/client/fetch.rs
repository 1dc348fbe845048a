//! Fetches a response that the service has stored as an object, because it is too large for a reply.
//!
//! May use `store::object` and `transport`. Guarantees that the reply is passed on unchanged unless it refers to an object, that only
//! the declared bucket is read, and that no more than the maximum size is fetched.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use tokio::time::Instant;

use crate::backoff;
use crate::descriptor::bucket::StoreKind;
use crate::descriptor::key::MAX_KEY_LEN;
use crate::error::chain;
use crate::status::{Code, Status};
use crate::store::bucket::jetstream::JetStream;
use crate::store::error::StoreErrorKind;
use crate::store::object::bucket::ObjectBucket;
use crate::store::object::read::{self, Version};
use crate::transport::claim::Claim;
use crate::transport::headers;

/// The settings for fetching the responses of one method.
#[derive(Clone)]
pub(crate) struct Fetch {
    pub(crate) jetstream: Option<Arc<JetStream>>,
    /// The bucket that the method declares. A reference to any other bucket is refused.
    pub(crate) bucket: &'static str,
    /// The largest response in bytes that is fetched.
    pub(crate) max_size: usize,
}

impl Fetch {
    /// Waits for the reply, and replaces its payload by the object if it refers to one. Takes no longer than `timeout`.
    pub(crate) async fn reply(
        &self,
        request: impl Future<Output = Result<Message, Status>>,
        timeout: Duration,
    ) -> Result<Message, Status> {
        let deadline = backoff::after(Instant::now(), timeout);
        let mut reply = request.await?;
        let Some(status) = headers::read_status(&reply) else {
            return Ok(reply);
        };
        let reference = reply
            .headers
            .as_ref()
            .and_then(|headers| headers.get(headers::OBJECT));
        let Some(reference) = reference.filter(|_| *status.code() == Code::ResourceExhausted)
        else {
            return Ok(reply);
        };
        let claim = self.check(reference.as_str())?;
        let Some(jetstream) = &self.jetstream else {
            return Err(Status::resource_exhausted(format!(
                "{}; this client has no JetStream to fetch it through: call `natsmicro::Client::with_jetstream`",
                status.message()
            )));
        };
        if claim.size > self.max_size {
            return Err(Status::resource_exhausted(format!(
                "{}; this client fetches responses of up to {} bytes: call `natsmicro::Client::with_max_response_size`, or read \
                 the object piece by piece",
                status.message(),
                self.max_size
            )));
        }
        let fetched =
            tokio::time::timeout_at(deadline, self.fetch(jetstream, &claim, deadline)).await;
        reply.payload = fetched.unwrap_or_else(|_| {
            let hint = jetstream.missing_permissions(StoreKind::Object, &claim.bucket);
            let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
            Err(Status::deadline_exceeded(format!(
                "the response, object `{}` in bucket `{}`, could not be fetched within {timeout:?}, in which the call must \
                 end{hint}",
                claim.name, claim.bucket
            )))
        })?;
        reply.headers = reply.headers.as_ref().map(without_error);
        Ok(reply)
    }

    async fn fetch(
        &self,
        jetstream: &JetStream,
        claim: &Claim,
        deadline: Instant,
    ) -> Result<Bytes, Status> {
        let Claim {
            bucket,
            name,
            size,
            digest,
        } = claim;
        let version = Version {
            size: *size,
            digest,
        };
        let object = async {
            let objects = jetstream.open::<ObjectBucket>(bucket).await?;
            let remaining = deadline.saturating_duration_since(Instant::now());
            let timeout = remaining.min(jetstream.timeout);
            read::get(&objects, name, Some(&version), timeout).await
        };
        let description = || format!("the response, object `{name}` in bucket `{bucket}`,");
        let error = match object.await {
            Ok(Some((_, response))) => return Ok(response),
            Ok(None) => {
                return Err(Status::aborted(format!(
                    "{} was replaced or deleted before it was fetched",
                    description()
                )));
            }
            Err(error) => jetstream.explain(StoreKind::Object, bucket, error).await,
        };
        Err(match error.kind() {
            StoreErrorKind::Incomplete => {
                Status::data_loss(format!("{} is incomplete or damaged", description()))
            }
            StoreErrorKind::PermissionDenied => Status::permission_denied(format!(
                "{} could not be fetched: {error}",
                description()
            )),
            _ => Status::unavailable(format!(
                "{} could not be fetched: {}",
                description(),
                chain(&error)
            )),
        })
    }

    /// Parses a reference, and refuses one that a service of this crate would not make for this method.
    fn check(&self, reference: &str) -> Result<Claim, Status> {
        let is_name = |claim: &Claim| (1..=MAX_KEY_LEN).contains(&claim.name.len());
        let claim = Claim::read(reference).filter(is_name).ok_or_else(|| {
            Status::internal(format!(
                "the reply refers to an object in a way that this client does not know: `{}`",
                reference.escape_debug()
            ))
        })?;
        if claim.bucket != self.bucket {
            return Err(Status::internal(format!(
                "the reply refers to an object in bucket `{}`, and the method stores its responses in bucket `{}`",
                claim.bucket.escape_debug(),
                self.bucket
            )));
        }
        Ok(claim)
    }
}

/// The headers of a reply without those that make it an error reply.
fn without_error(all: &HeaderMap) -> HeaderMap {
    headers::filtered(all, |name| {
        ![headers::ERROR, headers::ERROR_CODE, headers::OBJECT].contains(&name)
    })
}
