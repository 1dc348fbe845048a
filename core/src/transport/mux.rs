//! The replies to the calls of a client: one subscription for all of them.
//!
//! async-nats has this too, in its `request`. That keeps an entry for each request that is never answered, for as long as the
//! connection lives, and takes more work per call.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock};
use std::task::{self, Poll, ready};

use async_nats::client::{PublishError, PublishErrorKind, RequestError, RequestErrorKind};
use async_nats::{HeaderMap, Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use crate::sync::Mutex;
use crate::transport::headers::headers_len;

/// How many calls may wait for replies on one subscription; the others use the next one. async-nats holds 65,536 messages for it,
/// unless it is told otherwise, and drops what comes on top in silence; the other half is for replies that nobody waits for any
/// more.
const MAX_WAITING: usize = 32_768;

/// How many replies are handed over at one look.
const BATCH: usize = 64;

/// With fewer calls than this on their way, a request is sent at once. With more, those that are made at the same time are sent
/// together: async-nats writes to the socket whenever it finds something to write, and that is what a call costs most.
const FEW: usize = 8;
/// How many requests are held for that, and of which size, headers included. What comes on top is sent at once.
const MAX_HELD: usize = 4_096;
const MAX_HELD_BYTES: usize = 4_096;

/// What is sent.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: Subject,
    pub(crate) payload: Bytes,
    pub(crate) headers: HeaderMap,
}

impl Outgoing {
    /// How many bytes it has for the server.
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + headers_len(&self.headers)
    }
}

/// A connection, and what the calls on it wait for.
pub(crate) struct Connection {
    pub(crate) nats: async_nats::Client,
    /// What the reply subjects begin with, up to the last dot.
    inbox: String,
    secret: RandomState,
    made: AtomicU64,
    shared: Arc<Shared>,
    /// Held while the subscription is made.
    subscribing: tokio::sync::Mutex<()>,
    /// For the calls that this one has no place for.
    next: OnceLock<Arc<Connection>>,
}

/// What the tasks of a connection share with its calls.
#[derive(Default)]
struct Shared {
    calls: Mutex<Calls>,
    /// Something is held that should be sent.
    held: Notify,
}

#[derive(Default)]
struct Calls {
    /// The tasks that hand over the replies and send what is held; none before the first call, and when the subscription has
    /// ended.
    tasks: Option<[AbortHandle; 2]>,
    /// How many there were: a task of an earlier one may end late.
    subscription: u64,
    /// The calls without a reply, by the last token of their reply subjects.
    waiting: HashMap<u64, ReplySender, BuildHasherDefault<AsItIs>>,
    held: Vec<Held>,
}

type ReplySender = oneshot::Sender<Result<Message, RequestError>>;

/// A request that is sent together with others.
struct Held {
    token: u64,
    inbox: Subject,
    request: Outgoing,
}

/// The hash of a token that is a hash already.
#[derive(Default)]
struct AsItIs(u64);

/// The place of one call on the list; dropped, it is free.
pub(crate) struct Ticket {
    connection: Arc<Connection>,
    token: u64,
    reply: oneshot::Receiver<Result<Message, RequestError>>,
    is_answered: bool,
}

impl Connection {
    pub(crate) fn new(nats: async_nats::Client) -> Arc<Self> {
        let inbox = nats.new_inbox() + ".";
        Arc::new(Self {
            nats,
            inbox,
            secret: RandomState::new(),
            made: AtomicU64::new(0),
            shared: Arc::default(),
            subscribing: tokio::sync::Mutex::default(),
            next: OnceLock::new(),
        })
    }

    /// Sends a request; the reply comes to the ticket. May be given up and done again as long as it is pending: then nothing
    /// was sent.
    pub(crate) async fn send(
        self: &Arc<Self>,
        request: &mut Outgoing,
    ) -> Result<Ticket, RequestError> {
        let mut connection = self;
        let (ticket, inbox) = loop {
            match connection.enter(request) {
                Entrance::Held(ticket) => return Ok(ticket),
                Entrance::Open(ticket, inbox) => break (ticket, inbox),
                Entrance::Closed => connection.subscribe().await?,
                Entrance::Full => connection = connection.next(),
            }
        };
        let sent = publish(&self.nats, inbox, request.clone()).await;
        sent.map_err(|error| not_sent(&error))?;
        Ok(ticket)
    }

    fn next(&self) -> &Arc<Self> {
        self.next.get_or_init(|| Self::new(self.nats.clone()))
    }

    /// Sends a request, and waits for the reply without end.
    pub(crate) async fn request(
        self: &Arc<Self>,
        mut request: Outgoing,
    ) -> Result<Message, RequestError> {
        self.send(&mut request).await?.await
    }

    /// Puts a call on the list. One that is held leaves headers and payload there.
    fn enter(self: &Arc<Self>, request: &mut Outgoing) -> Entrance {
        // Nobody who has seen reply subjects of this client can make up another one.
        let token = self
            .secret
            .hash_one(self.made.fetch_add(1, Ordering::Relaxed));
        let inbox = self.reply_subject(token);
        let (sender, reply) = oneshot::channel();
        let may_be_held = request.size() <= MAX_HELD_BYTES.min(self.nats.max_payload());
        let mut calls = self.shared.calls();
        if calls.tasks.is_none() {
            return Entrance::Closed;
        }
        if calls.waiting.len() >= MAX_WAITING {
            return Entrance::Full;
        }
        let is_held = may_be_held && calls.waiting.len() >= FEW && calls.held.len() < MAX_HELD;
        calls.waiting.insert(token, sender);
        let ticket = Ticket {
            connection: Arc::clone(self),
            token,
            reply,
            is_answered: false,
        };
        if !is_held {
            return Entrance::Open(ticket, inbox);
        }
        calls.held.push(Held {
            token,
            inbox,
            request: Outgoing {
                subject: request.subject.clone(),
                headers: std::mem::take(&mut request.headers),
                payload: std::mem::take(&mut request.payload),
            },
        });
        let is_first = calls.held.len() == 1;
        drop(calls);
        if is_first {
            self.shared.held.notify_one();
        }
        Entrance::Held(ticket)
    }

    /// Makes the subscription, if there is none.
    async fn subscribe(&self) -> Result<(), RequestError> {
        let _alone = self.subscribing.lock().await;
        if self.shared.calls().tasks.is_some() {
            return Ok(());
        }
        let replies = self
            .nats
            .subscribe(format!("{}*", self.inbox))
            .await
            .map_err(|error| RequestError::with_source(RequestErrorKind::Other, error))?;
        // Under the lock, so that a task that ends at once cannot say so before it is known.
        let mut calls = self.shared.calls();
        calls.subscription += 1;
        let task = || Task(Arc::clone(&self.shared), calls.subscription);
        let reading = tokio::spawn(read(replies, self.inbox.len(), task()));
        let sending = tokio::spawn(send_held(self.nats.clone(), task()));
        calls.tasks = Some([reading.abort_handle(), sending.abort_handle()]);
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

impl Drop for Connection {
    fn drop(&mut self) {
        let subscription = self.shared.calls().subscription;
        self.shared.end(subscription);
    }
}

async fn publish(
    nats: &async_nats::Client,
    inbox: Subject,
    request: Outgoing,
) -> Result<(), PublishError> {
    let Outgoing {
        subject,
        headers,
        payload,
    } = request;
    if headers.is_empty() {
        nats.publish_with_reply(subject, inbox, payload).await
    } else {
        nats.publish_with_reply_and_headers(subject, inbox, headers, payload)
            .await
    }
}

fn not_sent(error: &PublishError) -> RequestError {
    let kind = match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => RequestErrorKind::MaxPayloadExceeded,
        PublishErrorKind::InvalidSubject => RequestErrorKind::InvalidSubject,
        PublishErrorKind::Send => RequestErrorKind::Other,
    };
    match error.source() {
        Some(source) => RequestError::with_source(kind, source.to_string()),
        None => RequestError::new(kind),
    }
}

enum Entrance {
    /// The request is to be sent with this reply subject.
    Open(Ticket, Subject),
    /// The request is sent with others.
    Held(Ticket),
    /// There is no subscription.
    Closed,
    /// As many calls wait as may.
    Full,
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock()
    }

    /// Ends both tasks of a subscription. The calls that wait learn that nothing will come.
    fn end(&self, subscription: u64) {
        let mut calls = self.calls();
        if calls.subscription != subscription {
            return;
        }
        let tasks = calls.tasks.take();
        let waiting = std::mem::take(&mut calls.waiting);
        calls.held.clear();
        drop(calls);
        for task in tasks.into_iter().flatten() {
            task.abort();
        }
        drop(waiting);
    }
}

impl Future for Ticket {
    type Output = Result<Message, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
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

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_answered {
            self.connection.shared.calls().waiting.remove(&self.token);
        }
    }
}

/// The part of a task that is there for as long as the task is. They end together.
struct Task(Arc<Shared>, u64);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

/// Hands over the replies until the connection is closed. Replies that nobody waits for are dropped.
async fn read(mut replies: Subscriber, prefix: usize, task: Task) {
    let mut arrived = Vec::with_capacity(BATCH);
    let mut wanted = Vec::with_capacity(BATCH);
    while let Some(reply) = replies.next().await {
        arrived.push(reply);
        while arrived.len() < BATCH
            && let Some(Some(reply)) = replies.next().now_or_never()
        {
            arrived.push(reply);
        }
        {
            let mut calls = task.0.calls();
            wanted.extend(arrived.drain(..).filter_map(|reply| {
                let token = u64::from_str_radix(reply.subject.get(prefix..)?, 16).ok()?;
                Some((calls.waiting.remove(&token)?, reply))
            }));
        }
        for (sender, reply) in wanted.drain(..) {
            // The call may be gone in this very moment.
            let _ = sender.send(Ok(reply));
        }
    }
}

/// Sends the requests that are held, all that there are at a time.
async fn send_held(nats: async_nats::Client, task: Task) {
    let mut requests = Vec::new();
    loop {
        task.0.held.notified().await;
        // Until everything that is ready to run has run: the calls that got their replies together make the next ones.
        tokio::task::yield_now().await;
        std::mem::swap(&mut requests, &mut task.0.calls().held);
        for held in requests.drain(..) {
            // Whoever has given up may have sent something else since, which this must not follow.
            if !task.0.calls().waiting.contains_key(&held.token) {
                continue;
            }
            if let Err(error) = publish(&nats, held.inbox, held.request).await
                && let Some(call) = task.0.calls().waiting.remove(&held.token)
            {
                let _ = call.send(Err(not_sent(&error)));
            }
        }
    }
}

impl Hasher for AsItIs {
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

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
