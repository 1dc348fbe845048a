//! The pipeline of a call: one function from a request to a reply, for methods of all four kinds.
//!
//! A request and a reply have a body of bytes, one message or a stream of messages. Codecs are inside the pipeline; NATS is outside:
//! it knows no subscription, no reply subject and no credit. `server::dispatch` calls it and sends what it gives, and counts the
//! call, since only there it is known whether the reply fits into a message.
//!
//! A handler that streams is done with the pipeline when it has returned its stream, or its response; the stream is polled by
//! whoever sends it.

pub(crate) mod body;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use futures::FutureExt;
use tokio::time::Instant;

use crate::context::Context;
use crate::descriptor::method::Method;
use crate::persist::{Pending, Writes};
use crate::server::call::body::{Input, Output};
use crate::server::endpoint::Endpoint;
use crate::status::Status;
use crate::stream::streaming::Streaming;
use crate::transport::claim::Claim;

/// A request on its way to its handler.
pub(crate) struct Request {
    pub(crate) subject: Subject,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) body: Body,
    pub(crate) deadline: Option<Instant>,
    /// How many bytes a reply may have, headers included.
    pub(crate) max_payload: usize,
}

/// What the caller sends. A stream is boxed: it is several times the size of a message, and all of this moves with each call.
#[derive(Debug)]
pub(crate) enum Body {
    Message(Bytes),
    Stream(Box<Streaming<Bytes>>),
}

/// What the caller gets.
pub(crate) struct Reply {
    pub(crate) result: Result<Answer, Status>,
    /// Holds the response headers, also those that the handler of a stream sets later.
    pub(crate) cx: Arc<Context>,
}

/// What a success is answered with; small, as [`Body`].
#[derive(Debug)]
pub(crate) enum Answer {
    Message(Bytes),
    Stream(Box<Streaming<Bytes>>),
    /// Stands in for a response that is too large for a message.
    Object(Box<Claim>),
}

/// A call whose handler is done. Its reply may still wait for writes.
pub(crate) struct Handled {
    reply: Reply,
    pending: Pending,
    deadline: Option<Instant>,
}

/// Answers a request: deadline, context, decode, keys, room in the queues, handler, encode, write, reply.
///
/// The future moves with the call, and so holds only what the call needs.
pub(crate) fn run<Req, Resp, E, I, O, H, Fut>(
    method: &'static Method<Req, Resp, E>,
    endpoint: Arc<Endpoint>,
    request: Request,
    handler: H,
) -> impl Future<Output = Handled>
where
    I: Input<Req>,
    O: Output<Resp>,
    H: FnOnce(Arc<Context>, I) -> Fut,
    Fut: Future<Output = Result<O, E>>,
{
    let Request {
        subject,
        headers,
        body,
        deadline,
        max_payload,
    } = request;
    let names = Arc::clone(&endpoint.names);
    let cx = Arc::new(Context::of_call(names, subject, headers, deadline));
    async move {
        let result = {
            let call = pin!(
                AssertUnwindSafe(async {
                    let input = I::decode(body, method.request)?;

                    let mut writes = match input.as_message() {
                        Some(request) => endpoint.stores.bind(&method.keys, request)?,
                        None => Writes::default(),
                    };
                    // Before the handler runs: a full queue holds calls back, and the write itself never waits.
                    endpoint.stores.reserve(&mut writes).await?;

                    let output = handler(Arc::clone(&cx), input)
                        .await
                        .map_err(method.error.into_status)?;

                    let mut pending = Pending::default();
                    let store = |reply: &Bytes, response: &Resp| {
                        pending = endpoint.stores.submit(
                            writes,
                            &method.keys,
                            &cx,
                            reply,
                            response,
                            max_payload,
                        );
                    };
                    let answer = output.encode(method.response, &endpoint, store)?;
                    Ok((answer, pending))
                })
                .catch_unwind()
            );
            match within(deadline, call).await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(endpoint.panicked(panic.as_ref())),
                Err(exceeded) => Err(exceeded),
            }
        };
        let (result, pending) = match result {
            Ok((answer, pending)) => (Ok(answer), pending),
            Err(status) => (Err(status), Pending::default()),
        };
        Handled {
            reply: Reply { result, cx },
            pending,
            deadline,
        }
    }
}

impl Handled {
    /// Whether the reply waits for writes.
    pub(crate) fn awaits_writes(&self) -> bool {
        self.pending.is_awaited()
    }

    /// The reply of a call that waits for no writes.
    pub(crate) fn into_reply(self) -> Reply {
        self.reply
    }

    /// Waits for the writes that the reply waits for. One that fails, or is not acknowledged by the deadline, fails the call.
    pub(crate) async fn reply(self) -> Reply {
        if !self.awaits_writes() {
            return self.reply;
        }
        let Self {
            reply,
            pending,
            deadline,
        } = self;
        let result = match within(deadline, pending.acknowledged()).await {
            Ok(Ok(Some(claim))) => Ok(Answer::Object(claim)),
            Ok(Ok(None)) => reply.result,
            Ok(Err(status)) | Err(status) => Err(status),
        };
        Reply { result, ..reply }
    }
}

/// Drops `work` when the deadline passes; does not start it if it has passed already.
pub(crate) async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Result<T, Status> {
    let Some(deadline) = deadline else {
        return Ok(work.await);
    };
    let exceeded = || Status::deadline_exceeded("the call was not answered within its deadline");
    if deadline <= Instant::now() {
        return Err(exceeded());
    }
    tokio::time::timeout_at(deadline, work)
        .await
        .map_err(|_| exceeded())
}
