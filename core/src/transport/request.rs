//! A request and its reply, with a timeout.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;

use async_nats::Message;
use async_nats::client::{RequestError, RequestErrorKind};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Sleep;

use crate::status::Status;
use crate::transport::gate::Gate;
use crate::transport::mux::{self, Multiplexer, PendingReply};
use crate::transport::outgoing::Outgoing;

/// Sends a request and waits for the reply. A future written by hand, because it is moved with every call: the one that the compiler
/// makes of the same `async fn` is several times as large.
pub(crate) struct RequestFuture {
    multiplexer: Arc<Multiplexer>,
    outgoing: Outgoing,
    timeout: Duration,
    /// Started by the first poll that does not end at once.
    timer: Option<Pin<Box<Sleep>>>,
    state: RequestState,
}

/// The steps of a request. Invariant: they follow each other in this order; `Sending` is skipped if the request is sent within one poll,
/// and any step may be followed by `Done`.
enum RequestState {
    New,
    /// Sending needs to wait: for the first subscription of a client, or for the connection.
    Sending(BoxFuture<'static, Result<PendingReply, RequestError>>),
    Waiting(PendingReply),
    /// The request has ended; whether because nobody has a subscription to its subject.
    Done {
        found_nobody: bool,
    },
}

impl RequestFuture {
    pub(crate) fn new(
        multiplexer: Arc<Multiplexer>,
        outgoing: Outgoing,
        timeout: Duration,
    ) -> Self {
        Self {
            multiplexer,
            outgoing,
            timeout,
            timer: None,
            state: RequestState::New,
        }
    }

    /// Whether the request has failed because nobody has a subscription to its subject, so that nobody has received it.
    pub(crate) fn found_nobody(&self) -> bool {
        matches!(self.state, RequestState::Done { found_nobody: true })
    }

    fn poll_reply(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Message, RequestError>> {
        loop {
            match &mut self.state {
                RequestState::New => {
                    // Most requests are sent within one poll, so no future is stored for them. Sending is cancel safe.
                    if let Some(sent) = self.multiplexer.send(&mut self.outgoing).now_or_never() {
                        self.wait(sent?);
                        continue;
                    }
                    let multiplexer = Arc::clone(&self.multiplexer);
                    let mut outgoing = self.outgoing.clone();
                    let sending = async move { multiplexer.send(&mut outgoing).await };
                    self.state = RequestState::Sending(Box::pin(sending));
                }
                RequestState::Sending(sending) => {
                    let sent = ready!(sending.as_mut().poll(cx));
                    self.wait(sent?);
                }
                RequestState::Waiting(reply) => return reply.poll_unpin(cx),
                RequestState::Done { .. } => return Poll::Pending,
            }
        }
    }

    fn wait(&mut self, reply: PendingReply) {
        self.outgoing.payload = Bytes::new();
        self.state = RequestState::Waiting(reply);
    }

    fn end(&mut self, found_nobody: bool) {
        self.state = RequestState::Done { found_nobody };
    }
}

impl Future for RequestFuture {
    type Output = Result<Message, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let timeout = this.timeout;
        if let RequestState::New = this.state
            && timeout.is_zero()
        {
            this.end(false);
            return Poll::Ready(Err(timed_out(this.outgoing.subject(), timeout)));
        }
        if let Poll::Ready(reply) = this.poll_reply(cx) {
            let is_unheard = |error: &RequestError| error.kind() == RequestErrorKind::NoResponders;
            this.end(reply.as_ref().is_err_and(is_unheard));
            return Poll::Ready(reply.map_err(|error| failed(this.outgoing.subject(), &error)));
        }
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(timer.as_mut().poll(cx));
        this.end(false);
        let gate = &this.multiplexer.gate;
        Poll::Ready(Err(unanswered(gate, this.outgoing.subject(), timeout)))
    }
}

/// The error of a request that was sent and not answered in time.
pub(crate) fn unanswered(gate: &Gate, subject: &str, timeout: Duration) -> Status {
    let status = timed_out(subject, timeout);
    let prefix = gate.inbox_prefix();
    let hint = if !prefix.starts_with('_') {
        // A service of this crate drops such a request, and has nowhere to say so.
        format!(
            "the inbox prefix of this connection, `{prefix}`, does not begin with `_`, and services reply there only if \
             `Server::with_reply_subjects` allows it"
        )
    } else if !gate.has_events() {
        // NATS answers nothing to such a request either.
        format!(
            "if the service is in time, the permission to publish to this subject may be missing, or that to subscribe to \
             `{prefix}.>`: `Client::with_connection_events` tells which, and `natsmicro::guide::permissions` lists them"
        )
    } else {
        return status;
    };
    Status::deadline_exceeded(format!("{}; {hint}", status.message()))
}

pub(crate) fn timed_out(subject: &str, timeout: Duration) -> Status {
    Status::deadline_exceeded(format!("no answer from `{subject}` within {timeout:?}"))
}

fn failed(subject: &str, error: &RequestError) -> Status {
    if let Some(violation) = mux::violation(error) {
        return violation.status();
    }
    match error.kind() {
        RequestErrorKind::NoResponders => Status::unavailable(format!(
            "no instance of the service answers on `{subject}`; is it running?"
        )),
        RequestErrorKind::TimedOut => {
            Status::deadline_exceeded(format!("no answer from `{subject}`"))
        }
        RequestErrorKind::MaxPayloadExceeded => {
            Status::resource_exhausted(format!("the request is too large: {error}"))
        }
        RequestErrorKind::InvalidSubject => {
            Status::invalid_argument(format!("`{subject}` is not a subject"))
        }
        RequestErrorKind::Other => {
            Status::unavailable(format!("the request to `{subject}` failed: {error}"))
        }
    }
}

impl fmt::Debug for RequestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestFuture")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
