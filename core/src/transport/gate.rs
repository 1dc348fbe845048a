//! The gate: everything that this crate publishes on a connection passes here, and nowhere else.
//!
//! It decides to which subjects a peer may make the crate publish, checks what the NATS server would refuse, and keeps what the
//! connection does not take at once. async-nats grants room for messages in the order in which futures asked for it, also to futures
//! that nobody polls: a few of them, left alone, stop a connection for good. So no future outside this module ever waits for that
//! room. What does not fit goes to a backlog, which a task of its own sends.

#![allow(clippy::disallowed_methods, reason = "this is the gate")]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use async_nats::client::{FlushErrorKind, PublishErrorKind, SubscribeErrorKind};
use async_nats::connection::State;
use async_nats::{HeaderMap, Subject, SubscribeError, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::status::Status;
use crate::sync::Mutex;
use crate::transport::backlog::{Backlog, Lane, Queued};
use crate::transport::events::{ConnectionEvents, Violation, Violations};
use crate::transport::headers;
use crate::transport::outgoing::{Outgoing, PublishError};
use crate::transport::publishing::Publishing;
use crate::transport::random::random_token;
use crate::transport::subject::{self, PeerSubject, ReplySubjects};

/// The longest protocol line in bytes that a NATS server takes, without the verb, by default.
const MAX_CONTROL_LINE: usize = 4_096;
/// What a protocol line holds besides its subjects: two sizes of up to nine digits, and three spaces.
const SIZES_LEN: usize = 2 * 9 + 3;

/// A connection, as the rest of the crate uses it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Shared>);

struct Shared {
    nats: async_nats::Client,
    /// Where the backlog is sent: the runtime on which the gate was made. `None` if there was none, and then nothing can wait.
    runtime: Option<Handle>,
    /// The prefix of the inboxes of this connection, without the last dot.
    inbox_prefix: String,
    reply_subjects: ReplySubjects,
    events: Option<ConnectionEvents>,
    backlog: Mutex<Backlog>,
    /// Whether a task sends the backlog. Changes under the lock of the backlog, and is false only while that is empty and its last
    /// message is sent: so what overtakes nothing in the backlog overtakes nothing at all.
    is_draining: AtomicBool,
    /// Notified when the backlog is empty.
    drained: Notify,
    /// Whether a message to itself has come back.
    has_echo: AtomicBool,
}

impl Gate {
    pub(crate) fn new(
        nats: async_nats::Client,
        reply_subjects: ReplySubjects,
        events: Option<ConnectionEvents>,
    ) -> Self {
        // Only its prefix is used, which async-nats shows nowhere else.
        let inbox = nats.new_inbox();
        Self(Arc::new(Shared {
            inbox_prefix: subject::prefix_of_inbox(&inbox).to_owned(),
            nats,
            runtime: Handle::try_current().ok(),
            reply_subjects,
            events,
            backlog: Mutex::default(),
            is_draining: AtomicBool::new(false),
            drained: Notify::new(),
            has_echo: AtomicBool::new(false),
        }))
    }

    /// Another gate of the same connection, with its events.
    pub(crate) fn with_events(&self, events: ConnectionEvents) -> Self {
        let reply_subjects = self.0.reply_subjects.clone();
        Self::new(self.0.nats.clone(), reply_subjects, Some(events))
    }

    /// The subject that a peer names, or why this crate may not publish to it.
    pub(crate) fn peer_subject(&self, subject: &str) -> Result<PeerSubject, &'static str> {
        self.0.reply_subjects.peer_subject(&Subject::from(subject))
    }

    /// The reply subject of a message, without copying it.
    pub(crate) fn reply_subject(&self, subject: &Subject) -> Result<PeerSubject, &'static str> {
        self.0.reply_subjects.peer_subject(subject)
    }

    /// Publishes a message: hands it to the connection, or puts it into the backlog. The result tells when the connection has it.
    ///
    /// Messages of one task arrive in their order, as long as they are in one lane.
    pub(crate) fn publish(&self, lane: Lane, message: Outgoing) -> Publishing {
        if let Err(error) = self.check(&message) {
            return Publishing::done(Err(error));
        }
        let shared = &self.0;
        if !shared.is_draining.load(Ordering::Acquire)
            && let Some(sent) = try_send(&shared.nats, &message)
        {
            return Publishing::done(sent);
        }
        let Some(runtime) = &shared.runtime else {
            return Publishing::done(Err(PublishError::Closed));
        };
        let mut backlog = shared.backlog.lock();
        if backlog.len(lane) >= lane.max_waiting() {
            return Publishing::done(Err(PublishError::Refused));
        }
        let (done, result) = oneshot::channel();
        let number = backlog.push(lane, Queued { message, done });
        let was_draining = shared.is_draining.swap(true, Ordering::AcqRel);
        drop(backlog);
        if !was_draining {
            let drain = Drain {
                shared: Arc::clone(shared),
                is_finished: false,
            };
            // Without the lock: a runtime that shuts down drops the task at once, which takes it.
            runtime.spawn(drain.run());
        }
        Publishing::queued(self.clone(), lane, number, result)
    }

    /// Takes a message out of the backlog, if it still waits there.
    pub(super) fn withdraw(&self, lane: Lane, number: u64) {
        self.0.backlog.lock().withdraw(lane, number);
    }

    /// Sends an error with `headers`. If it is too large, it goes without these and without details, and with a shorter text or none,
    /// so that the caller always gets an answer. The headers in `required` are always sent.
    pub(crate) fn publish_status(
        &self,
        lane: Lane,
        mut message: Outgoing,
        required: &HeaderMap,
        status: &Status,
    ) -> Publishing {
        message.payload = status.details().clone();
        for max_chars in [None, Some(256), Some(0)] {
            headers::add(&mut message.headers, required);
            match max_chars {
                None => headers::write_status(&mut message.headers, status),
                Some(chars) => {
                    let shortened = headers::shortened(status, chars);
                    headers::write_status(&mut message.headers, &shortened);
                }
            }
            if message.size() <= self.max_payload() {
                return self.publish(lane, message);
            }
            message.headers = HeaderMap::new();
            message.payload = Bytes::new();
        }
        Publishing::done(Err(PublishError::TooLarge))
    }

    /// What the NATS server would refuse, partly by closing the connection.
    fn check(&self, message: &Outgoing) -> Result<(), PublishError> {
        let reply = message.reply.as_ref().map_or(0, |reply| reply.len());
        if message.subject.len() + reply + SIZES_LEN > MAX_CONTROL_LINE {
            return Err(PublishError::InvalidSubject);
        }
        if message.size() > self.max_payload() {
            return Err(PublishError::TooLarge);
        }
        Ok(())
    }

    /// Waits until the backlog is empty.
    pub(crate) async fn drained(&self) {
        loop {
            let mut drained = std::pin::pin!(self.0.drained.notified());
            drained.as_mut().enable();
            if !self.0.is_draining.load(Ordering::Acquire) {
                return;
            }
            drained.await;
        }
    }

    /// Waits until the socket has all messages.
    pub(crate) async fn flush(&self) -> Result<(), FlushErrorKind> {
        self.drained().await;
        let gate = self.clone();
        let flushed = apart(async move { gate.0.nats.flush().await });
        let flushed = flushed.await.ok_or(FlushErrorKind::SendError)?;
        flushed.map_err(|error| error.kind())
    }

    pub(crate) async fn subscribe(&self, subject: String) -> Result<Subscriber, SubscribeError> {
        self.subscribe_in_group(subject, None).await
    }

    /// Subscribes as a member of a queue group, if there is one.
    pub(crate) async fn subscribe_in_group(
        &self,
        subject: String,
        group: Option<String>,
    ) -> Result<Subscriber, SubscribeError> {
        let gate = self.clone();
        let subscribed = apart(async move {
            match group {
                Some(group) => gate.0.nats.queue_subscribe(subject, group).await,
                None => gate.0.nats.subscribe(subject).await,
            }
        });
        subscribed.await.unwrap_or_else(|| {
            let closed = SubscribeError::with_source(SubscribeErrorKind::Other, closed());
            Err(closed)
        })
    }

    /// The prefix of the inboxes of this connection, without the last dot.
    pub(crate) fn inbox_prefix(&self) -> &str {
        &self.0.inbox_prefix
    }

    /// Whether async-nats receives the replies to its requests here, or this crate those to its own: their subscriptions have this form,
    /// and NATS permits all of them or none. Others below the prefix of the inboxes may be of somebody else.
    pub(crate) fn receives_replies(&self, subject: &str) -> bool {
        let below = subject.strip_prefix(self.inbox_prefix());
        let token = below.and_then(|below| below.strip_prefix('.')?.strip_suffix(".*"));
        token.is_some_and(|token| !token.is_empty() && !token.contains('.'))
    }

    /// A new inbox that nobody can guess.
    pub(crate) fn new_inbox(&self) -> String {
        format!("{}.{}", self.0.inbox_prefix, random_token())
    }

    /// The largest message in bytes that the NATS server takes, headers included.
    pub(crate) fn max_payload(&self) -> usize {
        self.0.nats.max_payload()
    }

    pub(crate) fn connection_state(&self) -> State {
        self.0.nats.connection_state()
    }

    pub(crate) fn state(&self) -> ConnectionState {
        if self.is_closed() {
            ConnectionState::Closed
        } else if self.connection_state() == State::Connected {
            ConnectionState::Connected
        } else {
            ConnectionState::Disconnected
        }
    }

    /// Whether the connection is closed for good: it was drained, or the task of async-nats that runs it has panicked. async-nats does not
    /// say so, and then takes no commands any more.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(now(self.0.nats.flush()), Some(Err(_)))
    }

    /// Waits until the connection is closed for good.
    pub(crate) async fn closed(&self) {
        // A subscription to which nothing is published ends with the connection, and not before.
        if let Ok(mut silent) = self.subscribe(self.new_inbox()).await {
            while silent.next().await.is_some() {}
        }
    }

    /// Whether a message of this connection to itself has come back, so that another one will.
    pub(super) fn has_echo(&self) -> bool {
        self.0.has_echo.load(Ordering::Relaxed)
    }

    pub(super) fn record_echo(&self) {
        self.0.has_echo.store(true, Ordering::Relaxed);
    }

    /// How many bytes the connection has received.
    pub(super) fn received_bytes(&self) -> u64 {
        self.0.nats.statistics().in_bytes.load(Ordering::Relaxed)
    }

    /// Whether permissions violations are told to this crate. Without that, what NATS refuses ends with a timeout.
    pub(crate) fn has_events(&self) -> bool {
        self.0.events.is_some()
    }

    /// The permissions violations of this connection from now on.
    pub(crate) fn violations(&self) -> Violations {
        let events = self.0.events.as_ref();
        events.map_or_else(Violations::none, ConnectionEvents::violations)
    }

    /// The violation by a subscription that was made on this connection.
    pub(crate) fn refused_subscription(
        &self,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Option<Violation> {
        self.0.events.as_ref()?.refused_subscription(is_wanted)
    }

    /// Counts the connections of the client. It changes with every reconnect, so a different value means that messages on the old
    /// connection may be lost.
    pub(crate) fn connection_epoch(&self) -> u64 {
        let statistics = self.0.nats.statistics();
        statistics.connects.load(Ordering::Relaxed)
    }

    /// The epoch of the connection; `None` while it is down: what is handed over then is sent after the reconnect, and cannot be withdrawn.
    pub(crate) fn connected_epoch(&self) -> Option<u64> {
        (self.connection_state() == State::Connected).then(|| self.connection_epoch())
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("inbox_prefix", &self.0.inbox_prefix)
            .finish_non_exhaustive()
    }
}

/// The state of a connection to NATS; see [`Client::state`](crate::Client::state).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// It works.
    Connected,
    /// It is interrupted, or not there yet. async-nats goes on trying to connect.
    Disconnected,
    /// It is over for good: it was drained, or async-nats's task for it has panicked. Only a new connection helps.
    Closed,
}

/// The task that sends the backlog. If it is dropped before its end, with its runtime, the backlog is dropped too.
struct Drain {
    shared: Arc<Shared>,
    is_finished: bool,
}

impl Drain {
    /// The next message; none if the task is finished.
    fn next(&mut self) -> Option<Queued> {
        let mut backlog = self.shared.backlog.lock();
        let next = backlog.pop();
        if next.is_none() {
            self.is_finished = true;
            self.shared.is_draining.store(false, Ordering::Release);
        }
        next
    }

    async fn run(mut self) {
        while let Some(Queued { message, done }) = self.next() {
            let sent = send(&self.shared.nats, message).await;
            // Fails if nobody waits for the result.
            let _ = done.send(sent);
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        if !self.is_finished {
            let mut backlog = self.shared.backlog.lock();
            let dropped = backlog.clear();
            self.shared.is_draining.store(false, Ordering::Release);
            drop(backlog);
            // Without the lock: this wakes those who wait.
            drop(dropped);
        }
        self.shared.drained.notify_waiters();
    }
}

async fn send(nats: &async_nats::Client, message: Outgoing) -> Result<(), PublishError> {
    let Outgoing {
        subject,
        reply,
        headers,
        payload,
    } = message;
    let sent = match reply {
        None if headers.is_empty() => nats.publish(subject, payload).await,
        None => nats.publish_with_headers(subject, headers, payload).await,
        Some(reply) if headers.is_empty() => nats.publish_with_reply(subject, reply, payload).await,
        Some(reply) => {
            nats.publish_with_reply_and_headers(subject, reply, headers, payload)
                .await
        }
    };
    sent.map_err(|error| unsent(&error))
}

/// Sends a message if the connection takes it at once. Each form has a future of its own, since most messages are of the first, whose
/// future is small, and a future that is pending is dropped, with the place that it has asked for.
fn try_send(nats: &async_nats::Client, message: &Outgoing) -> Option<Result<(), PublishError>> {
    let subject = message.subject.clone();
    let payload = message.payload.clone();
    let headers = || message.headers.clone();
    let sent = match (&message.reply, message.headers.is_empty()) {
        (None, true) => now(nats.publish(subject, payload)),
        (None, false) => now(nats.publish_with_headers(subject, headers(), payload)),
        (Some(reply), true) => now(nats.publish_with_reply(subject, reply.clone(), payload)),
        (Some(reply), false) => {
            let reply = reply.clone();
            now(nats.publish_with_reply_and_headers(subject, reply, headers(), payload))
        }
    };
    sent.map(|sent| sent.map_err(|error| unsent(&error)))
}

/// The output of a future that is ready, also when the task has used up its tokio budget.
fn now<F: Future>(future: F) -> Option<F::Output> {
    tokio::task::unconstrained(future).now_or_never()
}

fn unsent(error: &async_nats::PublishError) -> PublishError {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge,
        PublishErrorKind::InvalidSubject => PublishError::InvalidSubject,
        PublishErrorKind::Send => PublishError::Closed,
    }
}

/// Awaits a command to the connection. One that waits for room does so in a task of its own, which is polled even if the caller is not.
/// Gives nothing if the runtime ends.
async fn apart<F>(command: F) -> Option<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut command = Box::pin(command);
    if let Poll::Ready(done) = futures::poll!(&mut command) {
        return Some(done);
    }
    tokio::spawn(command).await.ok()
}

fn closed() -> String {
    PublishError::Closed.to_string()
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
