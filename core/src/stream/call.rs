//! The end of a caller.

use std::any::Any;
use std::ops::ControlFlow;
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{HeaderValue, Message, Subject};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Streaming;
use super::delivery::{Delivery, delivery};
use super::flow::Outbound;
use super::link::{Event, Link, malformed};
use super::output::{Out, Output, encoded};
use crate::call::{Opening, Response, timed_out};
use crate::codec::MessageCodec;
use crate::{Status, nats, wire};

/// What the two sides send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ServerStreaming,
    ClientStreaming,
    Bidirectional,
}

/// Opens a stream of responses.
pub(crate) async fn server_streaming<Resp: Send + 'static>(
    opening: Opening,
    codec: MessageCodec<Resp>,
    window: u32,
) -> Result<Response<Streaming<Resp>>, Status> {
    let (delivery, incoming) = delivery(super::window(window), codec);
    let opened = start(Kind::ServerStreaming, opening, Some(delivery), None).await?;
    Ok(Response::new(
        Streaming::incoming(incoming),
        opened.headers.unwrap_or_default(),
    ))
}

/// Sends a stream of requests and waits for the response.
pub(crate) async fn client_streaming<Req: Send + 'static>(
    opening: Opening,
    requests: Streaming<Req>,
    codec: MessageCodec<Req>,
) -> Result<Message, Status> {
    let output = Output::new(encoded(requests, codec), true, panicked);
    start(Kind::ClientStreaming, opening, None, Some(output)).await
}

/// Opens streams in both directions.
pub(crate) async fn bidirectional<Req: Send + 'static, Resp: Send + 'static>(
    opening: Opening,
    requests: Streaming<Req>,
    codec: MessageCodec<Req>,
    responses: MessageCodec<Resp>,
    window: u32,
) -> Result<Response<Streaming<Resp>>, Status> {
    let (delivery, incoming) = delivery(super::window(window), responses);
    let output = Output::new(encoded(requests, codec), true, panicked);
    let opened = start(Kind::Bidirectional, opening, Some(delivery), Some(output)).await?;
    Ok(Response::new(
        Streaming::incoming(incoming),
        opened.headers.unwrap_or_default(),
    ))
}

/// Hands the stream to a task of its own, which outlives the call that opened it and tells the service if that is dropped. Gives
/// the first answer, or the only one.
async fn start(
    kind: Kind,
    opening: Opening,
    delivery: Option<Delivery>,
    output: Option<Output<'static>>,
) -> Result<Message, Status> {
    let link = Link::new(opening.nats.clone(), false, delivery).await?;
    let (caller, answer) = oneshot::channel();
    let exchange = Exchange {
        kind,
        link,
        output,
        caller: Some(caller),
        subject: opening.subject.clone(),
        timeout: opening.timeout,
        deadline: opening.deadline,
        answer_by: None,
    };
    tokio::spawn(exchange.run(opening));
    answer
        .await
        .unwrap_or_else(|_| Err(Status::cancelled("the runtime is shutting down")))
}

/// A stream between a caller and a service, at the caller's end.
struct Exchange {
    kind: Kind,
    link: Link,
    output: Option<Output<'static>>,
    /// Who waits for the first answer; nobody after that.
    caller: Option<oneshot::Sender<Result<Message, Status>>>,
    subject: Subject,
    timeout: Duration,
    deadline: Option<Instant>,
    /// When the response must be there, once all is sent.
    answer_by: Option<Instant>,
}

enum Opened {
    /// With the message that says so.
    Stream(Message),
    /// There is nothing more to come.
    Response(Message),
}

impl Exchange {
    async fn run(mut self, opening: Opening) {
        let open_by = nats::after(Instant::now(), self.timeout);
        let open_by = self.deadline.map_or(open_by, |end| end.min(open_by));
        let opened = match tokio::time::timeout_at(open_by, self.open(opening)).await {
            Ok(opened) => opened,
            Err(_) => Err(self.late()),
        };
        let result = match opened {
            Ok(Opened::Stream(message)) => {
                if self.kind != Kind::ClientStreaming {
                    self.answer(Ok(message));
                }
                self.exchange_in_time().await
            }
            Ok(Opened::Response(message)) => Ok(Some(message)),
            Err(status) => Err(status),
        };
        if let Some(mut output) = self.output.take() {
            output.close();
            if !self.link.extension {
                // All that such a service understands.
                self.link.end(&mut output, Some(&abandoned())).await;
            }
        }
        match result {
            Ok(None) => {}
            Ok(Some(response)) => self.answer(Ok(response)),
            Err(status) => {
                if !self.link.inbound.ended() {
                    self.link.cancel().await;
                }
                if let Some(delivery) = &self.link.delivery {
                    delivery.end(Some(status.clone()));
                }
                self.answer(Err(status));
            }
        }
    }

    /// Sends the request, and waits until the service has taken it on.
    async fn open(&mut self, opening: Opening) -> Result<Opened, Status> {
        let mut headers = opening.headers;
        if headers.get(wire::REPLY_TO).is_some() {
            return Err(Status::invalid_argument(format!(
                "header `{}` is used by the protocol of streams; choose another name",
                wire::REPLY_TO
            )));
        }
        headers.insert(wire::REPLY_TO, HeaderValue::from(self.link.own.as_str()));
        self.link.announce(&mut headers);
        let own = self.link.own.clone();
        let sent = opening.nats.publish_with_reply_and_headers(
            opening.subject,
            own,
            headers,
            opening.payload,
        );
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
            if is_abandoned && self.link.peer.is_some() {
                return Err(abandoned());
            }
            if let Some(opened) = opened {
                return Ok(opened);
            }
        }
    }

    /// What an event means before the stream is open.
    fn opening(&mut self, event: Event) -> Result<Option<Opened>, Status> {
        let is_single = self.kind == Kind::ClientStreaming;
        match event {
            Event::Control(control) => {
                if let Some(inbox) = control.inbox {
                    if !nats::is_inbox(&inbox, &self.link.own) {
                        return Err(Status::internal(format!(
                            "the service names `{}` as its inbox, which is none",
                            inbox.escape_debug()
                        )));
                    }
                    self.link.peer = Some(inbox);
                    self.link.extension = control.confirmed;
                    if control.confirmed {
                        self.link.outbound = Outbound::new(control.credit.unwrap_or_default());
                    }
                }
                let is_open = match self.kind {
                    Kind::ServerStreaming => control.said.opened,
                    Kind::ClientStreaming | Kind::Bidirectional => self.link.peer.is_some(),
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
            Event::NoResponders => Err(Status::unavailable(format!(
                "no instance of the service answers on `{}`; is it running?",
                self.subject
            ))),
            Event::End(Some(status), _) | Event::Fault(status) | Event::Gone(status) => Err(status),
            Event::Unread => Ok(None),
        }
    }

    async fn exchange_in_time(&mut self) -> Result<Option<Message>, Status> {
        let late = self.late();
        let deadline = self.deadline;
        match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, self.exchange())
                .await
                .unwrap_or(Err(late)),
            None => self.exchange().await,
        }
    }

    /// Sends and receives until the stream is over; gives the response to a stream of requests.
    async fn exchange(&mut self) -> Result<Option<Message>, Status> {
        while self.kind == Kind::ClientStreaming || !self.link.inbound.ended() {
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
                () = elapsed(self.answer_by) => return Err(self.late()),
            };
            self.send(item).await;
        }
        Ok(None)
    }

    /// What an event means while the stream is open.
    fn event(&mut self, event: Event) -> Result<ControlFlow<Option<Message>>, Status> {
        let is_single = self.kind == Kind::ClientStreaming;
        match event {
            Event::Control(control) => {
                if control.said.cancelled && self.output.is_some() {
                    self.all_sent();
                }
                Ok(ControlFlow::Continue(()))
            }
            Event::Messages(_) => Ok(ControlFlow::Continue(())),
            Event::End(None, message) if is_single => Ok(ControlFlow::Break(Some(message))),
            Event::End(Some(status), _) if is_single => Err(status),
            Event::End(..) | Event::Unread => Ok(ControlFlow::Break(None)),
            Event::Response(message) => {
                // The service has closed its end.
                self.link.peer = None;
                Ok(ControlFlow::Break(Some(response(is_single, message)?)))
            }
            Event::NoResponders => Err(Status::unavailable("the service of this stream is gone")),
            Event::Fault(status) | Event::Gone(status) => Err(status),
        }
    }

    async fn send(&mut self, item: Option<Result<Out, Status>>) {
        let Some(output) = &mut self.output else {
            return;
        };
        let ended = match item {
            Some(Ok(Out::Message(message))) => match self.link.send(message, output).await {
                Ok(()) => return,
                Err(status) => Some(status),
            },
            // Only services send these.
            Some(Ok(Out::Opened | Out::Response(_))) => return,
            Some(Err(status)) => Some(status),
            None => None,
        };
        self.link.end(output, ended.as_ref()).await;
        self.all_sent();
    }

    fn all_sent(&mut self) {
        self.output = None;
        if self.kind == Kind::ClientStreaming && self.deadline.is_none() {
            self.answer_by = Some(nats::after(Instant::now(), self.timeout));
        }
    }

    fn answer(&mut self, answer: Result<Message, Status>) {
        if let Some(caller) = self.caller.take() {
            // One that was dropped wants no answer.
            let _ = caller.send(answer);
        }
    }

    fn late(&self) -> Status {
        timed_out(&self.subject, self.timeout)
    }
}

fn panicked(_: &(dyn Any + Send)) -> Status {
    Status::internal("the stream of requests panicked")
}

fn abandoned() -> Status {
    Status::cancelled("the call was dropped")
}

/// A message that is no part of a stream: an error, or the response if there is to be one.
fn response(expected: bool, message: Message) -> Result<Message, Status> {
    match wire::read_status(&message) {
        Some(status) => Err(status),
        None if expected => Ok(message),
        None => Err(malformed("a message without a number")),
    }
}

async fn next(output: &mut Option<Output<'_>>) -> Option<Option<Result<Out, Status>>> {
    Some(output.as_mut()?.next().await)
}

async fn dropped(caller: &mut Option<oneshot::Sender<Result<Message, Status>>>) {
    match caller {
        Some(caller) => caller.closed().await,
        None => std::future::pending().await,
    }
}

async fn elapsed(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
