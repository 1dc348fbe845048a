//! The pipeline of a call: one function from a request to a reply, for methods of all four kinds.
//!
//! [`run`] has the steps up to the submitted writes: deadline, context, decode, validate, keys, room in the queues, handler, encode, write.
//! [`Handled::reply`] waits for the acknowledgements that the reply depends on. `server::dispatch` sends and counts the reply, since only
//! there it is known whether it fits into a message.
//!
//! Bodies are bytes, one message or a stream of messages. Codecs are inside the pipeline, and NATS is outside: it has no subscription,
//! no reply subject and no credit. A handler that streams has left the pipeline when it has returned its stream; `server::dispatch` polls
//! that stream and sends its messages.

pub(crate) mod body;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use async_nats::HeaderMap;
use futures::FutureExt;
use tokio::time::Instant;

use crate::context::Context;
use crate::descriptor::method::Method;
use crate::middleware::body::Answer;
use crate::middleware::on_end::OnEnd;
use crate::middleware::request::Request;
use crate::persist::Writes;
use crate::persist::pending::Pending;
use crate::server::call::body::{Input, Output};
use crate::server::endpoint::Endpoint;
use crate::status::Status;

/// The reply to a request.
pub(crate) struct Reply {
    pub(crate) result: Result<Answer, Status>,
    /// The response headers. They travel with an error as well.
    pub(crate) headers: HeaderMap,
    /// What is to be told about the end of the call.
    pub(crate) on_end: OnEnd,
}

/// A call whose handler has returned. Its reply may still wait for writes; `pending` is empty if the call has failed.
pub(crate) struct Handled {
    reply: Reply,
    pending: Pending,
    deadline: Option<Instant>,
}

/// Runs a request from its context to its submitted writes. The steps are in their order; the deadline of the request bounds them all.
///
/// The future moves with the call, and so holds only what the call needs.
pub(crate) fn run<Req, Resp, E, I, O, H, Fut>(
    method: &'static Method<Req, Resp, E>,
    endpoint: Arc<Endpoint>,
    request: Request,
    handler: H,
) -> impl Future<Output = Handled>
where
    Req: 'static,
    Resp: 'static,
    E: 'static,
    I: Input<Req>,
    O: Output<Resp>,
    H: FnOnce(Context, I) -> Fut,
    Fut: Future<Output = Result<O, E>>,
{
    let Request {
        subject,
        headers,
        body,
        extensions,
        received,
        deadline,
        bypass,
        max_payload,
        ..
    } = request;
    let shared = Arc::clone(&endpoint.context);
    let cx = Context::of_call(shared, subject, headers, extensions, received, deadline);
    async move {
        let result = {
            let steps = pin!(
                AssertUnwindSafe(async {
                    if let Some(bypass) = bypass
                        && !bypass.is_open()
                    {
                        // Boxed: calls that are not streams need no space for it.
                        Box::pin(bypass.open()).await?;
                    }
                    let input = I::decode(body, method, &endpoint)?;

                    let mut writes = match input.as_message() {
                        Some(request) => endpoint.stores.bind(&method.keys, request)?,
                        None => Writes::default(),
                    };
                    // Before the handler runs: a full queue delays calls, and a write is never dropped for want of room.
                    endpoint.stores.reserve(&mut writes).await?;

                    let output = handler(cx.clone(), input)
                        .await
                        .map_err(method.error.into_status)?;

                    let (answer, response) = output.encode(method.response, &endpoint)?;

                    let pending = match (&answer, &response) {
                        (Answer::Message(reply), Some(response)) => {
                            let (stores, keys) = (&endpoint.stores, &method.keys);
                            stores.submit(writes, keys, &cx, reply, response, max_payload)
                        }
                        _ => Pending::default(),
                    };
                    Ok((answer, pending))
                })
                .catch_unwind()
            );
            within(deadline, steps).await.and_then(|ended| {
                ended.unwrap_or_else(|panic| Err(endpoint.panicked(panic.as_ref())))
            })
        };
        Handled::new(result, cx.take_response_headers(), deadline)
    }
}

impl Handled {
    fn new(
        result: Result<(Answer, Pending), Status>,
        headers: HeaderMap,
        deadline: Option<Instant>,
    ) -> Self {
        let (result, pending) = match result {
            Ok((answer, pending)) => (Ok(answer), pending),
            Err(status) => (Err(status), Pending::default()),
        };
        Self {
            reply: Reply {
                result,
                headers,
                on_end: OnEnd::default(),
            },
            pending,
            deadline,
        }
    }

    /// A call whose reply is complete.
    pub(crate) fn replied(reply: Reply) -> Self {
        Self {
            reply,
            pending: Pending::default(),
            deadline: None,
        }
    }

    /// Whether the reply waits for writes.
    pub(crate) fn awaits_writes(&self) -> bool {
        self.pending.is_awaited()
    }

    /// The reply of a call that waits for no writes.
    pub(crate) fn into_reply(self) -> Reply {
        self.reply
    }

    /// Waits for the acknowledgements that the reply depends on. A write that fails, or is not acknowledged by the deadline, fails the
    /// call.
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
            Ok(Ok(Some(claim))) => reply.result.map(|answer| answer.stored_as(claim)),
            Ok(Ok(None)) => reply.result,
            Ok(Err(status)) | Err(status) => Err(status),
        };
        Reply { result, ..reply }
    }
}

/// Runs `work` until the deadline, and drops it then. Does not start it if the deadline has passed.
pub(crate) async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = T>,
) -> Result<T, Status> {
    let Some(deadline) = deadline else {
        return Ok(work.await);
    };
    if deadline <= Instant::now() {
        return Err(deadline_exceeded());
    }
    tokio::time::timeout_at(deadline, work)
        .await
        .map_err(|_| deadline_exceeded())
}

pub(crate) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the call was not answered within its deadline")
}
