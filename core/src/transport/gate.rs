//! The gate: everything that this crate publishes on a connection passes here, and nowhere else.
//!
//! It decides to which subjects a peer may make the crate publish, checks what the NATS server would refuse, and keeps what the
//! connection does not take at once. async-nats grants room for messages in the order in which futures asked for it, also to futures
//! that nobody polls: a few of them, left alone, stop a connection for good. So no future outside this module ever waits for that
//! room. What does not fit goes to a backlog, which a task of its own sends.

#![allow(clippy::disallowed_methods, reason = "this is the gate")]

use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_nats::client::{FlushErrorKind, PublishErrorKind, SubscribeErrorKind};
use async_nats::connection::State;
use async_nats::{HeaderMap, Subject, SubscribeError, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Notify, oneshot};

use crate::status::Status;
use crate::sync::Mutex;
use crate::transport::backlog::{Backlog, Queued};
use crate::transport::headers::{self, headers_len};
use crate::transport::subject::{self, ReplySubjects};

/// The longest protocol line in bytes that a NATS server takes, without the verb, by default.
const MAX_CONTROL_LINE: usize = 4_096;
/// What a protocol line holds besides its subjects: two sizes of up to nine digits, and three spaces.
const SIZES_LEN: usize = 2 * 9 + 3;

/// How many answers of discovery wait.
const MAX_WAITING_DISCOVERY: usize = 1_024;
/// How many refusals of requests wait.
const MAX_WAITING_REFUSALS: usize = 16_384;

/// What a message is, where messages have to wait for the connection. It decides which is sent next, and how many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Answers of discovery: they show an overload while it lasts. Peers ask for them, so there is a bound.
    Discovery,
    /// Replies, errors, requests, and what keeps streams alive. Whoever sends one waits for it, and holds it anyway.
    Reply,
    /// Messages of streams, whose senders wait.
    Stream,
    /// Answers to requests that were not accepted. Nothing else bounds their number, so there is a bound.
    Refusal,
}

impl Lane {
    /// How many messages may wait; one that comes on top is not sent.
    fn max_waiting(self) -> usize {
        match self {
            Self::Discovery => MAX_WAITING_DISCOVERY,
            Self::Refusal => MAX_WAITING_REFUSALS,
            Self::Reply | Self::Stream => usize::MAX,
        }
    }
}

/// A subject that a peer has named, and that may be published to. Only the gate makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerSubject(Subject);

/// A message to publish.
#[derive(Clone)]
pub(crate) struct Outgoing {
    subject: Subject,
    /// Where answers go, or the notice of the NATS server that nobody listens on the subject.
    pub(crate) reply: Option<Subject>,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    /// A message to a subject of this crate's own making: an endpoint that is called, a bucket, the API of JetStream. It is text and
    /// no [`Subject`], as which the subjects of peers arrive.
    pub(crate) fn to(subject: impl Into<String>) -> Self {
        Self::to_own(Subject::from(subject.into()))
    }

    /// The same, for a subject that is kept for many messages.
    pub(crate) fn to_own(subject: Subject) -> Self {
        Self {
            subject,
            reply: None,
            headers: HeaderMap::new(),
            payload: Bytes::new(),
        }
    }

    /// A message to a peer.
    pub(crate) fn to_peer(subject: &PeerSubject) -> Self {
        Self::to_own(subject.0.clone())
    }

    pub(crate) fn with_reply(mut self, reply: Subject) -> Self {
        self.reply = Some(reply);
        self
    }

    pub(crate) fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    pub(crate) fn with_payload(mut self, payload: Bytes) -> Self {
        self.payload = payload;
        self
    }

    /// Takes headers and payload out.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            subject: self.subject.clone(),
            reply: self.reply.take(),
            headers: std::mem::take(&mut self.headers),
            payload: std::mem::take(&mut self.payload),
        }
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Its size as it counts towards `max_payload`.
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + headers_len(&self.headers)
    }
}

/// Why a message was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishError {
    /// It has more bytes than the NATS server takes.
    TooLarge,
    /// A subject has a space, an empty token or the like, or both are too long for a protocol line.
    InvalidSubject,
    /// There are too many like it.
    Refused,
    /// The connection is closed.
    Closed,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the message is larger than the NATS server takes",
            Self::InvalidSubject => "the subject cannot be one, or is too long",
            Self::Refused => "too many messages wait for the connection",
            Self::Closed => "the connection is closed",
        })
    }
}

impl std::error::Error for PublishError {}

/// A connection, as the rest of the crate uses it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Shared>);

struct Shared {
    nats: async_nats::Client,
    /// The prefix of the inboxes of this connection, without the last dot.
    inbox_prefix: String,
    reply_subjects: ReplySubjects,
    backlog: Mutex<Backlog>,
    /// Whether a task sends the backlog. Changes under the lock of the backlog, and is false only while that is empty and its last
    /// message is sent: so what overtakes nothing in the backlog overtakes nothing at all.
    is_draining: AtomicBool,
    /// Notified when the backlog is empty.
    drained: Notify,
}

impl Gate {
    pub(crate) fn new(nats: async_nats::Client, reply_subjects: ReplySubjects) -> Self {
        // Only its prefix is used, which async-nats shows nowhere else.
        let inbox = nats.new_inbox();
        Self(Arc::new(Shared {
            inbox_prefix: subject::prefix_of_inbox(&inbox).to_owned(),
            nats,
            reply_subjects,
            backlog: Mutex::default(),
            is_draining: AtomicBool::new(false),
            drained: Notify::new(),
        }))
    }

    /// The subject that a peer names, if this crate may publish to it; else why not.
    pub(crate) fn peer_subject(&self, subject: &str) -> Result<PeerSubject, &'static str> {
        self.0.reply_subjects.check(subject)?;
        Ok(PeerSubject(Subject::from(subject)))
    }

    /// The reply subject of a message, without copying it.
    pub(crate) fn reply_subject(&self, subject: &Subject) -> Result<PeerSubject, &'static str> {
        self.0.reply_subjects.check(subject)?;
        Ok(PeerSubject(subject.clone()))
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
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return Publishing::done(Err(PublishError::Closed));
        };
        let mut backlog = shared.backlog.lock();
        if backlog.len(lane) >= lane.max_waiting() {
            return Publishing::done(Err(PublishError::Refused));
        }
        let (done, result) = oneshot::channel();
        let number = backlog.push(lane, Queued { message, done });
        if !shared.is_draining.swap(true, Ordering::AcqRel) {
            runtime.spawn(drain(Drain(Arc::clone(shared))));
        }
        drop(backlog);
        Publishing(PublishingState::Queued {
            gate: self.clone(),
            lane,
            number,
            result,
            is_detached: false,
        })
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
    async fn drained(&self) {
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

    /// Sends a message to itself and waits for it: then the NATS server has processed everything that was sent on this connection
    /// before, and everything that it had sent has been received. `flush` only waits for the socket.
    pub(crate) async fn round_trip(&self, timeout: Duration) -> Result<(), String> {
        let inbox = self.new_inbox();
        let trip = async {
            let mut echo = self
                .subscribe(inbox.clone())
                .await
                .map_err(|error| error.to_string())?;
            let sent = self.publish(Lane::Reply, Outgoing::to(inbox)).await;
            sent.map_err(|error| error.to_string())?;
            echo.next().await.map(drop).ok_or_else(closed)
        };
        tokio::time::timeout(timeout, trip)
            .await
            .unwrap_or_else(|_| Err(format!("the NATS server did not answer within {timeout:?}")))
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

    /// Counts the connections of the client. It changes with every reconnect, so a different value means that messages on the old
    /// connection may be lost.
    pub(crate) fn connection_epoch(&self) -> u64 {
        let statistics = self.0.nats.statistics();
        statistics.connects.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("inbox_prefix", &self.0.inbox_prefix)
            .finish_non_exhaustive()
    }
}

/// A message on its way to the connection. Dropping it withdraws a message that still waits in the backlog.
#[must_use = "a message that waits for the connection is withdrawn when this is dropped"]
pub(crate) struct Publishing(PublishingState);

enum PublishingState {
    Done(Option<Result<(), PublishError>>),
    Queued {
        gate: Gate,
        lane: Lane,
        number: u64,
        result: oneshot::Receiver<Result<(), PublishError>>,
        is_detached: bool,
    },
}

impl Publishing {
    fn done(result: Result<(), PublishError>) -> Self {
        Self(PublishingState::Done(Some(result)))
    }

    /// Leaves the message to the gate, which sends it whatever becomes of this. Gives the result, if it is known.
    pub(crate) fn detach(mut self) -> Option<Result<(), PublishError>> {
        match &mut self.0 {
            PublishingState::Done(result) => result.take(),
            PublishingState::Queued { is_detached, .. } => {
                *is_detached = true;
                None
            }
        }
    }

    /// The result, if it is known.
    pub(crate) fn result(&self) -> Option<Result<(), PublishError>> {
        match &self.0 {
            PublishingState::Done(result) => *result,
            PublishingState::Queued { .. } => None,
        }
    }
}

impl Future for Publishing {
    type Output = Result<(), PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.0 {
            PublishingState::Done(result) => result.take().unwrap_or(Err(PublishError::Closed)),
            PublishingState::Queued { result, .. } => {
                ready!(Pin::new(result).poll(cx)).unwrap_or(Err(PublishError::Closed))
            }
        };
        self.0 = PublishingState::Done(None);
        Poll::Ready(result)
    }
}

impl Drop for PublishingState {
    fn drop(&mut self) {
        if let Self::Queued {
            gate,
            lane,
            number,
            is_detached: false,
            ..
        } = self
        {
            gate.0.backlog.lock().withdraw(*lane, *number);
        }
    }
}

/// The task that sends the backlog. If it is dropped with its runtime, so is the backlog.
struct Drain(Arc<Shared>);

impl Drain {
    /// The next message; none if the task is over.
    fn next(&self) -> Option<Queued> {
        let mut backlog = self.0.backlog.lock();
        let next = backlog.pop();
        if next.is_none() {
            self.0.is_draining.store(false, Ordering::Release);
        }
        next
    }
}

async fn drain(task: Drain) {
    while let Some(Queued { message, done }) = task.next() {
        let sent = send(&task.0.nats, message).await;
        // Fails if nobody waits for the result.
        let _ = done.send(sent);
    }
    task.0.drained.notify_waiters();
}

impl Drop for Drain {
    fn drop(&mut self) {
        let mut backlog = self.0.backlog.lock();
        if !backlog.is_empty() {
            *backlog = Backlog::default();
            self.0.is_draining.store(false, Ordering::Release);
        }
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
    if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(command.poll_unpin(cx))).await {
        return Some(done);
    }
    tokio::spawn(command).await.ok()
}

fn closed() -> String {
    PublishError::Closed.to_string()
}

/// The letters of a token: 22 of 62 hold 128 bits.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const TOKEN_LEN: usize = 22;

/// 128 random bits as a token of a subject.
pub(crate) fn random_token() -> String {
    let mut bytes = [0; 16];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // The operating system gives none now. The standard library has asked it before, for the keys of its hash maps.
        let halves = [RandomState::new(), RandomState::new()];
        for (half, state) in bytes.chunks_mut(8).zip(halves) {
            half.copy_from_slice(&state.hash_one(std::time::Instant::now()).to_le_bytes());
        }
    }
    let mut rest = u128::from_le_bytes(bytes);
    let letters = (0..TOKEN_LEN).map(|_| {
        let letter = ALPHABET[(rest % 62) as usize];
        rest /= 62;
        char::from(letter)
    });
    letters.collect()
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
