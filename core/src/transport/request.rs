//! A request and its reply.

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
use crate::transport::mux::{Connection, Outgoing, Ticket};

/// Sends a request, and waits for the reply. Written by hand, since it moves with every call: what the compiler makes of the
/// same as an `async fn` is several times as large.
pub(crate) struct Exchange {
    connection: Arc<Connection>,
    outgoing: Outgoing,
    timeout: Duration,
    /// From the first poll on.
    timer: Option<Pin<Box<Sleep>>>,
    state: State,
}

enum State {
    New,
    /// Not sent within one poll: the first request of a client, or the connection is down.
    Sending(BoxFuture<'static, Result<Ticket, RequestError>>),
    Waiting(Ticket),
    Done,
}

impl Exchange {
    pub(crate) fn new(connection: Arc<Connection>, outgoing: Outgoing, timeout: Duration) -> Self {
        Self {
            connection,
            outgoing,
            timeout,
            timer: None,
            state: State::New,
        }
    }

    fn poll_reply(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Message, RequestError>> {
        loop {
            match &mut self.state {
                State::New => {
                    // Most requests are sent within one poll, and that needs no future to be kept.
                    if let Some(sent) = self.connection.send(&mut self.outgoing).now_or_never() {
                        self.wait(sent?);
                        continue;
                    }
                    let connection = Arc::clone(&self.connection);
                    let mut outgoing = self.outgoing.clone();
                    let sending = async move { connection.send(&mut outgoing).await };
                    self.state = State::Sending(Box::pin(sending));
                }
                State::Sending(sending) => {
                    let sent = ready!(sending.as_mut().poll(cx));
                    self.wait(sent?);
                }
                State::Waiting(ticket) => return ticket.poll_unpin(cx),
                State::Done => return Poll::Pending,
            }
        }
    }

    fn wait(&mut self, ticket: Ticket) {
        self.outgoing.payload = Bytes::new();
        self.state = State::Waiting(ticket);
    }
}

impl Future for Exchange {
    type Output = Result<Message, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (subject, timeout) = (&this.outgoing.subject, this.timeout);
        if let State::New = this.state
            && timeout.is_zero()
        {
            this.state = State::Done;
            return Poll::Ready(Err(timed_out(subject, timeout)));
        }
        if let Poll::Ready(reply) = this.poll_reply(cx) {
            this.state = State::Done;
            return Poll::Ready(reply.map_err(|error| failed(&this.outgoing.subject, &error)));
        }
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(timer.as_mut().poll(cx));
        this.state = State::Done;
        Poll::Ready(Err(timed_out(&this.outgoing.subject, timeout)))
    }
}

pub(crate) fn timed_out(subject: &str, timeout: Duration) -> Status {
    Status::deadline_exceeded(format!("no answer from `{subject}` within {timeout:?}"))
}

fn failed(subject: &str, error: &RequestError) -> Status {
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

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
