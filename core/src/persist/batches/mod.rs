//! Plain puts in batches that the server acknowledges as a whole: the fast ingest of nats-server 2.14.
//!
//! The reply subject of a message says which batch it belongs to, and its place there. The server stores it if it is the next
//! one. Otherwise it ends the batch, says how many of its messages are stored, and takes no more of them. So what a lost
//! connection leaves open can be asked for; and once the server has answered, nothing more of it can come in.

pub(crate) mod wire;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::PublishError;
use async_nats::connection::State;
use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::{Client, HeaderMap, Message, Subject, SubscribeError, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::persist::batches::wire::{Answer, Step};
use crate::persist::queue::WriteStart;
use crate::transport::connection::connection_epoch;

/// How many batches are open at once.
const MAX_OPEN: usize = 4;
/// How many writes are sent as a batch while another one is open. What arrives meanwhile makes the next one, so that batches grow
/// with the load: a batch of few writes costs the server more than these writes do alone.
const MIN_FOLLOW_UP: usize = 128;
/// The largest batch, in writes and in bytes of their values.
const MAX_WRITES: usize = 256;
const MAX_BYTES: usize = 1024 * 1024;

/// How long an acknowledgement may take before the server is asked how many writes it has stored.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a batch may be open. After that, the store is asked for each of its writes.
const BATCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How often open batches are checked for these two limits.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The batches of one bucket.
pub(crate) struct Batches {
    nats: Client,
    /// What the subjects of the bucket begin with, up to the last dot.
    prefix: String,
    replies: Subscriber,
    /// What the reply subjects begin with, up to the number of the batch. The last token up to there is the id of the batch,
    /// and no other client may have the same for this bucket.
    inbox: String,
    made: u64,
    open: Vec<Batch>,
    /// The messages of the newest batch that could not be queued at once, since the connection is down or slower than the
    /// service.
    unsent: VecDeque<Outgoing>,
    check: Interval,
    /// The server has answered at least once, so that this account can receive answers.
    has_answers: bool,
    is_disabled: bool,
}

/// A message of a batch.
struct Outgoing {
    subject: Subject,
    reply: Subject,
    value: Bytes,
}

/// A value that may be written with others.
pub(crate) struct Put {
    pub(crate) key: Arc<str>,
    pub(crate) value: Bytes,
    pub(crate) deadline: Instant,
}

struct Batch {
    number: u64,
    keys: Vec<Arc<str>>,
    start: WriteStart,
    /// The connection on which the batch was sent, or asked for last.
    connection: u64,
    /// When the server is asked how many of the writes are stored.
    ask: Instant,
    /// When the batch ends without an answer.
    give_up: Instant,
}

/// A batch that is over.
pub(crate) struct Ended {
    pub(crate) keys: Vec<Arc<str>>,
    pub(crate) start: WriteStart,
    /// How many of the writes, from the first one on, are stored; the others are not. `None`: each may be or not.
    pub(crate) stored: Option<usize>,
    /// That of the last one that is, if the server has told.
    pub(crate) revision: Option<u64>,
}

/// How many writes of a batch are stored?
struct Question {
    subject: Subject,
    reply: Subject,
    headers: HeaderMap,
}

impl Batches {
    pub(crate) async fn open(nats: Client, prefix: &str) -> Result<Self, SubscribeError> {
        let inbox = nats.new_inbox();
        let replies = nats.subscribe(format!("{inbox}.>")).await?;
        let id = inbox.rsplit('.').next().unwrap_or_default();
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            nats,
            prefix: prefix.to_owned(),
            replies,
            inbox: format!("{inbox}.{id}-"),
            made: 0,
            open: Vec::new(),
            unsent: VecDeque::new(),
            check,
            has_answers: false,
            is_disabled: false,
        })
    }

    /// Whether a value like this may be written with others.
    pub(crate) fn take(&self, value: &Bytes) -> bool {
        !self.is_disabled && value.len() <= self.nats.max_payload().min(MAX_BYTES)
    }

    /// Whether a batch may be sent now, if so many writes wait for it.
    pub(crate) fn have_room(&self, waiting: usize) -> bool {
        match self.open.len() {
            0 => waiting > 0,
            open => waiting >= MIN_FOLLOW_UP && open < MAX_OPEN && self.unsent.is_empty(),
        }
    }

    /// Takes the writes for one batch off the front of the list, and sends them; what cannot be sent now goes when
    /// [`ended`](Self::ended) is waited for.
    pub(crate) fn send(&mut self, puts: &mut VecDeque<Put>, start: WriteStart) {
        let mut bytes = 0;
        let fit = puts.iter().take(MAX_WRITES).take_while(|put| {
            bytes += put.value.len();
            bytes <= MAX_BYTES
        });
        let count = fit.count();
        let (now, number) = (Instant::now(), self.made);
        // One that is out of time already does not hurry the others.
        let left = |put: &Put| put.deadline.checked_duration_since(now);
        let time = puts.iter().take(count).filter_map(left).min();
        let time = time.unwrap_or(CHECK_INTERVAL).max(CHECK_INTERVAL);
        let mut keys = Vec::with_capacity(count);
        for (at, put) in puts.drain(..count).enumerate() {
            let step = match at + 1 {
                last if last == count => Step::AddLast,
                1 => Step::Begin,
                _ => Step::Add,
            };
            self.unsent.push_back(Outgoing {
                subject: self.subject(&put.key),
                reply: wire::reply_subject(&self.inbox, number, at + 1, step),
                value: put.value,
            });
            keys.push(put.key);
        }
        self.made += 1;
        self.open.push(Batch {
            number,
            keys,
            start,
            connection: connection_epoch(&self.nats),
            ask: now + ACK_TIMEOUT.min(time / 2),
            give_up: now + BATCH_TIMEOUT.min(time),
        });
        while let Some(Some(sent)) = self
            .unsent
            .front()
            .map(|message| tokio::task::unconstrained(publish(&self.nats, message)).now_or_never())
        {
            self.sent(sent);
        }
    }

    /// Goes on with the next message, or gives up the batch: the connection is closed, or the server has changed its limits.
    fn sent(&mut self, sent: Result<(), PublishError>) {
        self.unsent.pop_front();
        if let Err(error) = sent {
            tracing::debug!(%error, "a batch was not sent as a whole");
            self.unsent.clear();
            if let Some(newest) = self.open.last_mut() {
                newest.ask = Instant::now();
            }
        }
    }

    fn subject(&self, key: &str) -> Subject {
        Subject::from([self.prefix.as_str(), key].concat())
    }

    /// The next batch that is over. May be given up and called again.
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            if self.open.is_empty() {
                std::future::pending::<()>().await;
            }
            let ended = tokio::select! {
                reply = self.replies.next() => match reply {
                    Some(reply) => self.understand(&reply),
                    // The connection is closed for good.
                    None => Some(self.end(0, None)),
                },
                sent = publish_front(&self.nats, &self.unsent) => {
                    self.sent(sent);
                    None
                }
                now = self.check.tick() => self.check_open(now),
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    fn end(&mut self, at: usize, stored: Option<usize>) -> Ended {
        let Batch { keys, start, .. } = self.open.remove(at);
        if at == self.open.len() {
            // It was the newest one.
            self.unsent.clear();
        }
        Ended {
            keys,
            start,
            stored,
            revision: None,
        }
    }

    /// What a reply says of a batch, if that is its end.
    fn understand(&mut self, reply: &Message) -> Option<Ended> {
        let (number, place) = wire::place_of(reply.subject.strip_prefix(&*self.inbox)?)?;
        let at = self.open.iter().position(|batch| batch.number == number)?;
        self.has_answers = true;
        let count = self.open[at].keys.len();
        let answer = Answer::of(reply);
        if matches!(answer, Answer::NoBatches) {
            self.disable("it does not allow them any more");
        }
        let stored = match answer {
            Answer::GoesOn => return None,
            Answer::Ended { stored, revision } => {
                let ended = self.end(at, Some(stored.min(count)));
                return Some(Ended { revision, ..ended });
            }
            Answer::Refused | Answer::NoBatches if place == 1 => Some(0),
            Answer::Refused | Answer::NoBatches if place <= count => {
                // How many of those ahead of it are stored, it does not say: they may never have arrived.
                self.ask(at, Instant::now());
                return None;
            }
            Answer::Refused | Answer::NoBatches | Answer::Unknown => None,
        };
        Some(self.end(at, stored))
    }

    fn disable(&mut self, reason: &str) {
        if !self.is_disabled {
            tracing::warn!(
                subjects = self.prefix,
                reason,
                "the bucket takes no batches: from now on it is written to one by one"
            );
            self.is_disabled = true;
        }
    }

    /// Asks for batches of which nothing has been heard, and gives up those that are out of time.
    fn check_open(&mut self, now: Instant) -> Option<Ended> {
        let connection = connection_epoch(&self.nats);
        if let Some(at) = self.open.iter().position(|batch| batch.give_up <= now) {
            let is_connected = self.nats.connection_state() == State::Connected;
            if !self.has_answers && is_connected && self.open[at].connection == connection {
                self.disable(
                    "no answer to one arrives; may this account not subscribe to its inbox?",
                );
            }
            return Some(self.end(at, None));
        }
        for at in 0..self.open.len() {
            if self.open[at].ask <= now || self.open[at].connection != connection {
                self.ask(at, now);
            }
        }
        None
    }

    /// Asks how many writes of a batch are stored, and so ends it.
    fn ask(&mut self, at: usize, now: Instant) {
        let connection = connection_epoch(&self.nats);
        let batch = &self.open[at];
        let first = batch.keys.first().map_or("-", |key| key);
        let question = self.question(batch.number, first, batch.keys.len());
        let asked = self.nats.publish_with_reply_and_headers(
            question.subject,
            question.reply,
            question.headers,
            Bytes::new(),
        );
        // What cannot be queued at once is asked at the next check.
        if let Some(Ok(())) = tokio::task::unconstrained(asked).now_or_never() {
            let batch = &mut self.open[at];
            batch.ask = now + ACK_TIMEOUT;
            batch.connection = connection;
        }
    }

    /// The message behind the last one of a batch: it ends the batch, wherever the server is, and is not stored.
    fn question(&self, batch: u64, key: &str, count: usize) -> Question {
        let mut headers = HeaderMap::new();
        // For a server that knows no batches, after a downgrade: there it would be a value.
        headers.insert(NATS_EXPECTED_STREAM, "-");
        Question {
            subject: self.subject(key),
            reply: wire::reply_subject(&self.inbox, batch, count + 1, Step::End),
            headers,
        }
    }
}

async fn publish(nats: &Client, message: &Outgoing) -> Result<(), PublishError> {
    let Outgoing {
        subject,
        reply,
        value,
    } = message;
    nats.publish_with_reply(subject.clone(), reply.clone(), value.clone())
        .await
}

async fn publish_front(nats: &Client, unsent: &VecDeque<Outgoing>) -> Result<(), PublishError> {
    match unsent.front() {
        Some(message) => publish(nats, message).await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches")
            .field("prefix", &self.prefix)
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
