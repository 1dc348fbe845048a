//! Plain puts in batches that the server acknowledges as a whole: the fast ingest of nats-server 2.14.
//!
//! The reply subject of a message says which batch it belongs to, and its place there. The server stores it if it is the next
//! one. Otherwise it ends the batch, says how many of its messages are stored, and takes no more of them: what a lost connection
//! leaves open can be asked for, and cannot come in later.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use async_nats::client::PublishError;
use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::{Client, HeaderMap, Message, StatusCode, Subject, SubscribeError, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// How many batches are on their way at once, and how many writes are worth a batch while there is one. What arrives meanwhile
/// makes the next one, so that batches grow with the load: one of few writes costs the server more than they do alone.
const MAX_OPEN: usize = 4;
const ENOUGH: usize = 128;
/// How many writes make a batch, and about how many bytes.
const MAX_WRITES: usize = 256;
const MAX_BYTES: usize = 1024 * 1024;

/// How long an acknowledgement may take before the server is asked how many writes it has stored.
const PATIENCE: Duration = Duration::from_secs(2);
/// When the store is asked for each of the writes instead.
const GIVE_UP: Duration = Duration::from_secs(5);
/// How often it is looked for that.
const LOOK: Duration = Duration::from_millis(250);

/// What the server says of a bucket that takes no batches, and of a batch that it does not know, or no more.
const NO_BATCHES: u64 = 10_205;
const UNKNOWN_BATCH: u64 = 10_208;

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
    look: Interval,
    is_disabled: bool,
}

/// A value that may be written with others.
pub(super) struct Put {
    pub(super) key: Arc<str>,
    pub(super) value: Bytes,
    pub(super) deadline: Instant,
}

struct Batch {
    number: u64,
    keys: Vec<Arc<str>>,
    begun: SystemTime,
    /// How often the client had connected when the batch was sent.
    connects: u64,
    ask: Instant,
    give_up: Instant,
}

/// A batch that is over.
pub(super) struct Ended {
    pub(super) keys: Vec<Arc<str>>,
    pub(super) begun: SystemTime,
    /// How many of the writes, from the first one on, are stored; the others are not. `None`: each may be or not.
    pub(super) stored: Option<usize>,
}

/// What a message does.
#[derive(Clone, Copy)]
enum Step {
    Begin = 0,
    Add = 1,
    AddLast = 2,
    /// Ends the batch, and is not stored.
    End = 3,
}

/// How many writes of a batch are stored?
struct Question {
    subject: Subject,
    reply: Subject,
    headers: HeaderMap,
}

/// What matters here of what the server sends.
#[derive(Deserialize)]
struct Reply {
    /// In the message that ends a batch.
    count: Option<usize>,
    /// In one that refuses a message.
    error: Option<Refusal>,
    /// In what is said of a batch that goes on, or is about to be ended.
    #[serde(rename = "type")]
    interim: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Refusal {
    err_code: u64,
}

impl Batches {
    pub(super) async fn open(nats: Client, prefix: &str) -> Result<Self, SubscribeError> {
        let inbox = nats.new_inbox();
        let replies = nats.subscribe(format!("{inbox}.>")).await?;
        let id = inbox.rsplit('.').next().unwrap_or_default();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            nats,
            prefix: prefix.to_owned(),
            replies,
            inbox: format!("{inbox}.{id}-"),
            made: 0,
            open: Vec::new(),
            look,
            is_disabled: false,
        })
    }

    /// Whether a value like this may be written with others.
    pub(super) fn take(&self, value: &Bytes) -> bool {
        !self.is_disabled && value.len() <= self.nats.max_payload().min(MAX_BYTES)
    }

    /// Whether a batch may be sent now, if so many writes wait for it.
    pub(super) fn have_room(&self, waiting: usize) -> bool {
        match self.open.len() {
            0 => waiting > 0,
            open => waiting >= ENOUGH && open < MAX_OPEN,
        }
    }

    /// Takes the writes for one batch off the front of the list, and sends them.
    pub(super) async fn send(&mut self, puts: &mut VecDeque<Put>) {
        let mut bytes = 0;
        let fit = puts.iter().take(MAX_WRITES).take_while(|put| {
            bytes += put.value.len();
            bytes <= MAX_BYTES
        });
        let count = fit.count();
        let puts: Vec<Put> = puts.drain(..count).collect();
        let now = Instant::now();
        let left = |put: &Put| put.deadline.saturating_duration_since(now);
        let time = puts.iter().map(left).min();
        let time = time.unwrap_or(GIVE_UP);
        let mut batch = Batch {
            number: self.made,
            keys: puts.iter().map(|put| Arc::clone(&put.key)).collect(),
            begun: SystemTime::now(),
            connects: self.connects(),
            ask: now + PATIENCE.min(time / 2),
            give_up: now + GIVE_UP.min(time),
        };
        self.made += 1;
        // It waits only where the connection is down, or much slower than the service.
        let published =
            tokio::time::timeout_at(batch.give_up, self.publish(batch.number, puts)).await;
        if !matches!(published, Ok(Ok(()))) {
            tracing::debug!(?published, "a batch was not sent as a whole");
            batch.ask = now;
        }
        self.open.push(batch);
    }

    async fn publish(&self, number: u64, puts: Vec<Put>) -> Result<(), PublishError> {
        let count = puts.len();
        for (at, put) in puts.into_iter().enumerate() {
            let step = match at + 1 {
                last if last == count => Step::AddLast,
                1 => Step::Begin,
                _ => Step::Add,
            };
            let reply = self.reply_subject(number, at + 1, step);
            self.nats
                .publish_with_reply(self.subject(&put.key), reply, put.value)
                .await?;
        }
        Ok(())
    }

    fn subject(&self, key: &str) -> Subject {
        Subject::from([self.prefix.as_str(), key].concat())
    }

    fn reply_subject(&self, batch: u64, place: usize, step: Step) -> Subject {
        let (inbox, step) = (&self.inbox, step as u8);
        // `fail`: a message that is missing ends the batch. Acknowledgements in between are of no use here.
        Subject::from(format!("{inbox}{batch}.1000.fail.{place}.{step}.$FI"))
    }

    /// The next batch that is over. May be given up and called again.
    pub(super) async fn ended(&mut self) -> Ended {
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
                now = self.look.tick() => self.look_after(now),
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    fn end(&mut self, at: usize, stored: Option<usize>) -> Ended {
        let Batch { keys, begun, .. } = self.open.remove(at);
        Ended {
            keys,
            begun,
            stored,
        }
    }

    /// What a reply says of a batch, if that is its end.
    fn understand(&mut self, reply: &Message) -> Option<Ended> {
        let (number, place) = place_of(reply.subject.strip_prefix(&*self.inbox)?)?;
        let at = self.open.iter().position(|batch| batch.number == number)?;
        let count = self.open[at].keys.len();
        if reply.status == Some(StatusCode::NO_RESPONDERS) {
            return Some(self.end(at, None));
        }
        let Ok(reply) = serde_json::from_slice::<Reply>(&reply.payload) else {
            return Some(self.end(at, None));
        };
        let stored = match reply {
            Reply {
                count: Some(stored),
                ..
            } => Some(stored.min(count)),
            Reply {
                interim: Some(_), ..
            } => return None,
            Reply {
                error: Some(refusal),
                ..
            } if refusal.err_code != UNKNOWN_BATCH && place <= count => {
                if refusal.err_code == NO_BATCHES {
                    tracing::info!(
                        bucket = self.prefix,
                        "the bucket takes no batches any more: writes go on one by one"
                    );
                    self.is_disabled = true;
                }
                // Those behind it are not stored either, since it is missing.
                Some(place - 1)
            }
            Reply { .. } => None,
        };
        Some(self.end(at, stored))
    }

    /// Asks for batches of which nothing has been heard, and gives up those that are out of time.
    fn look_after(&mut self, now: Instant) -> Option<Ended> {
        if let Some(at) = self.open.iter().position(|batch| batch.give_up <= now) {
            return Some(self.end(at, None));
        }
        let connects = self.connects();
        for at in 0..self.open.len() {
            let batch = &self.open[at];
            if batch.ask <= now || batch.connects != connects {
                let first = batch.keys.first().map_or("-", |key| key);
                let question = self.question(batch.number, first, batch.keys.len());
                let asked = self.nats.publish_with_reply_and_headers(
                    question.subject,
                    question.reply,
                    question.headers,
                    Bytes::new(),
                );
                // What cannot be queued at once is asked again.
                if let Some(Ok(())) = asked.now_or_never() {
                    let batch = &mut self.open[at];
                    batch.ask = now + PATIENCE;
                    batch.connects = connects;
                }
            }
        }
        None
    }

    /// The message behind the last one of a batch: it ends the batch, wherever the server is, and is not stored.
    fn question(&self, batch: u64, key: &str, count: usize) -> Question {
        let mut headers = HeaderMap::new();
        // For a server that knows no batches, after a downgrade: there it would be a value.
        headers.insert(NATS_EXPECTED_STREAM, "-");
        Question {
            subject: self.subject(key),
            reply: self.reply_subject(batch, count + 1, Step::End),
            headers,
        }
    }

    fn connects(&self) -> u64 {
        self.nats.statistics().connects.load(Ordering::Relaxed)
    }
}

/// The number of a batch, and the place in it, of a reply subject behind its prefix.
fn place_of(subject: &str) -> Option<(u64, usize)> {
    let mut tokens = subject.split('.');
    let number = tokens.next()?.parse().ok()?;
    let place = tokens.nth(2)?.parse().ok().filter(|place| *place > 0)?;
    Some((number, place))
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
#[path = "batches_tests.rs"]
mod tests;
