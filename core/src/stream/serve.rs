//! The end of a service: from the request that opens a stream to its last message.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, HeaderValue, Message};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryFutureExt, stream};
use tokio::time::Instant;

use super::delivery::{Delivery, delivery};
use super::flow::Outbound;
use super::link::{Event, Link};
use super::output::{Out, Output, encoded};
use super::wire::{self, INBOX};
use super::{PLAIN_WINDOW, Streaming, window};
use crate::Status;
use crate::context::Context;
use crate::endpoint::{Caller, Endpoint, Request, within};
use crate::service::Method;

/// How often a response is sent to a caller who does not listen yet, and how long it takes to know that.
const LATE_TRIES: u32 = 10;
const LATE_WAIT: Duration = Duration::from_millis(100);

/// A stream that was accepted.
struct Call {
    endpoint: Arc<Endpoint>,
    link: Link,
    cx: Arc<Context>,
    received: Instant,
    deadline: Option<Instant>,
    /// The response is one bare message.
    single: bool,
}

/// Answers a request with a stream.
pub(crate) async fn server_streaming<Req, Resp, E, H, Fut>(
    method: &'static Method<Req, Resp, E>,
    mut request: Request,
    handler: H,
) where
    Req: Send + 'static,
    Resp: Send + 'static,
    E: Send + 'static,
    H: FnOnce(Arc<Context>, Req) -> Fut + Send,
    Fut: Future<Output = Result<Streaming<Resp>, E>> + Send,
{
    let payload = std::mem::take(&mut request.message.payload);
    let Some(call) = accept(request, None, false).await else {
        return;
    };
    let cx = Arc::clone(&call.cx);
    let stream = async move {
        let request = (method.request.decode)(payload).map_err(|error| {
            Status::invalid_argument(format!("failed to decode request: {error}"))
        })?;
        handler(cx, request).await.map_err(method.error.into_status)
    };
    call.run(responses(method, stream)).await;
}

/// Answers a stream with one response.
pub(crate) async fn client_streaming<Req, Resp, E, H, Fut>(
    method: &'static Method<Req, Resp, E>,
    request: Request,
    handler: H,
) where
    Req: Send + 'static,
    Resp: Send + 'static,
    E: Send + 'static,
    H: FnOnce(Arc<Context>, Streaming<Req>) -> Fut + Send,
    Fut: Future<Output = Result<Resp, E>> + Send,
{
    let Some((call, requests)) = accept_stream(method, request, true).await else {
        return;
    };
    let response = handler(Arc::clone(&call.cx), requests);
    let response = async move {
        let response = response.await.map_err(method.error.into_status)?;
        (method.response.encode)(&response)
            .map(Out::Response)
            .map_err(|error| Status::internal(format!("failed to encode the response: {error}")))
    };
    call.run(stream::once(response)).await;
}

/// Answers a stream with a stream.
pub(crate) async fn bidirectional<Req, Resp, E, H, Fut>(
    method: &'static Method<Req, Resp, E>,
    request: Request,
    handler: H,
) where
    Req: Send + 'static,
    Resp: Send + 'static,
    E: Send + 'static,
    H: FnOnce(Arc<Context>, Streaming<Req>) -> Fut + Send,
    Fut: Future<Output = Result<Streaming<Resp>, E>> + Send,
{
    let Some((call, requests)) = accept_stream(method, request, false).await else {
        return;
    };
    let stream = handler(Arc::clone(&call.cx), requests).map_err(method.error.into_status);
    call.run(responses(method, stream)).await;
}

/// What goes out when the handler has returned its stream.
fn responses<Req, Resp: 'static, E>(
    method: &Method<Req, Resp, E>,
    stream: impl Future<Output = Result<Streaming<Resp>, Status>>,
) -> impl Stream<Item = Result<Out, Status>> {
    let codec = method.response;
    stream
        .map_ok(move |responses| {
            stream::once(async { Ok(Out::Opened) }).chain(encoded(responses, codec))
        })
        .try_flatten_stream()
}

async fn accept_stream<Req, Resp, E>(
    method: &Method<Req, Resp, E>,
    request: Request,
    single: bool,
) -> Option<(Call, Streaming<Req>)> {
    let headers = request.message.headers.as_ref();
    let knows_credit = headers.and_then(wire::offered).is_some();
    let window = if knows_credit {
        window(method.settings.window)
    } else {
        PLAIN_WINDOW
    };
    let (delivery, incoming) = delivery(window, method.request);
    let call = accept(request, Some(delivery), single).await?;
    Some((call, Streaming::incoming(incoming)))
}

/// Takes a stream on and tells the caller where to send; or refuses it.
async fn accept(request: Request, delivery: Option<Delivery>, single: bool) -> Option<Call> {
    let Request {
        message,
        received,
        endpoint,
    } = request;
    let caller = Caller::of_stream(&message, &endpoint.nats);
    match open(&endpoint, &caller, &message, delivery).await {
        Ok(link) => {
            let deadline = endpoint.deadline(received, message.headers.as_ref());
            let cx = Context::of_call(
                Arc::clone(&endpoint.names),
                message.subject,
                message.headers,
                deadline,
            );
            Some(Call {
                endpoint,
                link,
                cx: Arc::new(cx),
                received,
                deadline,
                single,
            })
        }
        Err(status) => {
            endpoint.refuse(caller, status).await;
            None
        }
    }
}

async fn open(
    endpoint: &Endpoint,
    caller: &Caller,
    request: &Message,
    delivery: Option<Delivery>,
) -> Result<Link, Status> {
    let Some(inbox) = caller.inbox.clone() else {
        return Err(Status::invalid_argument(
            "a stream needs a `Reply-To` header with an inbox of the caller",
        ));
    };
    let receives = delivery.is_some();
    let mut link = Link::new(endpoint.nats.clone(), true, delivery).await?;
    let mut headers = HeaderMap::new();
    if let Some(credit) = request.headers.as_ref().and_then(wire::offered) {
        link.extension = true;
        link.outbound = Outbound::new(credit);
        link.announce(&mut headers);
    }
    // A peer that streams nothing waits for no handshake.
    if receives || link.extension {
        headers.insert(INBOX.clone(), HeaderValue::from(link.own.as_str()));
        let to = caller.reply.clone().unwrap_or_else(|| inbox.clone());
        let told = endpoint
            .nats
            .publish_with_headers(to, headers, Bytes::new())
            .await;
        told.map_err(|error| Status::unavailable(format!("cannot answer: {error}")))?;
    }
    link.peer = Some(inbox);
    Ok(link)
}

impl Call {
    /// Runs the handler and sends what it returns, for as long as the caller is there.
    async fn run(mut self, output: impl Stream<Item = Result<Out, Status>> + Send) {
        let endpoint = Arc::clone(&self.endpoint);
        let mut output = Output::new(output, false, |panic| endpoint.panicked(panic));
        let answer = answer(&mut self.link, &mut output, &self.cx);
        let result = within(self.deadline, answer).await;
        output.close();
        if output.headers.is_empty() {
            output.headers = self.cx.take_response_headers();
        }
        if self.single && !self.link.extension {
            // Such a caller listens for the response when it has sent all it had.
            self.link.until_end().await;
        }
        if self.single {
            self.respond(result, output.headers).await;
        } else {
            let status = result.err();
            self.endpoint
                .counters
                .record(status.as_ref(), self.received.elapsed());
            self.link.end(&mut output, status.as_ref()).await;
        }
    }

    async fn respond(mut self, result: Result<Bytes, Status>, headers: HeaderMap) {
        let took = self.received.elapsed();
        let to = self.link.peer.take();
        if self.link.extension {
            self.endpoint.finish(to, result, headers, took).await;
            return;
        }
        let result = self.endpoint.count(to.is_some(), result, took);
        let Some(to) = to else { return };
        for _ in 0..LATE_TRIES {
            let own = Some(self.link.own.clone());
            self.endpoint
                .reply(&to, result.clone(), headers.clone(), own)
                .await;
            if !self.link.is_unheard(LATE_WAIT).await {
                return;
            }
        }
    }
}

/// Serves until the handler has nothing more to send; gives the response if it is one bare message.
async fn answer(link: &mut Link, output: &mut Output<'_>, cx: &Context) -> Result<Bytes, Status> {
    loop {
        let may_send = !output.needs_credit || link.may_send();
        let item = tokio::select! {
            signal = link.wait() => {
                if let Some(gone) = link.handle(signal).await.and_then(gone) {
                    link.peer = None;
                    return Err(gone);
                }
                continue;
            }
            item = output.next(), if may_send => item,
        };
        match item {
            Some(Ok(Out::Opened)) => {
                output.headers = cx.take_response_headers();
                link.opened(output).await?;
            }
            Some(Ok(Out::Message(message))) => link.send(message, output).await?,
            Some(Ok(Out::Response(response))) => return Ok(response),
            Some(Err(status)) => return Err(status),
            None => return Ok(Bytes::new()),
        }
    }
}

/// Whether the call is over because nobody waits for it.
fn gone(event: Event) -> Option<Status> {
    match event {
        Event::Control(control) if control.said.cancelled => {
            Some(Status::cancelled("the caller has dropped the stream"))
        }
        Event::NoResponders => Some(Status::cancelled("the caller of the stream is gone")),
        Event::Gone(status) => Some(status),
        // What is wrong with the requests, the handler reads from its stream.
        _ => None,
    }
}
