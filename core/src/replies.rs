//! The replies to the calls of a client: one subscription for all of them.
//!
//! async-nats has this too, in its `request`. That keeps an entry for each request that is never answered, for as long as the
//! connection lives, and takes more work per call.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, ready};

use async_nats::client::{PublishError, PublishErrorKind, RequestError, RequestErrorKind};
use async_nats::{Message, Request, StatusCode, Subject, Subscriber};
use futures::{FutureExt, StreamExt};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::exchange::Outgoing;

/// How many calls may wait for replies on the subscription. async-nats holds 65,536 messages for it, unless it is told
/// otherwise, and drops what comes on top in silence; the other half is for replies that nobody waits for any more.
const MAX_WAITING: usize = 32_768;

/// How many replies are handed over at one look.
const BATCH: usize = 64;

/// A connection, and what the calls on it wait for.
pub(crate) struct Connection {
    pub(crate) nats: async_nats::Client,
    /// What the reply subjects begin with, up to the last dot.
    inbox: String,
    waiting: Arc<Waiting>,
    /// Held while the subscription is made.
    subscribing: tokio::sync::Mutex<()>,
}

/// The calls without a reply.
struct Waiting(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    /// The task that hands over the replies; `None` before the first call, and when the subscription has ended.
    reader: Option<AbortHandle>,
    /// By the last token of their reply subjects.
    senders: HashMap<u64, oneshot::Sender<Message>, BuildHasherDefault<AsItIs>>,
    made: u64,
    secret: RandomState,
}

/// The hash of a token that is a hash already.
#[derive(Default)]
struct AsItIs(u64);

/// The place of one call on the list; dropped, it is free.
pub(crate) struct Ticket {
    connection: Arc<Connection>,
    token: u64,
    reply: oneshot::Receiver<Message>,
    is_answered: bool,
}

/// What is known of a request when it has been sent.
pub(crate) enum Sent {
    /// The reply comes here.
    Waits(Ticket),
    /// It has come.
    Answered(Message),
}

impl Connection {
    pub(crate) fn new(nats: async_nats::Client) -> Arc<Self> {
        let inbox = nats.new_inbox() + ".";
        Arc::new(Self {
            nats,
            inbox,
            waiting: Arc::new(Waiting(Mutex::default())),
            subscribing: tokio::sync::Mutex::default(),
        })
    }

    /// Sends a request. May be given up and done again as long as it is pending: then nothing was sent.
    pub(crate) async fn send(self: &Arc<Self>, request: &Outgoing) -> Result<Sent, RequestError> {
        let (subject, headers, payload) = (
            request.subject.clone(),
            &request.headers,
            request.payload.clone(),
        );
        let ticket = loop {
            match self.enter() {
                Entrance::Open(ticket) => break ticket,
                Entrance::NoReader => self.subscribe().await?,
                Entrance::Full => {
                    let request = Request::new().headers(headers.clone()).payload(payload);
                    let request = self.nats.send_request(subject, request.timeout(None));
                    return request.await.map(Sent::Answered);
                }
            }
        };
        let inbox = self.reply_subject(ticket.token);
        let sent = if headers.is_empty() {
            self.nats.publish_with_reply(subject, inbox, payload).await
        } else {
            self.nats
                .publish_with_reply_and_headers(subject, inbox, headers.clone(), payload)
                .await
        };
        sent.map_err(|error| not_sent(&error))?;
        Ok(Sent::Waits(ticket))
    }

    fn enter(self: &Arc<Self>) -> Entrance {
        let (sender, reply) = oneshot::channel();
        let mut calls = self.waiting.calls();
        if calls.reader.is_none() {
            return Entrance::NoReader;
        }
        if calls.senders.len() >= MAX_WAITING {
            return Entrance::Full;
        }
        calls.made += 1;
        // Nobody who has seen reply subjects of this client can make up another one.
        let token = calls.secret.hash_one(calls.made);
        calls.senders.insert(token, sender);
        drop(calls);
        Entrance::Open(Ticket {
            connection: Arc::clone(self),
            token,
            reply,
            is_answered: false,
        })
    }

    /// Makes the subscription, if there is none.
    async fn subscribe(&self) -> Result<(), RequestError> {
        let _alone = self.subscribing.lock().await;
        if self.waiting.calls().reader.is_some() {
            return Ok(());
        }
        let replies = self
            .nats
            .subscribe(format!("{}*", self.inbox))
            .await
            .map_err(|error| RequestError::with_source(RequestErrorKind::Other, error))?;
        // Under the lock, so that a reader that ends at once cannot say so before it is known.
        let mut calls = self.waiting.calls();
        let reader = tokio::spawn(read(
            replies,
            self.inbox.len(),
            Reader(Arc::clone(&self.waiting)),
        ));
        calls.reader = Some(reader.abort_handle());
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
        if let Some(reader) = self.waiting.calls().reader.take() {
            reader.abort();
        }
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
    Open(Ticket),
    NoReader,
    Full,
}

impl Waiting {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Ticket {
    type Output = Result<Message, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(Pin::new(&mut self.reply).poll(cx));
        self.is_answered = true;
        Poll::Ready(match reply {
            Ok(message) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                Err(RequestError::new(RequestErrorKind::NoResponders))
            }
            Ok(message) => Ok(message),
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
            self.connection.waiting.calls().senders.remove(&self.token);
        }
    }
}

/// The part of the reading task that is there for as long as it is.
struct Reader(Arc<Waiting>);

/// Hands over the replies until the connection is closed. Replies that nobody waits for are dropped.
async fn read(mut replies: Subscriber, prefix: usize, reader: Reader) {
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
            let mut calls = reader.0.calls();
            wanted.extend(arrived.drain(..).filter_map(|reply| {
                let token = u64::from_str_radix(reply.subject.get(prefix..)?, 16).ok()?;
                Some((calls.senders.remove(&token)?, reply))
            }));
        }
        for (sender, reply) in wanted.drain(..) {
            // The call may be gone in this very moment.
            let _ = sender.send(reply);
        }
    }
}

impl Drop for Reader {
    /// The calls that wait learn that nothing will come.
    fn drop(&mut self) {
        let mut calls = self.0.calls();
        calls.reader = None;
        let senders = std::mem::take(&mut calls.senders);
        drop(calls);
        drop(senders);
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
