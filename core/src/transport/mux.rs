//! The request multiplexer: one subscription receives the replies to all requests of a client.
//!
//! async-nats has one too, in its `request`. It keeps an entry for each request that is never answered for as long as the connection
//! lives, and does more work per call.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock};
use std::task::{self, Poll, ready};

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::{Message, StatusCode, Subject, Subscriber};
use futures::{FutureExt, StreamExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use crate::sync::Mutex;
use crate::transport::backlog::Lane;
use crate::transport::events::{Action, Violation, Violations};
use crate::transport::gate::Gate;
use crate::transport::outgoing::{Outgoing, PublishError};
use crate::transport::publishing::Publishing;

/// How many calls may wait for replies on one subscription; further calls use another one. By default async-nats buffers 65,536
/// messages per subscription and silently drops further ones. The other half is for replies to calls that were given up.
const MAX_WAITING: usize = 32_768;

/// How many replies are matched with their calls under one lock.
const MAX_REPLIES_PER_LOCK: usize = 64;

/// With fewer waiting calls than this, a request is sent at once. With more, requests that are made at the same time are sent
/// together: async-nats writes to the socket whenever it finds something to write, which is the largest cost of a call.
const MIN_WAITING_TO_BATCH: usize = 8;
/// How many requests one batch holds; further ones are sent at once.
const MAX_BATCHED: usize = 4_096;
/// The largest request that is batched, headers included; larger ones are sent at once.
const MAX_BATCHED_BYTES: usize = 4_096;

/// Sends requests on one connection and routes each reply to its request.
///
/// The reply subject of a request ends with a token, by which its call is found in the registry. A call is registered before its
/// request is sent, so that no reply arrives too early, and is removed by its reply, by dropping its [`PendingReply`], or by the end of
/// the subscription.
pub(crate) struct Multiplexer {
    pub(crate) gate: Gate,
    /// The start of the reply subjects, the last dot included.
    inbox: String,
    /// Keys the hash that makes tokens from `created`: a client that has seen some reply subjects cannot guess another one.
    secret: RandomState,
    /// How many tokens were created.
    created: AtomicU64,
    registry: Arc<Registry>,
    /// Held while the subscription is created, so that there is only one.
    subscribing: tokio::sync::Mutex<()>,
    /// Takes the calls above [`MAX_WAITING`]; created when first needed.
    next: OnceLock<Arc<Multiplexer>>,
}

/// The waiting calls, shared between the multiplexer and the two tasks of its subscription.
#[derive(Default)]
struct Registry {
    state: Mutex<RegistryState>,
    /// Wakes the task that sends the batch.
    batch_started: Notify,
}

/// Invariants: without a subscription no call waits and no request is batched; every batched request either has its token in
/// `waiting` or was given up.
#[derive(Default)]
struct RegistryState {
    /// The tasks that route replies and send batches; `None` before the first call and after the end of a subscription.
    tasks: Option<[AbortHandle; 2]>,
    /// Counts the subscriptions, so that a late task of an earlier one does not end the current one.
    subscription: u64,
    /// The calls without a reply, by their tokens.
    waiting: HashMap<u64, WaitingCall, BuildHasherDefault<IdentityHasher>>,
    batched: Vec<BatchedRequest>,
}

/// A call without a reply.
struct WaitingCall {
    reply: oneshot::Sender<Result<Message, RequestError>>,
    /// The subject of the request, if violations are told.
    subject: Option<Subject>,
}

/// A request that waits to be sent together with others.
struct BatchedRequest {
    token: u64,
    request: Outgoing,
}

/// Passes a token through: it is a hash already.
#[derive(Default)]
struct IdentityHasher(u64);

/// The reply to come to a registered call. Dropping it removes the call.
pub(crate) struct PendingReply {
    multiplexer: Arc<Multiplexer>,
    token: u64,
    reply: oneshot::Receiver<Result<Message, RequestError>>,
    /// The request, as long as it waits for the connection.
    publishing: Option<Box<Publishing>>,
    is_answered: bool,
}

impl Multiplexer {
    pub(crate) fn new(gate: Gate) -> Arc<Self> {
        let inbox = gate.new_inbox() + ".";
        Arc::new(Self {
            gate,
            inbox,
            secret: RandomState::new(),
            created: AtomicU64::new(0),
            registry: Arc::default(),
            subscribing: tokio::sync::Mutex::default(),
            next: OnceLock::new(),
        })
    }

    /// Sends a request, and returns the reply to come. Cancel safe: as long as this future is pending, nothing was sent, and
    /// `request` is unchanged.
    pub(crate) async fn send(
        self: &Arc<Self>,
        request: &mut Outgoing,
    ) -> Result<PendingReply, RequestError> {
        let mut multiplexer = self;
        let (mut reply, inbox) = loop {
            match multiplexer.register(request) {
                Admission::Batched(reply) => return Ok(reply),
                Admission::SendNow(reply, inbox) => break (reply, inbox),
                Admission::NotSubscribed => multiplexer.subscribe().await?,
                Admission::Full => multiplexer = multiplexer.next(),
            }
        };
        let request = request.clone().with_reply(inbox);
        let publishing = self.gate.publish(Lane::Reply, request);
        match publishing.result() {
            Some(sent) => sent.map_err(not_sent)?,
            None => reply.publishing = Some(Box::new(publishing)),
        }
        Ok(reply)
    }

    fn next(&self) -> &Arc<Self> {
        self.next.get_or_init(|| Self::new(self.gate.clone()))
    }

    /// Sends a request and waits for the reply. Has no timeout; the caller sets one.
    pub(crate) async fn request(
        self: &Arc<Self>,
        mut request: Outgoing,
    ) -> Result<Message, RequestError> {
        self.send(&mut request).await?.await
    }

    /// Registers a call. If its request is batched, headers and payload are taken out of `request`.
    fn register(self: &Arc<Self>, request: &mut Outgoing) -> Admission {
        let token = self
            .secret
            .hash_one(self.created.fetch_add(1, Ordering::Relaxed));
        let inbox = self.reply_subject(token);
        let (reply_sender, reply) = oneshot::channel();
        let is_small = request.size() <= MAX_BATCHED_BYTES.min(self.gate.max_payload());
        let mut state = self.registry.state();
        if state.tasks.is_none() {
            return Admission::NotSubscribed;
        }
        if state.waiting.len() >= MAX_WAITING {
            return Admission::Full;
        }
        let is_batched = is_small
            && state.waiting.len() >= MIN_WAITING_TO_BATCH
            && state.batched.len() < MAX_BATCHED;
        let subject = self.gate.has_events().then(|| request.subject().clone());
        let call = WaitingCall {
            reply: reply_sender,
            subject,
        };
        state.waiting.insert(token, call);
        let reply = PendingReply {
            multiplexer: Arc::clone(self),
            token,
            reply,
            publishing: None,
            is_answered: false,
        };
        if !is_batched {
            return Admission::SendNow(reply, inbox);
        }
        state.batched.push(BatchedRequest {
            token,
            request: request.take().with_reply(inbox),
        });
        let is_first = state.batched.len() == 1;
        drop(state);
        if is_first {
            self.registry.batch_started.notify_one();
        }
        Admission::Batched(reply)
    }

    /// Creates the subscription and its tasks, if there are none.
    async fn subscribe(&self) -> Result<(), RequestError> {
        let _only_one = self.subscribing.lock().await;
        if self.registry.state().tasks.is_some() {
            return Ok(());
        }
        let violations = self.gate.violations();
        let inbox = format!("{}*", self.inbox);
        let replies = self
            .gate
            .subscribe(inbox.clone())
            .await
            .map_err(|error| RequestError::with_source(RequestErrorKind::Other, error))?;
        // Spawned under the lock: a task that ends at once finds itself in the registry.
        let mut state = self.registry.state();
        state.subscription += 1;
        let subscription = state.subscription;
        let task = || SubscriptionTask {
            registry: Arc::clone(&self.registry),
            subscription,
        };
        let reading = tokio::spawn(route_replies(replies, inbox, violations, task()));
        let sending = tokio::spawn(send_batched(self.gate.clone(), task()));
        state.tasks = Some([reading.abort_handle(), sending.abort_handle()]);
        Ok(())
    }

    fn reply_subject(&self, token: u64) -> Subject {
        let mut subject = String::with_capacity(self.inbox.len() + 16);
        subject.push_str(&self.inbox);
        for digit in (0..16).rev() {
            let digit = (token >> (digit * 4)) & 0xf;
            subject.push(char::from(b"0123456789abcdef"[digit as usize]));
        }
        Subject::from(subject)
    }
}

impl Drop for Multiplexer {
    fn drop(&mut self) {
        let subscription = self.registry.state().subscription;
        self.registry.end(subscription);
    }
}

/// The permissions violation because of which a request failed, if there was one.
pub(crate) fn violation(error: &RequestError) -> Option<&Violation> {
    error.source()?.downcast_ref()
}

fn not_sent(error: PublishError) -> RequestError {
    let kind = match error {
        PublishError::TooLarge => RequestErrorKind::MaxPayloadExceeded,
        PublishError::InvalidSubject => RequestErrorKind::InvalidSubject,
        PublishError::Refused | PublishError::Closed => RequestErrorKind::Other,
    };
    RequestError::with_source(kind, error)
}

/// The result of registering a call.
enum Admission {
    /// The caller sends the request, with this reply subject.
    SendNow(PendingReply, Subject),
    /// The request is sent in the next batch.
    Batched(PendingReply),
    /// Not registered: there is no subscription yet.
    NotSubscribed,
    /// Not registered: [`MAX_WAITING`] calls wait already.
    Full,
}

impl Registry {
    fn state(&self) -> MutexGuard<'_, RegistryState> {
        self.state.lock()
    }

    /// Ends both tasks of a subscription. The waiting calls fail with "the connection is closed".
    fn end(&self, subscription: u64) {
        let mut state = self.state();
        if state.subscription != subscription {
            return;
        }
        let tasks = state.tasks.take();
        let waiting = std::mem::take(&mut state.waiting);
        state.batched.clear();
        drop(state);
        for task in tasks.into_iter().flatten() {
            task.abort();
        }
        // After the lock is released: dropping the senders wakes the calls.
        drop(waiting);
    }

    /// Fails the calls for which `is_refused` is true.
    fn refuse(&self, violation: &Violation, is_refused: impl Fn(&WaitingCall) -> bool) {
        let mut state = self.state();
        let refused: Vec<_> = state
            .waiting
            .extract_if(|_, call| is_refused(call))
            .collect();
        drop(state);
        for (_, call) in refused {
            let error = RequestError::with_source(RequestErrorKind::Other, violation.clone());
            // Fails if the call was given up.
            let _ = call.reply.send(Err(error));
        }
    }
}

impl Future for PendingReply {
    type Output = Result<Message, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        if let Some(publishing) = &mut self.publishing
            && let Poll::Ready(sent) = Pin::new(publishing).poll(cx)
        {
            self.publishing = None;
            if let Err(error) = sent {
                return Poll::Ready(Err(not_sent(error)));
            }
        }
        let reply = ready!(Pin::new(&mut self.reply).poll(cx));
        self.is_answered = true;
        Poll::Ready(match reply {
            Ok(Ok(message)) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                Err(RequestError::new(RequestErrorKind::NoResponders))
            }
            Ok(reply) => reply,
            Err(_) => Err(RequestError::with_source(
                RequestErrorKind::Other,
                "the connection is closed",
            )),
        })
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if !self.is_answered {
            self.multiplexer
                .registry
                .state()
                .waiting
                .remove(&self.token);
        }
    }
}

/// Owned by each of the two tasks of a subscription: when one ends, so does the other.
struct SubscriptionTask {
    registry: Arc<Registry>,
    subscription: u64,
}

impl Drop for SubscriptionTask {
    fn drop(&mut self) {
        self.registry.end(self.subscription);
    }
}

/// Routes replies to their calls until the connection is closed, or NATS refuses the subscription to `inbox`. A reply to a call that was
/// given up is dropped.
async fn route_replies(
    mut replies: Subscriber,
    inbox: String,
    mut violations: Violations,
    task: SubscriptionTask,
) {
    let prefix = inbox.len() - "*".len();
    let mut arrived = Vec::with_capacity(MAX_REPLIES_PER_LOCK);
    let mut wanted = Vec::with_capacity(MAX_REPLIES_PER_LOCK);
    loop {
        tokio::select! {
            biased;
            violation = violations.next() => {
                if is_refused(&task.registry, &violation, &inbox) {
                    return;
                }
                continue;
            }
            reply = replies.next() => match reply {
                Some(reply) => arrived.push(reply),
                None => return,
            },
        }
        while arrived.len() < MAX_REPLIES_PER_LOCK
            && let Some(Some(reply)) = replies.next().now_or_never()
        {
            arrived.push(reply);
        }
        {
            let mut state = task.registry.state();
            wanted.extend(arrived.drain(..).filter_map(|reply| {
                let token = u64::from_str_radix(reply.subject.get(prefix..)?, 16).ok()?;
                Some((state.waiting.remove(&token)?, reply))
            }));
        }
        for (call, reply) in wanted.drain(..) {
            // Fails if the call was given up since it was looked up.
            let _ = call.reply.send(Ok(reply));
        }
    }
}

/// Fails the calls that a violation concerns; whether it is that of the subscription to `inbox`. The next call then subscribes anew.
fn is_refused(registry: &Registry, violation: &Violation, inbox: &str) -> bool {
    match violation.action {
        Action::Publish => {
            let concerns = |subject: &Subject| violation.is_publish_to(subject);
            registry.refuse(violation, |call| {
                call.subject.as_ref().is_some_and(concerns)
            });
            false
        }
        Action::Subscribe if *violation.subject == *inbox => {
            registry.refuse(violation, |_| true);
            true
        }
        Action::Subscribe => false,
    }
}

/// Sends the batches, each with all requests that have gathered.
async fn send_batched(gate: Gate, task: SubscriptionTask) {
    let mut requests = Vec::new();
    loop {
        task.registry.batch_started.notified().await;
        // Lets all tasks that are ready run first: callers that got their replies together make their next requests together.
        tokio::task::yield_now().await;
        std::mem::swap(&mut requests, &mut task.registry.state().batched);
        for batched in requests.drain(..) {
            // A call that was given up is not sent: its caller may have sent something since that this must not follow.
            if !task.registry.state().waiting.contains_key(&batched.token) {
                continue;
            }
            if let Err(error) = gate.publish(Lane::Reply, batched.request).await
                && let Some(call) = task.registry.state().waiting.remove(&batched.token)
            {
                let _ = call.reply.send(Err(not_sent(error)));
            }
        }
    }
}

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, token: u64) {
        self.0 = token;
    }
}

impl fmt::Debug for Multiplexer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multiplexer").finish_non_exhaustive()
    }
}
