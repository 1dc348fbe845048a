//! The end of a service: from the request that opens a stream to its last message.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryFutureExt, stream};
use tokio::time::Instant;

use crate::context::Context;
use crate::descriptor::method::Method;
use crate::server::call::reply::{Caller, StreamCaller};
use crate::server::call::{Endpoint, Request, within};
use crate::status::{Code, Status};
use crate::stream::delivery::{Delivery, delivery};
use crate::stream::flow::Outbound;
use crate::stream::link::{Event, Link, Role};
use crate::stream::output::{Out, Output, STUCK, encoded};
use crate::stream::streaming::Streaming;
use crate::stream::{window, wire};

/// How long a caller may take until it listens for its response, and how often that is tried.
const LATE: Duration = Duration::from_secs(2);
const LATE_PAUSE: Duration = Duration::from_millis(50);

/// A stream that was accepted.
struct Call {
    endpoint: Arc<Endpoint>,
    caller: StreamCaller,
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
        let request = method.decode_request(payload)?;
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
        method.encode_response(&response).map(Out::Response)
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
    let window = window(method.settings.window);
    let (delivery, incoming) = delivery(window, method.request, Code::InvalidArgument);
    let call = accept(request, Some(delivery), single).await?;
    Some((call, Streaming::incoming(incoming)))
}

/// Takes a stream on and tells the caller where to send; or refuses it.
async fn accept(request: Request, delivery: Option<Delivery>, single: bool) -> Option<Call> {
    let Request {
        message,
        received,
        started,
        endpoint,
        stream,
    } = request;
    // The router makes handlers of streams for endpoints of streams.
    let caller = stream?;
    let opened = open(&endpoint, &caller, &message, delivery);
    let opened = tokio::time::timeout(STUCK, opened).await;
    let link = opened.unwrap_or_else(|_| {
        Err(Status::unavailable(
            "the connection of the service takes no messages",
        ))
    });
    let link = match link {
        Ok(link) => link,
        Err(status) => {
            let caller = Caller {
                reply: message.reply,
                stream: Some(caller),
            };
            endpoint.refuse(caller, status).await;
            return None;
        }
    };
    let deadline = endpoint.deadline(received, started, message.headers.as_ref());
    let cx = Context::of_call(
        Arc::clone(&endpoint.names),
        message.subject,
        message.headers,
        deadline,
    );
    Some(Call {
        endpoint,
        caller,
        link,
        cx: Arc::new(cx),
        received,
        deadline,
        single,
    })
}

async fn open(
    endpoint: &Endpoint,
    caller: &StreamCaller,
    request: &Message,
    delivery: Option<Delivery>,
) -> Result<Link, Status> {
    let Some(inbox) = caller.inbox.clone() else {
        return Err(Status::invalid_argument(
            "a stream needs a `Reply-To` header with an inbox of the caller",
        ));
    };
    let receives = delivery.is_some();
    let role = Role::Service { confirmation: None };
    let mut link = Link::new(endpoint.nats.clone(), role, delivery).await?;
    if let Some(credit) = request.headers.as_ref().and_then(wire::offered) {
        link.extension = true;
        link.outbound = Outbound::new(credit);
    }
    // A peer that streams nothing waits for no handshake.
    if receives || link.extension {
        let to = request.reply.clone().unwrap_or_else(|| inbox.clone());
        let headers = link.confirm();
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
        let mut result = within(self.deadline, answer).await.flatten();
        if let Err(panic) = output.close() {
            result = Err(endpoint.panicked(panic.as_ref()));
        }
        if output.headers.is_empty() {
            output.headers = self.cx.take_response_headers();
        }
        if self.single && !self.link.extension {
            self.until_listening().await;
        }
        if !self.caller.answer_once() {
            return;
        }
        if self.single {
            self.respond(result, output.headers).await;
        } else {
            // A caller who has seen enough is no error.
            let status = result.err();
            let error = status.as_ref().filter(|_| self.link.peer.is_some());
            endpoint.counters.record(error, self.received.elapsed());
            self.link.end(&mut output, status.as_ref()).await;
        }
    }

    /// A caller without the extension listens for the response when it has sent all it had.
    async fn until_listening(&mut self) {
        let end = self.link.until_end();
        match self.deadline {
            Some(deadline) => {
                let _ = tokio::time::timeout_at(deadline + LATE, end).await;
            }
            None => end.await,
        }
    }

    async fn respond(mut self, result: Result<Bytes, Status>, headers: HeaderMap) {
        let took = self.received.elapsed();
        let Some(to) = self.link.peer.take() else {
            self.endpoint.counters.record(None, took);
            return;
        };
        let result = self.endpoint.count(true, result, took);
        if self.link.extension {
            self.endpoint.reply(&to, result, headers, None).await;
            return;
        }
        let own = self.link.own.clone();
        self.endpoint
            .reply(&to, result.clone(), headers.clone(), Some(own))
            .await;
        // The stream is over; only the caller may not know it yet.
        tokio::spawn(self.repeat(to, result, headers));
    }

    /// Sends a response again as long as nobody listens: the caller's subscription may be on its way.
    async fn repeat(mut self, to: Subject, result: Result<Bytes, Status>, headers: HeaderMap) {
        let end = Instant::now() + LATE;
        while self.link.is_unheard(LATE).await && Instant::now() < end {
            tokio::time::sleep(LATE_PAUSE).await;
            let own = self.link.own.clone();
            self.endpoint
                .reply(&to, result.clone(), headers.clone(), Some(own))
                .await;
        }
    }
}

/// Serves until the handler has nothing more to send; gives the response if it is one bare message.
async fn answer(link: &mut Link, output: &mut Output<'_>, cx: &Context) -> Result<Bytes, Status> {
    loop {
        let may_send = !output.needs_credit || link.may_send();
        let item = tokio::select! {
            signal = link.wait() => {
                if let Some(event) = link.handle(signal).await {
                    gone(event, link)?;
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
fn gone(event: Event, link: &mut Link) -> Result<(), Status> {
    match event {
        Event::Control(control) if control.said.cancelled => {
            link.peer = None;
            Err(Status::cancelled("the caller has dropped the stream"))
        }
        Event::Unheard => {
            link.peer = None;
            Err(Status::cancelled("the caller of the stream is gone"))
        }
        Event::Gone(status) => Err(status),
        // What is wrong with the requests, the handler reads from its stream.
        _ => Ok(()),
    }
}
