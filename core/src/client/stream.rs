//! The caller's end of a stream, in one attempt: sends the request that opens it, then the stream of requests, and receives until it is
//! over.
//!
//! A task of its own runs the [`Link`], so the stream outlives the call that opened it. The call gets exactly one result; an
//! error after that is the last item of the stream of responses. A call or stream that is dropped is cancelled at the service.

use std::ops::ControlFlow;
use std::time::Duration;

use async_nats::{HeaderValue, Message, Subject};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backoff;
use crate::client::call::{OpenedBy, Opening};
use crate::client::retry::attempts::{FailedBy, Failure};
use crate::descriptor::method::MethodKind;
use crate::status::Status;
use crate::stream::delivery::Delivery;
use crate::stream::link::{Event, Link, Role, malformed};
use crate::stream::mapping::Mapping;
use crate::stream::output::Output;
use crate::transport::backlog::Lane;
use crate::transport::headers;
use crate::transport::outgoing::{Outgoing, PublishError};
use crate::transport::request::{timed_out, unanswered};

/// How long a service without the extension, which has stopped receiving, may take to send its final error.
const FINAL_ERROR_TIMEOUT: Duration = Duration::from_secs(2);

/// A stream that was not opened, or a call without its response.
pub(super) struct Unopened {
    pub(super) failure: Failure,
    /// The requests, if they were asked back and none of them was taken.
    pub(super) output: Option<Box<Output>>,
}

impl From<Status> for Unopened {
    fn from(status: Status) -> Self {
        Self {
            failure: status.into(),
            output: None,
        }
    }
}

/// Runs the stream on a task of its own, and returns the message of the service that opens it: the response if that is no stream. If
/// this future is dropped, the task cancels the stream at the service.
pub(super) async fn attempt(
    kind: MethodKind,
    opening: Opening,
    delivery: Option<Delivery>,
    output: Option<Output>,
    returns_output: bool,
) -> Result<Message, Unopened> {
    let (caller, answer) = oneshot::channel();
    let open_by = backoff::after(Instant::now(), opening.timeout);
    let (subject, timeout) = (opening.outgoing.subject().clone(), opening.timeout);
    let waits_for_handler =
        kind == MethodKind::Bidirectional && opening.opened_by == OpenedBy::Handler;
    tokio::spawn(async move {
        let link = Link::new(opening.gate, Role::Caller, delivery);
        let link = tokio::time::timeout_at(open_by, link)
            .await
            .unwrap_or_else(|_| Err(timed_out(opening.outgoing.subject(), opening.timeout)));
        match link {
            Ok(mut link) => {
                link.opens_at = Some(opening.outgoing.subject().clone());
                let stream = CallerEnd {
                    kind,
                    link,
                    output,
                    caller: Some(caller),
                    waits_for_handler,
                    returns_output,
                    subject: opening.outgoing.subject().clone(),
                    timeout: opening.timeout,
                    open_by,
                    deadline: opening.deadline,
                    final_wait: None,
                };
                stream.run(opening.outgoing).await;
            }
            Err(status) => {
                // Fails only if the call was dropped: nobody waits for its result then.
                let _ = caller.send(Err(status.into()));
            }
        }
    });
    let answer = async {
        answer
            .await
            .unwrap_or_else(|_| Err(Status::cancelled("the runtime is shutting down").into()))
    };
    if !waits_for_handler {
        return answer.await;
    }
    // The task bounds only the time until the request is accepted. To the task, a call that ends here was dropped.
    tokio::time::timeout_at(open_by, answer)
        .await
        .unwrap_or_else(|_| Err(timed_out(&subject, timeout).into()))
}

/// The caller's end of a stream.
///
/// Invariants: `caller` is there until the call has its result, which is the response for a method that streams requests only, and the
/// opening message for the others. Once the stream is open, it is there only while the response or, with `waits_for_handler`, the
/// handler is outstanding. `final_wait` is set only when `output` is gone.
struct CallerEnd {
    kind: MethodKind,
    link: Link,
    /// The requests to send; `None` if there are none, or no more of them are to be sent.
    output: Option<Output>,
    /// Takes the result of the call.
    caller: Option<oneshot::Sender<Result<Message, Unopened>>>,
    /// The call of a method that streams both ways has its result when the handler has returned its stream, and not before.
    waits_for_handler: bool,
    /// Whether the caller gets its requests back if the service has not accepted the call.
    returns_output: bool,
    subject: Subject,
    /// Bounds the time until the stream is open, and the time from the last request to the response.
    timeout: Duration,
    /// The stream must be open by then.
    open_by: Instant,
    /// The stream must be over by then.
    deadline: Option<Instant>,
    /// When to stop waiting for the final message of the service, and the status of the stream in that case.
    final_wait: Option<(Instant, Status)>,
}

/// How the service has answered the request.
enum Opened {
    /// The service has accepted the request, and the handler runs: the message that announced it.
    Accepted(Message),
    /// The handler has returned its stream: the message that announced it.
    Stream(Message),
    /// The call is over: its response.
    Response(Message),
}

impl CallerEnd {
    async fn run(mut self, request: Outgoing) {
        let opened = tokio::time::timeout_at(self.open_by, self.open(request)).await;
        let opened = opened.unwrap_or_else(|_| Err(self.timeout_status().into()));
        let is_unopened = opened.is_err();
        let result = match opened {
            Ok(Opened::Accepted(message)) => {
                if self.kind == MethodKind::Bidirectional && !self.waits_for_handler {
                    self.resolve_call(Ok(message));
                }
                self.transfer_in_time().await.map_err(Failure::from)
            }
            Ok(Opened::Stream(message)) => {
                self.resolve_call(Ok(message));
                self.transfer_in_time().await.map_err(Failure::from)
            }
            Ok(Opened::Response(message)) => Ok(Some(message)),
            Err(failure) => Err(failure),
        };
        let failed = result.is_err();
        match result {
            Ok(None) => {}
            Ok(Some(response)) => self.resolve_call(Ok(response)),
            Err(failure) => {
                if let Some(delivery) = &self.link.delivery {
                    delivery.end(Some(failure.status.clone()));
                }
                let output = self
                    .output
                    .as_mut()
                    .filter(|_| is_unopened && self.returns_output);
                let output =
                    output.map(|output| Box::new(std::mem::replace(output, no_requests())));
                self.resolve_call(Err(Unopened { failure, output }));
            }
        }
        if let Some(mut output) = self.output.take() {
            // A destructor of the user's stream may panic; that does not change the result of the call.
            let _ = output.close();
            if !self.link.extension {
                // A service without the extension does not support cancellation; an end with an error is the only way to stop it.
                self.link.end(&mut output, Some(&call_dropped())).await;
            }
        }
        if failed && !self.link.inbound.is_closed() {
            self.link.cancel().await;
        }
    }

    /// Sends the request, and waits until the service has accepted it.
    async fn open(&mut self, mut request: Outgoing) -> Result<Opened, Failure> {
        if request.headers.get(headers::REPLY_TO).is_some() {
            let status = Status::invalid_argument(format!(
                "header `{}` is used by the protocol of streams; choose another name",
                headers::REPLY_TO
            ));
            return Err(status.into());
        }
        request.headers.insert(
            headers::REPLY_TO,
            HeaderValue::from(self.link.inbox.as_str()),
        );
        self.link.write_offer(&mut request.headers);
        let request = request.with_reply(self.link.inbox.clone());
        let sent = self.link.gate.publish(Lane::Reply, request);
        sent.await.map_err(|error| match error {
            PublishError::TooLarge => {
                Status::resource_exhausted(format!("the request is too large: {error}"))
            }
            _ => Status::unavailable(format!("the request to `{}` failed: {error}", self.subject)),
        })?;
        let (mut is_dropped, mut is_heard) = (false, false);
        loop {
            let signal = tokio::select! {
                signal = self.link.wait() => signal,
                () = caller_dropped(&mut self.caller), if !is_dropped => {
                    // The service can be sent a cancellation only when it has announced its inbox.
                    is_dropped = true;
                    continue;
                }
            };
            let Some(event) = self.link.handle(signal).await else {
                continue;
            };
            let opened = self.handle_before_open(event, is_heard)?;
            is_heard = true;
            if is_dropped && (self.link.peer.is_some() || opened.is_some()) {
                return Err(call_dropped().into());
            }
            if let Some(opened) = opened {
                return Ok(opened);
            }
        }
    }

    /// Reacts to an event before the stream is open; returns how it was opened, if it was. `is_heard` tells whether there was an earlier
    /// one.
    fn handle_before_open(
        &mut self,
        event: Event,
        is_heard: bool,
    ) -> Result<Option<Opened>, Failure> {
        let by_service = |status| Failure {
            status,
            by: FailedBy::Service,
        };
        let expects_response = self.kind == MethodKind::ClientStreaming;
        match event {
            Event::Control(control) if control.state.opened && self.kind.streams_responses() => {
                Ok(Some(Opened::Stream(control.message)))
            }
            Event::Control(control) => {
                // The handler may wait for requests, which are sent from the acceptance on.
                let is_accepted = self.kind.streams_requests()
                    && self.link.peer.is_some()
                    && self.link.mapping != Mapping::Unproven;
                Ok(is_accepted.then_some(Opened::Accepted(control.message)))
            }
            Event::End(None, message) if expects_response => Ok(Some(Opened::Response(message))),
            Event::End(None, message) | Event::Messages(message) => {
                Ok(Some(Opened::Stream(message)))
            }
            Event::Response(message) => {
                let response = response_or_error(expects_response, message).map_err(by_service)?;
                Ok(Some(Opened::Response(response)))
            }
            Event::NoListener => Err(Failure {
                status: Status::unavailable(format!(
                    "no instance of the service answers on `{}`; is it running?",
                    self.subject
                )),
                // Of the messages that the NATS server reports, only the request needs no answer of the service before it.
                by: if is_heard {
                    FailedBy::Client
                } else {
                    FailedBy::Nobody
                },
            }),
            Event::End(Some(status), _) => Err(by_service(status)),
            Event::Fault(status) | Event::PeerLost(status) => Err(status.into()),
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
                    "the stream did not end within its deadline",
                ))
            })
    }

    /// Sends and receives until the stream is over; returns the response to a stream of requests.
    async fn transfer(&mut self) -> Result<Option<Message>, Status> {
        while self.kind == MethodKind::ClientStreaming || !self.link.inbound.is_closed() {
            let may_send = self.link.may_send();
            let item = tokio::select! {
                signal = self.link.wait() => {
                    if let Some(event) = self.link.handle(signal).await
                        && let ControlFlow::Break(response) = self.handle_while_open(event)?
                    {
                        return Ok(response);
                    }
                    continue;
                }
                Some(item) = next_request(&mut self.output), if may_send => item,
                () = caller_dropped(&mut self.caller) => return Err(call_dropped()),
                status = final_wait_over(self.final_wait.as_ref()) => return Err(status),
            };
            self.send(item).await;
        }
        Ok(None)
    }

    /// Reacts to an event while the stream is open; breaks when it is over.
    fn handle_while_open(&mut self, event: Event) -> Result<ControlFlow<Option<Message>>, Status> {
        let expects_response = self.kind == MethodKind::ClientStreaming;
        let awaits_handler = !expects_response && self.caller.is_some();
        match event {
            Event::Control(control) => {
                if control.state.cancelled && self.output.is_some() {
                    self.stop_sending();
                }
                if control.state.opened && awaits_handler {
                    self.resolve_call(Ok(control.message));
                }
                Ok(ControlFlow::Continue(()))
            }
            Event::Messages(message) => {
                if awaits_handler {
                    self.resolve_call(Ok(message));
                }
                Ok(ControlFlow::Continue(()))
            }
            Event::End(None, message) if expects_response || awaits_handler => {
                Ok(ControlFlow::Break(Some(message)))
            }
            Event::End(Some(status), _) if expects_response || awaits_handler => Err(status),
            Event::End(..) | Event::ReaderDropped => Ok(ControlFlow::Break(None)),
            Event::Response(message) => {
                // The service receives nothing after its response.
                self.link.peer = None;
                Ok(ControlFlow::Break(Some(response_or_error(
                    expects_response,
                    message,
                )?)))
            }
            Event::NoListener => {
                let lost =
                    Status::unavailable("the service of the stream cannot be reached any more");
                if self.link.extension {
                    return Err(lost);
                }
                // A service without the extension stops receiving before it sends its result.
                self.stop_sending();
                self.link.peer = None;
                self.final_wait = Some((Instant::now() + FINAL_ERROR_TIMEOUT, lost));
                Ok(ControlFlow::Continue(()))
            }
            Event::Fault(status) | Event::PeerLost(status) => Err(status),
        }
    }

    /// Sends a request, or the end of the stream of requests.
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
        self.stop_sending();
    }

    /// Drops the requests that were not sent, and starts to wait for the response.
    fn stop_sending(&mut self) {
        self.output = None;
        if self.kind == MethodKind::ClientStreaming && self.deadline.is_none() {
            let by = backoff::after(Instant::now(), self.timeout);
            self.final_wait = Some((by, self.timeout_status()));
        }
    }

    fn resolve_call(&mut self, result: Result<Message, Unopened>) {
        if let Some(caller) = self.caller.take()
            && let Err(Err(unopened)) = caller.send(result)
            && let Some(mut output) = unopened.output
        {
            // The call was dropped, and nobody waits for its result. A destructor of the user's stream may panic.
            let _ = output.close();
        }
    }

    fn timeout_status(&self) -> Status {
        unanswered(&self.link.gate, &self.subject, self.timeout)
    }
}

fn no_requests() -> Output {
    Output::new(futures::stream::empty().boxed())
}

fn call_dropped() -> Status {
    Status::cancelled("the call was dropped")
}

/// Reads a message that is no part of a stream: an error reply, or the response if one is expected.
fn response_or_error(expected: bool, message: Message) -> Result<Message, Status> {
    match headers::read_status(&message) {
        Some(status) => Err(status),
        None if expected => Ok(message),
        None => Err(malformed("a message without a number")),
    }
}

/// The next item of `output`; `None` if there is no output.
async fn next_request(output: &mut Option<Output>) -> Option<Option<Result<Bytes, Status>>> {
    Some(output.as_mut()?.next().await)
}

/// Waits until the call is dropped; pending if it already has its result.
async fn caller_dropped(caller: &mut Option<oneshot::Sender<Result<Message, Unopened>>>) {
    match caller {
        Some(caller) => caller.closed().await,
        None => std::future::pending().await,
    }
}

/// Waits until the final wait is over, and returns its status; pending if there is none.
async fn final_wait_over(final_wait: Option<&(Instant, Status)>) -> Status {
    match final_wait {
        Some((at, status)) => {
            tokio::time::sleep_until(*at).await;
            status.clone()
        }
        None => std::future::pending().await,
    }
}
