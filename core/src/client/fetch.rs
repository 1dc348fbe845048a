//! The calling side: follows the reference in a reply.

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
use crate::transport::request::RequestFuture;

/// How a client gets at the responses of a method that are too large for a reply.
pub(crate) struct Fetch {
    pub(crate) jetstream: Option<Arc<JetStream>>,
    /// Where the method says that its responses are stored: no service may send its callers anywhere else.
    pub(crate) bucket: &'static str,
    /// How many bytes a response may have.
    pub(crate) max_size: usize,
}

impl Fetch {
    /// The reply of the exchange, with the response in it if it refers to one. All of it takes no longer than `timeout`.
    pub(crate) async fn reply(
        self: Box<Self>,
        exchange: RequestFuture,
        timeout: Duration,
    ) -> Result<Message, Status> {
        let deadline = backoff::after(Instant::now(), timeout);
        let mut reply = exchange.await?;
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
            Err(Status::deadline_exceeded(format!(
                "the response, object `{}` in bucket `{}`, could not be fetched within {timeout:?}, in which the call must \
                 end",
                claim.name, claim.bucket
            )))
        })?;
        reply.headers = reply.headers.as_ref().map(of_success);
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
        let found = async {
            let objects = jetstream.open::<ObjectBucket>(bucket).await?;
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = left.min(jetstream.timeout);
            read::get(&objects, name, Some(&version), timeout).await
        };
        let what = || format!("the response, object `{name}` in bucket `{bucket}`,");
        let error = match found.await {
            Ok(Some((_, response))) => return Ok(response),
            Ok(None) => {
                return Err(Status::aborted(format!(
                    "{} was replaced or deleted before it was fetched",
                    what()
                )));
            }
            Err(error) => jetstream.explain(StoreKind::Object, bucket, error).await,
        };
        Err(match error.kind() {
            StoreErrorKind::Incomplete => {
                Status::data_loss(format!("{} is incomplete or damaged", what()))
            }
            _ => Status::unavailable(format!(
                "{} could not be fetched: {}",
                what(),
                chain(&error)
            )),
        })
    }

    /// Reads a reference, and refuses one that no service of ours makes for this method.
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

/// Headers of a reply without those that make it an error.
fn of_success(all: &HeaderMap) -> HeaderMap {
    headers::filtered(all, |name| {
        ![headers::ERROR, headers::ERROR_CODE, headers::OBJECT].contains(&name)
    })
}
