//! The service's end of a stream: accepts the request that opens it, runs it through the pipeline, and sends the responses.
//!
//! One task runs the [`Link`] and the handler, and polls the stream that the handler returns. The call is counted once, and one end or
//! response is sent. When the caller cancels or is lost, the handler and its stream are dropped.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::codec::BYTES_CODEC;
use crate::middleware::body::{Answer, Body};
use crate::middleware::bypass::Bypass;
use crate::middleware::on_end::OnEnd;
use crate::server::call::{Handled, Reply, within};
use crate::server::dispatch::reply::{Caller, Failure, Responder, StreamCaller};
use crate::server::router::Handler;
use crate::status::{Code, Status};
use crate::stream::delivery::{Delivery, delivery};
use crate::stream::flow::{self, Credit, Outbound, PLAIN_WINDOW};
use crate::stream::link::{Event, Link, Role};
use crate::stream::output::{Output, PUBLISH_TIMEOUT};
use crate::stream::streaming::Streaming;
use crate::stream::wire;
use crate::transport::backlog::Lane;
use crate::transport::outgoing::Outgoing;

/// How long a caller without the extension may take to subscribe for its response, or the NATS server to report that it has not.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(2);
/// The pauses between the attempts to send such a response. They are few, since each may send a large message for a small one.
const RESEND_PAUSES: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// An accepted stream. `link.peer` is the inbox of the caller, and is removed when the caller has cancelled or is lost.
struct StreamCall {
    responder: Arc<Responder>,
    caller: StreamCaller,
    link: Link,
    received: Instant,
    deadline: Option<Instant>,
    on_end: OnEnd,
}

/// Serves a request of a method that streams, until the stream is over.
pub(crate) async fn serve(
    responder: Arc<Responder>,
    handler: Handler,
    message: Message,
    caller: Caller,
    stream: StreamCaller,
    received: Instant,
    started: Instant,
) {
    let settings = &responder.endpoint.settings;
    let offer = message.headers.as_ref().and_then(wire::offered_credit);
    let (delivery, body) = if settings.id.kind.streams_requests() {
        let window = flow::window(settings.window, settings.window_bytes);
        let memory = match offer {
            Some(_) => &responder.memory.streams,
            None => &responder.memory.plain_streams,
        };
        let memory = Some(Arc::clone(memory));
        let (delivery, incoming) = delivery(window, BYTES_CODEC, Code::InvalidArgument, memory);
        let messages = Streaming::incoming(incoming);
        (Some(delivery), Body::Stream(messages.boxed()))
    } else {
        (None, Body::Message(message.payload.clone()))
    };
    let endpoint = Arc::clone(&responder.endpoint);
    let mut request = responder.request(message.subject, message.headers, body, received, started);
    let bypass = Arc::new(Bypass::of_stream());
    request.bypass = Some(Arc::clone(&bypass));
    let deadline = request.deadline;
    let mut call = handler(endpoint, request);
    // The stream is opened when its request has passed the layers, so that one which refuses it does so before the handshake.
    let early = tokio::select! {
        biased;
        early = &mut call => Some(early.into_reply()),
        () = bypass.requested() => None,
    };
    match early {
        None => {}
        Some(Reply {
            result: Err(status),
            ..
        }) => {
            responder.fail(caller, &status.into()).await;
            return;
        }
        // A layer has answered the call itself.
        Some(reply) => call = Box::pin(std::future::ready(Handled::replied(reply))),
    }
    let opened = tokio::time::timeout(
        PUBLISH_TIMEOUT,
        open(&responder, &caller, &stream, offer, delivery),
    )
    .await;
    let opened = opened.unwrap_or_else(|_| {
        Err(Status::unavailable(
            "the connection of the service is stalled",
        ))
    });
    let link = match opened {
        Ok(link) => link,
        Err(status) => {
            // The layers see why the call fails.
            bypass.opened(Err(status.clone()));
            let seen = call.await.into_reply().result.err();
            responder.refuse(caller, seen.unwrap_or(status));
            return;
        }
    };
    bypass.opened(Ok(()));
    let stream = StreamCall {
        responder,
        caller: stream,
        link,
        received,
        deadline,
        on_end: OnEnd::default(),
    };
    stream.run(call).await;
}

/// Accepts a stream: subscribes to an inbox, announces it to the caller, and confirms the extension if the caller offers it.
async fn open(
    responder: &Responder,
    caller: &Caller,
    stream: &StreamCaller,
    offer: Option<Credit>,
    delivery: Option<Delivery>,
) -> Result<Link, Status> {
    let Some(inbox) = stream.inbox.clone() else {
        return Err(Status::invalid_argument(
            "a stream needs a `Reply-To` header with an inbox of the caller",
        ));
    };
    let receives = delivery.is_some();
    if receives && offer.is_none() && inbox.is_mapped() {
        return Err(Status::failed_precondition(
            "the service is imported from another account: a client without the natsmicro extension of the protocol can send it no \
             stream of requests, since the inbox of the service is in the account of the service",
        ));
    }
    let role = Role::Service {
        confirmation: None,
        pressure: Arc::clone(&responder.pressure),
    };
    let mut link = Link::new(responder.gate.clone(), role, delivery).await?;
    if let Some(credit) = offer {
        link.extension = true;
        link.outbound = Outbound::new(credit);
    } else if inbox.is_mapped() {
        // Nothing tells that such a caller is gone, so what is sent to it is bounded.
        link.outbound = Outbound::new(PLAIN_WINDOW);
    }
    // A caller without the extension that streams no requests expects no handshake.
    if receives || link.extension {
        let to = caller.reply.as_ref().unwrap_or(&inbox);
        // The reply subject lets the NATS server report a caller that is gone already.
        let handshake = Outgoing::to_peer(to)
            .with_reply(link.inbox.clone())
            .with_headers(link.confirm());
        // Only the first arrives if the NATS server carries one reply to another account.
        let copies = if inbox.is_mapped() { 2 } else { 1 };
        for _ in 0..copies {
            let sent = responder.gate.publish(Lane::Reply, handshake.clone()).await;
            sent.map_err(|error| Status::unavailable(format!("cannot answer: {error}")))?;
        }
    }
    link.set_peer(inbox);
    Ok(link)
}

impl Drop for StreamCall {
    /// A call that has not ended is dropped when the server stops, which its caller is told by others.
    fn drop(&mut self) {
        if !self.on_end.is_empty() {
            let (status, _) = Failure::stopping().into_parts();
            self.on_end.end::<()>(&Err(status));
        }
    }
}

impl StreamCall {
    /// Runs the handler and sends its responses, until the end or until the caller is lost.
    async fn run(mut self, mut handled: BoxFuture<'static, Handled>) {
        let endpoint = Arc::clone(&self.responder.endpoint);
        let mut output = Output::new(futures::stream::empty().boxed());
        let reply = run_handler(&mut self.link, &mut handled);
        let reply = within(self.deadline, reply).await.flatten();
        let mut result = match reply {
            Ok(Reply {
                result,
                headers,
                on_end,
            }) => {
                self.on_end = on_end;
                output.headers = headers;
                self.answer(result, &mut output).await
            }
            Err(status) => Err(status),
        };
        // Destructors of the user may panic.
        let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(handled)));
        if let Err(panic) = dropped.and(output.close()) {
            result = Err(endpoint.panicked(panic.as_ref()));
        }
        let is_single = !endpoint.settings.id.kind.streams_responses();
        if is_single && !self.link.extension {
            self.wait_for_listener().await;
        }
        if !self.caller.answer_once() {
            return;
        }
        if is_single {
            self.respond(result, std::mem::take(&mut output.headers))
                .await;
        } else {
            // A stream that its caller has cancelled is no error of the endpoint.
            let result = result.map(drop);
            let status = result.as_ref().err();
            let error = status.filter(|_| self.link.peer.is_some());
            endpoint.counters.record(error, self.received.elapsed());
            self.on_end.end(&result);
            self.link.end(&mut output, status).await;
        }
        self.link.finish_mapping().await;
    }

    /// Sends the stream that a handler has returned, or returns its response if that is one message.
    async fn answer(
        &mut self,
        answer: Result<Answer, Status>,
        output: &mut Output,
    ) -> Result<Bytes, Status> {
        match answer? {
            Answer::Message(response) => Ok(response),
            Answer::Object(stored) => Err(stored.claim.status(self.responder.gate.max_payload())),
            Answer::Stream(messages) => {
                output.set_stream(messages);
                let sent = async {
                    self.link.announce_opened(output).await?;
                    transfer(&mut self.link, output).await
                };
                within(self.deadline, sent).await.flatten()?;
                Ok(Bytes::new())
            }
        }
    }

    /// Waits for the end of the requests: a caller without the extension subscribes for the response only then.
    async fn wait_for_listener(&mut self) {
        let end = self.link.wait_for_end();
        match self.deadline {
            Some(deadline) => {
                let _ = tokio::time::timeout_at(deadline + LISTEN_TIMEOUT, end).await;
            }
            None => end.await,
        }
    }

    async fn respond(&mut self, result: Result<Bytes, Status>, mut headers: HeaderMap) {
        let took = self.received.elapsed();
        let Some(to) = self.link.peer.take() else {
            self.responder.endpoint.counters.record(None, took);
            self.on_end.end(&result);
            return;
        };
        let on_end = &mut self.on_end;
        let result = self
            .responder
            .count(true, result, &mut headers, took, on_end);
        if self.link.extension {
            let reply = self.responder.reply(&to, result, headers, None);
            self.responder.log_unsent(reply.await);
            return;
        }
        // Sent again while the NATS server reports that nobody listens: the subscription of the caller may be in transit. Within the
        // call, so that `max_in_flight` bounds what is sent and held.
        let mut pauses = RESEND_PAUSES.iter();
        loop {
            let own = self.link.inbox.clone();
            let reply = self
                .responder
                .reply(&to, result.clone(), headers.clone(), Some(own));
            self.responder.log_unsent(reply.await);
            if !self.link.has_no_listener(LISTEN_TIMEOUT).await {
                return;
            }
            let Some(pause) = pauses.next() else { return };
            tokio::time::sleep(*pause).await;
        }
    }
}

/// Runs the handler until it has returned its response or its stream; the link receives the requests meanwhile.
async fn run_handler(
    link: &mut Link,
    handled: &mut BoxFuture<'static, Handled>,
) -> Result<Reply, Status> {
    loop {
        tokio::select! {
            signal = link.wait() => {
                if let Some(event) = link.handle(signal).await {
                    check_caller(event, link)?;
                }
            }
            handled = &mut *handled => return Ok(handled.reply().await),
        }
    }
}

/// Sends the stream of responses. The link receives meanwhile, also while there is no credit.
async fn transfer(link: &mut Link, output: &mut Output) -> Result<(), Status> {
    loop {
        let may_send = link.may_send();
        if !may_send && !link.extension {
            return Err(Status::resource_exhausted(
                "a caller in another account gets no more of a stream without the natsmicro extension of the protocol, since nothing \
                 tells whether it is still there",
            ));
        }
        let item = tokio::select! {
            signal = link.wait() => {
                if let Some(event) = link.handle(signal).await {
                    check_caller(event, link)?;
                }
                continue;
            }
            item = output.next(), if may_send => item,
        };
        match item {
            Some(message) => link.send(message?, output).await?,
            None => return Ok(()),
        }
    }
}

/// Fails when the caller has cancelled or is lost: then the call is over.
fn check_caller(event: Event, link: &mut Link) -> Result<(), Status> {
    match event {
        Event::Control(control) if control.state.cancelled => {
            link.peer = None;
            Err(Status::cancelled("the caller has dropped the stream"))
        }
        Event::NoListener => {
            link.peer = None;
            Err(Status::cancelled(
                "the caller of the stream cannot be reached any more",
            ))
        }
        Event::PeerLost(status) => Err(status),
        // The handler reads an error of its requests from their stream.
        _ => Ok(()),
    }
}
