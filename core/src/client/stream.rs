//! The end of a caller.

use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{HeaderMap, HeaderValue, Message, Subject};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backoff;
use crate::client::call::{Opening, Response};
use crate::codec::MessageCodec;
use crate::descriptor::method::MethodKind;
use crate::status::{Code, Status};
use crate::stream::delivery::{Delivery, delivery};
use crate::stream::flow;
use crate::stream::link::{Event, Link, Role, malformed};
use crate::stream::output::{Output, encoded};
use crate::stream::streaming::Streaming;
use crate::transport::headers;
use crate::transport::mux::OutgoingRequest;
use crate::transport::request::timed_out;

/// How long a service that no longer receives may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Opens a stream of responses.
pub(crate) async fn server_streaming<Resp: Send + 'static>(
    opening: Opening,
    codec: MessageCodec<Resp>,
    window: u32,
) -> Result<Response<Streaming<Resp>>, Status> {
    let (delivery, incoming) = delivery(flow::window(window), codec, Code::Internal);
    let opened = start(MethodKind::ServerStreaming, opening, Some(delivery), None).await?;
    let headers = of_handler(opened.headers);
    Ok(Response::new(Streaming::incoming(incoming), headers))
}

/// Sends a stream of requests and waits for the response.
pub(crate) async fn client_streaming<Req: Send + 'static>(
    opening: Opening,
    requests: Streaming<Req>,
    codec: MessageCodec<Req>,
) -> Result<Message, Status> {
    let output = output(requests, codec);
    start(MethodKind::ClientStreaming, opening, None, Some(output)).await
}

/// Opens streams in both directions.
pub(crate) async fn bidirectional<Req: Send + 'static, Resp: Send + 'static>(
    opening: Opening,
    requests: Streaming<Req>,
    codec: MessageCodec<Req>,
    responses: MessageCodec<Resp>,
    window: u32,
) -> Result<Response<Streaming<Resp>>, Status> {
    let (delivery, incoming) = delivery(flow::window(window), responses, Code::Internal);
    let output = output(requests, codec);
    let opened = start(
        MethodKind::Bidirectional,
        opening,
        Some(delivery),
        Some(output),
    )
    .await?;
    let headers = of_handler(opened.headers);
    Ok(Response::new(Streaming::incoming(incoming), headers))
}

/// The headers that a handler has set, without those of the protocol.
fn of_handler(all: Option<HeaderMap>) -> HeaderMap {
    headers::filtered(&all.unwrap_or_default(), |name| !headers::is_reserved(name))
}

/// Hands the stream to a task of its own, which outlives the call that opened it and tells the service if that is dropped. Gives
/// the first answer, or the only one.
async fn start(
    kind: MethodKind,
    opening: Opening,
    delivery: Option<Delivery>,
    output: Option<Output>,
) -> Result<Message, Status> {
    let (caller, answer) = oneshot::channel();
    tokio::spawn(async move {
        let open_by = backoff::after(Instant::now(), opening.timeout);
        let link = Link::new(opening.nats, Role::Caller, delivery);
        let link = tokio::time::timeout_at(open_by, link)
            .await
            .unwrap_or_else(|_| Err(timed_out(&opening.outgoing.subject, opening.timeout)));
        match link {
            Ok(link) => {
                let stream = CallerEnd {
                    kind,
                    link,
                    output,
                    caller: Some(caller),
                    subject: opening.outgoing.subject.clone(),
                    timeout: opening.timeout,
                    open_by,
                    deadline: opening.deadline,
                    last: None,
                };
                stream.run(opening.outgoing).await;
            }
            Err(status) => {
                // One that was dropped wants no answer.
                let _ = caller.send(Err(status));
            }
        }
    });
    answer
        .await
        .unwrap_or_else(|_| Err(Status::cancelled("the runtime is shutting down")))
}

/// A stream between a caller and a service, at the caller's end.
struct CallerEnd {
    kind: MethodKind,
    link: Link,
    output: Option<Output>,
    /// Who waits for the first answer; nobody after that.
    caller: Option<oneshot::Sender<Result<Message, Status>>>,
    subject: Subject,
    timeout: Duration,
    open_by: Instant,
    deadline: Option<Instant>,
    /// How long the stream goes on when there is nothing left to send, and what it ends with then.
    last: Option<(Instant, Status)>,
}

enum Opened {
    /// With the message that says so.
    Stream(Message),
    /// There is nothing more to come.
    Response(Message),
}

impl CallerEnd {
    async fn run(mut self, request: OutgoingRequest) {
        let opened = tokio::time::timeout_at(self.open_by, self.open(request)).await;
        let result = match opened.unwrap_or_else(|_| Err(self.not_answered())) {
            Ok(Opened::Stream(message)) => {
                if self.kind != MethodKind::ClientStreaming {
                    self.answer(Ok(message));
                }
                self.transfer_in_time().await
            }
            Ok(Opened::Response(message)) => Ok(Some(message)),
            Err(status) => Err(status),
        };
        let failed = result.is_err();
        match result {
            Ok(None) => {}
            Ok(Some(response)) => self.answer(Ok(response)),
            Err(status) => {
                if let Some(delivery) = &self.link.delivery {
                    delivery.end(Some(status.clone()));
                }
                self.answer(Err(status));
            }
        }
        if let Some(mut output) = self.output.take() {
            // A panic of what the user has made is no concern of this task.
            let _ = output.close();
            if !self.link.extension {
                // All that such a service understands.
                self.link.end(&mut output, Some(&abandoned())).await;
            }
        }
        if failed && !self.link.inbound.is_closed() {
            self.link.cancel().await;
        }
    }

    /// Sends the request, and waits until the service has taken it on.
    async fn open(&mut self, request: OutgoingRequest) -> Result<Opened, Status> {
        let OutgoingRequest {
            subject,
            payload,
            mut headers,
        } = request;
        if headers.get(headers::REPLY_TO).is_some() {
            return Err(Status::invalid_argument(format!(
                "header `{}` is used by the protocol of streams; choose another name",
                headers::REPLY_TO
            )));
        }
        headers.insert(
            headers::REPLY_TO,
            HeaderValue::from(self.link.inbox.as_str()),
        );
        self.link.write_offer(&mut headers);
        let own = self.link.inbox.clone();
        let nats = self.link.nats.clone();
        let sent = nats.publish_with_reply_and_headers(subject, own, headers, payload);
        sent.await.map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => {
                Status::resource_exhausted(format!("the request is too large: {error}"))
            }
            _ => Status::unavailable(format!("the request to `{}` failed: {error}", self.subject)),
        })?;
        let mut is_abandoned = false;
        loop {
            let signal = tokio::select! {
                signal = self.link.wait() => signal,
                () = dropped(&mut self.caller), if !is_abandoned => {
                    // The service can only be told when it has said where.
                    is_abandoned = true;
                    continue;
                }
            };
            let Some(event) = self.link.handle(signal).await else {
                continue;
            };
            let opened = self.opening(event)?;
            if is_abandoned && (self.link.peer.is_some() || opened.is_some()) {
                return Err(abandoned());
            }
            if let Some(opened) = opened {
                return Ok(opened);
            }
        }
    }

    /// What an event means before the stream is open.
    fn opening(&mut self, event: Event) -> Result<Option<Opened>, Status> {
        let is_single = self.kind == MethodKind::ClientStreaming;
        match event {
            Event::Control(control) => {
                let is_open = match self.kind {
                    MethodKind::ServerStreaming => control.state.opened,
                    // To wait for more would be to wait for a handler that may wait for what is sent.
                    MethodKind::Unary | MethodKind::ClientStreaming | MethodKind::Bidirectional => {
                        self.link.peer.is_some()
                    }
                };
                Ok(is_open.then_some(Opened::Stream(control.message)))
            }
            Event::End(None, message) if is_single => Ok(Some(Opened::Response(message))),
            Event::End(None, message) | Event::Messages(message) => {
                Ok(Some(Opened::Stream(message)))
            }
            Event::Response(message) => {
                response(is_single, message).map(|it| Some(Opened::Response(it)))
            }
            Event::NoListener => Err(Status::unavailable(format!(
                "no instance of the service answers on `{}`; is it running?",
                self.subject
            ))),
            Event::End(Some(status), _) | Event::Fault(status) | Event::PeerLost(status) => {
                Err(status)
            }
            Event::ReaderDropped => Ok(None),
        }
    }

    async fn transfer_in_time(&mut self) -> Result<Option<Message>, Status> {
        let Some(deadline) = self.deadline else {
            return self.transfer().await;
        };
        tokio::time::timeout_at(deadline, self.transfer())
            .await
            .unwrap_or_else(|_| {
                Err(Status::deadline_exceeded(
                    "the stream was not over within its deadline",
                ))
            })
    }

    /// Sends and receives until the stream is over; gives the response to a stream of requests.
    async fn transfer(&mut self) -> Result<Option<Message>, Status> {
        while self.kind == MethodKind::ClientStreaming || !self.link.inbound.is_closed() {
            let may_send = self.link.may_send();
            let item = tokio::select! {
                signal = self.link.wait() => {
                    if let Some(event) = self.link.handle(signal).await
                        && let ControlFlow::Break(response) = self.event(event)?
                    {
                        return Ok(response);
                    }
                    continue;
                }
                Some(item) = next(&mut self.output), if may_send => item,
                () = dropped(&mut self.caller) => return Err(abandoned()),
                status = elapsed(self.last.as_ref()) => return Err(status),
            };
            self.send(item).await;
        }
        Ok(None)
    }

    /// What an event means while the stream is open.
    fn event(&mut self, event: Event) -> Result<ControlFlow<Option<Message>>, Status> {
        let is_single = self.kind == MethodKind::ClientStreaming;
        match event {
            Event::Control(control) => {
                if control.state.cancelled && self.output.is_some() {
                    self.all_sent();
                }
                Ok(ControlFlow::Continue(()))
            }
            Event::Messages(_) => Ok(ControlFlow::Continue(())),
            Event::End(None, message) if is_single => Ok(ControlFlow::Break(Some(message))),
            Event::End(Some(status), _) if is_single => Err(status),
            Event::End(..) | Event::ReaderDropped => Ok(ControlFlow::Break(None)),
            Event::Response(message) => {
                // The service has closed its end.
                self.link.peer = None;
                Ok(ControlFlow::Break(Some(response(is_single, message)?)))
            }
            Event::NoListener => {
                let gone = Status::unavailable("the service of this stream is gone");
                if self.link.extension {
                    return Err(gone);
                }
                // Such a service stops receiving before it says how it ended.
                self.all_sent();
                self.link.peer = None;
                self.last = Some((Instant::now() + LAST_WORDS, gone));
                Ok(ControlFlow::Continue(()))
            }
            Event::Fault(status) | Event::PeerLost(status) => Err(status),
        }
    }

    async fn send(&mut self, item: Option<Result<Bytes, Status>>) {
        let Some(output) = &mut self.output else {
            return;
        };
        let ended = match item {
            Some(Ok(message)) => match self.link.send(message, output).await {
                Ok(()) => return,
                Err(status) => Some(status),
            },
            Some(Err(status)) => Some(status),
            None => None,
        };
        self.link.end(output, ended.as_ref()).await;
        self.all_sent();
    }

    fn all_sent(&mut self) {
        self.output = None;
        if self.kind == MethodKind::ClientStreaming && self.deadline.is_none() {
            let by = backoff::after(Instant::now(), self.timeout);
            self.last = Some((by, self.not_answered()));
        }
    }

    fn answer(&mut self, answer: Result<Message, Status>) {
        if let Some(caller) = self.caller.take() {
            // One that was dropped wants no answer.
            let _ = caller.send(answer);
        }
    }

    fn not_answered(&self) -> Status {
        timed_out(&self.subject, self.timeout)
    }
}

/// The requests as they go out; a panic of what makes them is the caller's own.
fn output<T: Send + 'static>(requests: Streaming<T>, codec: MessageCodec<T>) -> Output {
    let requests = AssertUnwindSafe(encoded(requests, codec)).catch_unwind();
    Output::new(requests.map(|item| {
        item.unwrap_or_else(|_| Err(Status::internal("the stream of requests panicked")))
    }))
}

fn abandoned() -> Status {
    Status::cancelled("the call was dropped")
}

/// A message that is no part of a stream: an error, or the response if there is to be one.
fn response(expected: bool, message: Message) -> Result<Message, Status> {
    match headers::read_status(&message) {
        Some(status) => Err(status),
        None if expected => Ok(message),
        None => Err(malformed("a message without a number")),
    }
}

async fn next(output: &mut Option<Output>) -> Option<Option<Result<Bytes, Status>>> {
    Some(output.as_mut()?.next().await)
}

async fn dropped(caller: &mut Option<oneshot::Sender<Result<Message, Status>>>) {
    match caller {
        Some(caller) => caller.closed().await,
        None => std::future::pending().await,
    }
}

async fn elapsed(last: Option<&(Instant, Status)>) -> Status {
    match last {
        Some((at, status)) => {
            tokio::time::sleep_until(*at).await;
            status.clone()
        }
        None => std::future::pending().await,
    }
}
