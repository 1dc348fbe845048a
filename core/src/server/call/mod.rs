//! The one place that knows the order of a call: deadline, decode, key, handler, encode, persist, reply, count.

pub(crate) mod reply;
pub(crate) mod stream;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use futures::FutureExt;
use tokio::time::Instant;

use crate::client::DEFAULT_TIMEOUT;
use crate::context::{Context, Names};
use crate::descriptor::method::{Method, MethodSettings};
use crate::descriptor::service::Rest;
use crate::persist::{Pending, Stores};
use crate::server::call::reply::{Answer, StreamCaller};
use crate::server::discovery::{Counters, EndpointInfo, endpoint_metadata};
use crate::status::Status;
use crate::transport::headers;

/// What the calls of one endpoint share.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) names: Arc<Names>,
    pub(crate) subject: String,
    pub(crate) queue_group: Option<&'static str>,
    pub(crate) settings: MethodSettings,
    pub(crate) timeout: Option<Duration>,
    pub(crate) nats: async_nats::Client,
    pub(crate) inbox_prefix: String,
    pub(crate) counters: Counters,
    pub(crate) stores: Stores,
}

/// One request on its way to its handler.
pub(crate) struct Request {
    pub(crate) message: Message,
    pub(crate) received: Instant,
    /// When it got its turn.
    pub(crate) started: Instant,
    pub(crate) endpoint: Arc<Endpoint>,
    /// The caller, if it is a stream that is asked for.
    pub(crate) stream: Option<StreamCaller>,
}

/// What a handler's success comes to.
struct Success {
    reply: Bytes,
    pending: Pending,
}

/// Answers one request of a method that takes one message and returns one.
///
/// Its future moves with the call, and so has only what the call needs.
pub(crate) fn unary<Req, Resp, E, H, Fut>(
    method: &'static Method<Req, Resp, E>,
    request: Request,
    handler: H,
) -> impl Future<Output = Option<Rest>>
where
    H: FnOnce(Arc<Context>, Req) -> Fut,
    Fut: Future<Output = Result<Resp, E>>,
{
    let Request {
        message,
        received,
        started,
        endpoint,
        ..
    } = request;
    let Message {
        subject,
        reply,
        payload,
        headers,
        ..
    } = message;
    let deadline = endpoint.deadline(received, started, headers.as_ref());
    let cx = Arc::new(Context::of_call(
        Arc::clone(&endpoint.names),
        subject,
        headers,
        deadline,
    ));

    async move {
        let result = {
            let answer = pin!(
                AssertUnwindSafe(async {
                    let request = method.decode_request(payload)?;
                    let mut writes = endpoint.stores.bind(&method.keys, &request)?;
                    // Before the handler runs, so that a full queue holds calls back and the write itself never waits.
                    endpoint.stores.reserve(&mut writes).await?;

                    let response = handler(Arc::clone(&cx), request)
                        .await
                        .map_err(method.error.into_status)?;

                    let reply = method.encode_response(&response)?;
                    let pending = endpoint.stores.submit(
                        writes,
                        &method.keys,
                        &cx,
                        &reply,
                        &response,
                        endpoint.nats.max_payload(),
                    );
                    Ok(Success { reply, pending })
                })
                .catch_unwind()
            );
            match within(deadline, answer).await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(endpoint.panicked(panic.as_ref())),
                Err(exceeded) => Err(exceeded),
            }
        };

        let finish = move |result| {
            let headers = cx.take_response_headers();
            endpoint.finish(reply, result, headers, received.elapsed())
        };
        let success = match result {
            Ok(success) => success,
            Err(status) => return finish(Err(status)),
        };
        if success.pending.is_awaited() {
            return Some(Box::pin(async move {
                let acknowledged = success.pending.acknowledged();
                let result = match within(deadline, acknowledged).await {
                    Ok(Ok(Some(claim))) => Ok(Answer::Object(claim)),
                    Ok(Ok(None)) => Ok(Answer::Message(success.reply)),
                    Ok(Err(status)) | Err(status) => Err(status),
                };
                if let Some(rest) = finish(result) {
                    rest.await;
                }
            }));
        }
        finish(Ok(Answer::Message(success.reply)))
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

impl Endpoint {
    /// The earlier of the endpoint's own timeout and what the caller announced. If neither says anything, a call that has waited
    /// for its turn for as long as callers do by default is over.
    pub(crate) fn deadline(
        &self,
        received: Instant,
        now: Instant,
        headers: Option<&HeaderMap>,
    ) -> Option<Instant> {
        let announced = headers
            .and_then(|headers| headers.get(headers::TIMEOUT))
            .and_then(|value| value.as_str().parse().ok())
            .map(Duration::from_millis);
        let timeout = match (self.timeout, announced) {
            (Some(own), Some(announced)) => own.min(announced),
            (None, None) if now - received < DEFAULT_TIMEOUT => return None,
            (own, announced) => own.or(announced).unwrap_or(DEFAULT_TIMEOUT),
        };
        received.checked_add(timeout)
    }

    /// Whether the writes of another call have room in their queues.
    pub(crate) fn has_room(&self) -> bool {
        self.stores.have_room()
    }

    /// Waits until they have.
    pub(crate) async fn room(&self) {
        self.stores.room().await;
    }

    /// A panic is a bug of the service: its text is for the log and not for the caller.
    pub(crate) fn panicked(&self, panic: &(dyn Any + Send)) -> Status {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(no text)");
        tracing::error!(
            service = self.names.service,
            endpoint = self.names.endpoint,
            panic = text,
            "a handler panicked"
        );
        Status::internal("the service failed to handle the request")
    }

    pub(crate) fn info(&self) -> EndpointInfo {
        EndpointInfo {
            name: self.names.endpoint.clone(),
            subject: self.subject.clone(),
            queue_group: self.queue_group.unwrap_or_default().to_owned(),
            metadata: endpoint_metadata(self.settings.metadata),
        }
    }
}
