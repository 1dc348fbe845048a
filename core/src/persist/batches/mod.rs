//! Plain puts in batches that the server acknowledges as a whole: the fast ingest of nats-server 2.14.
//!
//! The reply subject of a message names its batch and its position there. The server stores a message if it is the next one of its
//! batch. Otherwise it ends the batch, reports how many of its messages are stored, and refuses the others. So the state of a batch
//! can be queried after a lost connection, and after the reply no late message of the batch is stored.

pub(crate) mod wire;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::{HeaderMap, Message, SubscribeError, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::log::warn_limited;
use crate::persist::age::{Moment, Place, WriteStart};
use crate::persist::batches::wire::{BatchReply, Step};
use crate::store::bucket::facts::{Facts, Writes};
use crate::store::kv::bucket::KvBucket;
use crate::transport::backlog::Lane;
use crate::transport::events::{Action, Violation, Violations};
use crate::transport::gate::Gate;
use crate::transport::outgoing::{Outgoing, PublishError};
use crate::transport::publishing::Publishing;

/// The most batches that are open at once.
const MAX_OPEN_BATCHES: usize = 4;
/// The fewest writes in a batch that is sent while another one is open. Fewer writes wait, so that batches grow with the load: a batch
/// of few writes costs the server more than these writes do by themselves.
const MIN_CONCURRENT_BATCH: usize = 128;
/// The largest batch, in writes and in bytes of their values.
const MAX_BATCH_WRITES: usize = 256;
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// How long the acknowledgement of a batch may take. After that, the server is queried how many of its writes are stored.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a batch may be open. After that, its outcome is unknown, and each of its writes is repeated by itself.
const BATCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How often open batches are checked for these two limits.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The batches of one bucket.
pub(crate) struct Batches {
    gate: Gate,
    bucket: Arc<KvBucket>,
    replies: Subscriber,
    /// What NATS refuses since the oldest of the open batches was sent.
    violations: Violations,
    /// The start of the reply subjects, up to the number of the batch. Its last token and the number are the id of the batch, which no
    /// other client may use for this bucket.
    inbox: String,
    next_number: u64,
    /// In the order in which they were sent.
    open: Vec<Batch>,
    /// The messages of the newest batch that the connection did not take at once, since it is down or too slow. No other batch is sent
    /// before it has taken them.
    in_transit: VecDeque<Publishing>,
    check: Interval,
    /// Whether the server has replied at least once, so that this account can receive replies.
    has_replies: bool,
    /// Whether all writes are made by themselves from now on. Never unset.
    is_disabled: bool,
}

/// A write that may be part of a batch.
pub(crate) struct Put {
    pub(crate) key: Arc<str>,
    pub(crate) value: Bytes,
    pub(crate) start: WriteStart,
    pub(crate) deadline: Instant,
}

struct Batch {
    number: u64,
    keys: Vec<Arc<str>>,
    /// What was known of the bucket when the batch was sent.
    facts: Arc<Facts>,
    /// The epoch of the connection on which the batch was sent, or last queried.
    connection: u64,
    /// When the server is queried how many of the writes are stored.
    query_at: Instant,
    /// When the batch ends with an unknown outcome.
    give_up_at: Instant,
}

/// The outcome of a batch.
pub(crate) struct EndedBatch {
    pub(crate) keys: Vec<Arc<str>>,
    /// How many of the writes, from the first one on, are stored; the others are not. `None` if this is unknown.
    pub(crate) stored: Option<usize>,
    /// The place of the last stored write, if the server has reported it.
    pub(crate) last: Option<Place>,
}

impl Batches {
    pub(crate) async fn open(bucket: Arc<KvBucket>) -> Result<Self, SubscribeError> {
        let gate = bucket.gate().clone();
        let inbox = gate.new_inbox();
        let replies = gate.subscribe(format!("{inbox}.>")).await?;
        let id = inbox.rsplit('.').next().unwrap_or_default();
        let mut check = tokio::time::interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            replies,
            violations: gate.violations(),
            gate,
            bucket,
            inbox: format!("{inbox}.{id}-"),
            next_number: 0,
            open: Vec::new(),
            in_transit: VecDeque::new(),
            check,
            has_replies: false,
            is_disabled: false,
        })
    }

    /// Whether this value may be written in a batch.
    pub(crate) fn accepts(&self, value: &Bytes) -> bool {
        !self.is_disabled && value.len() <= self.gate.max_payload().min(MAX_BATCH_BYTES) && {
            let facts = self.bucket.facts().of_bucket();
            facts.is_ok_and(|facts| facts.writes == Writes::Batches)
        }
    }

    /// Whether a batch may be sent now, with this many writes waiting for one.
    pub(crate) fn can_send(&self, waiting: usize) -> bool {
        match self.open.len() {
            0 => waiting > 0,
            open => {
                waiting >= MIN_CONCURRENT_BATCH
                    && open < MAX_OPEN_BATCHES
                    && self.in_transit.is_empty()
            }
        }
    }

    /// Removes the writes for one batch from the front of the list, and sends those that are not late, on a connection that is up. Returns
    /// the keys of those that are late.
    #[must_use]
    pub(crate) fn send(&mut self, puts: &mut VecDeque<Put>, moment: Moment) -> Vec<Arc<str>> {
        let first = puts.iter().take(MAX_BATCH_WRITES);
        if !first.clone().any(|put| put.start.is_late(moment)) {
            self.send_first(puts, MAX_BATCH_WRITES, moment.now);
            return Vec::new();
        }
        let count = first.count();
        let (late, fresh): (Vec<_>, Vec<_>) = puts
            .drain(..count)
            .partition(|put| put.start.is_late(moment));
        let count = fresh.len();
        for put in fresh.into_iter().rev() {
            puts.push_front(put);
        }
        if count > 0 {
            self.send_first(puts, count, moment.now);
        }
        late.into_iter().map(|put| put.key).collect()
    }

    /// Sends the first writes of the list, up to `max`.
    fn send_first(&mut self, puts: &mut VecDeque<Put>, max: usize, now: Instant) {
        let mut bytes = 0;
        let fit = puts.iter().take(max).take_while(|put| {
            bytes += put.value.len();
            bytes <= MAX_BATCH_BYTES
        });
        let count = fit.count();
        let number = self.next_number;
        // A write whose deadline has passed does not shorten the time of the others.
        let remaining = |put: &Put| put.deadline.checked_duration_since(now);
        let shortest = puts.iter().take(count).filter_map(remaining).min();
        let time = shortest.unwrap_or(CHECK_INTERVAL).max(CHECK_INTERVAL);
        let facts = self.bucket.facts().known();
        let mut keys = Vec::with_capacity(count);
        let mut messages = Vec::with_capacity(count);
        for (put, position) in puts.drain(..count).zip(1..) {
            let step = match position {
                last if last == count => Step::AddLast,
                1 => Step::Begin,
                _ => Step::Add,
            };
            let reply = wire::reply_subject(&self.inbox, number, position, step);
            let message = Outgoing::to([facts.written_prefix(), &put.key].concat());
            messages.push(message.with_reply(reply).with_payload(put.value));
            keys.push(put.key);
        }
        self.next_number += 1;
        if self.open.is_empty() {
            self.violations = self.gate.violations();
        }
        self.open.push(Batch {
            number,
            keys,
            facts,
            connection: self.gate.connection_epoch(),
            query_at: now + ACK_TIMEOUT.min(time / 2),
            give_up_at: now + BATCH_TIMEOUT.min(time),
        });
        for message in messages {
            let publishing = self.gate.publish(Lane::Reply, message);
            match publishing.result() {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    self.handle_unsent(error);
                    break;
                }
                None => self.in_transit.push_back(publishing),
            }
        }
    }

    /// Withdraws the rest of a batch of which a message could not be sent, and lets the server be queried: the connection is closed, or the
    /// server has changed its limits.
    fn handle_unsent(&mut self, error: PublishError) {
        tracing::debug!(%error, "a batch was not sent as a whole");
        self.in_transit.clear();
        if let Some(newest) = self.open.last_mut() {
            newest.query_at = Instant::now();
        }
    }

    /// Waits for the next batch to end. Cancel safe.
    pub(crate) async fn next_ended(&mut self) -> EndedBatch {
        loop {
            if self.open.is_empty() {
                std::future::pending::<()>().await;
            }
            let ended = tokio::select! {
                reply = self.replies.next() => match reply {
                    Some(reply) => self.handle_reply(&reply),
                    // The connection is closed for good.
                    None => Some(self.end(0, None)),
                },
                sent = front(&mut self.in_transit) => {
                    self.in_transit.pop_front();
                    if let Err(error) = sent {
                        self.handle_unsent(error);
                    }
                    None
                }
                violation = self.violations.next() => self.handle_violation(&violation),
                now = self.check.tick() => self.check_open(now),
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    fn end(&mut self, index: usize, stored: Option<usize>) -> EndedBatch {
        let Batch { keys, .. } = self.open.remove(index);
        if index == self.open.len() {
            // It was the newest one, to which the messages in transit belong.
            self.in_transit.clear();
        }
        EndedBatch {
            keys,
            stored,
            last: None,
        }
    }

    /// Applies a reply to its batch, and returns the batch if it has ended.
    fn handle_reply(&mut self, reply: &Message) -> Option<EndedBatch> {
        let (number, position) = wire::parse_position(reply.subject.strip_prefix(&*self.inbox)?)?;
        let index = self.open.iter().position(|batch| batch.number == number)?;
        self.has_replies = true;
        let count = self.open[index].keys.len();
        let reply = BatchReply::of(reply, &self.bucket.facts().known().stored_by);
        if matches!(reply, BatchReply::NotEnabled) {
            self.disable("it does not allow them any more");
        }
        let stored = match reply {
            BatchReply::Open => return None,
            BatchReply::Ended { stored, revision } => {
                let created = self.open[index].facts.created;
                let last = revision.map(|revision| Place { created, revision });
                let ended = self.end(index, Some(stored.min(count)));
                return Some(EndedBatch { last, ..ended });
            }
            BatchReply::Refused | BatchReply::NotEnabled if position == 1 => Some(0),
            BatchReply::Refused | BatchReply::NotEnabled if position <= count => {
                // The refusal does not tell how many of the earlier ones are stored: they may not have arrived.
                self.query(index, Instant::now());
                return None;
            }
            BatchReply::Refused | BatchReply::NotEnabled | BatchReply::Unknown => None,
        };
        Some(self.end(index, stored))
    }

    /// Ends the batch that begins with a message which NATS refuses: without it, the server takes none of the others. After any other
    /// message that is refused the batch ends at the server, which is queried how many are stored.
    fn handle_violation(&mut self, violation: &Violation) -> Option<EndedBatch> {
        if violation.action != Action::Publish {
            return None;
        }
        let position = |batch: &Batch| {
            let key = violation
                .subject
                .strip_prefix(batch.facts.written_prefix())?;
            batch.keys.iter().position(|other| **other == *key)
        };
        let mut open = self.open.iter().enumerate();
        match open.find_map(|(index, batch)| Some((index, position(batch)?)))? {
            (index, 0) => Some(self.end(index, Some(0))),
            (index, _) => {
                self.query(index, Instant::now());
                None
            }
        }
    }

    /// Whether NATS lets this connection receive no replies to batches.
    fn is_deaf(&self) -> bool {
        let subscribed = |subject: &str| {
            let own = subject.strip_suffix('>');
            own.is_some_and(|inbox| self.inbox.starts_with(inbox))
        };
        self.gate.refused_subscription(subscribed).is_some()
    }

    fn disable(&mut self, reason: &str) {
        if !self.is_disabled {
            warn_limited!(
                bucket = self.bucket.stream_name(),
                reason,
                "the bucket takes no batches: from now on it is written to one by one"
            );
            self.is_disabled = true;
        }
    }

    /// Queries batches that have had no reply for too long, and ends one that has reached its time limit.
    fn check_open(&mut self, now: Instant) -> Option<EndedBatch> {
        let connection = self.gate.connection_epoch();
        let is_interrupted = self.gate.connected_epoch().is_none()
            || self
                .open
                .last()
                .is_some_and(|newest| newest.connection != connection);
        if is_interrupted {
            // What waits is not sent on the next connection.
            self.in_transit.clear();
        }
        if !self.open.is_empty() && self.is_deaf() {
            self.disable("NATS does not permit the subscription to the replies");
            return Some(self.end(0, None));
        }
        if let Some(index) = self.open.iter().position(|batch| batch.give_up_at <= now) {
            if !self.has_replies && !is_interrupted && self.open[index].connection == connection {
                self.disable(
                    "no answer to one arrives; may this account not subscribe to its inbox?",
                );
            }
            return Some(self.end(index, None));
        }
        for index in 0..self.open.len() {
            if self.open[index].query_at <= now || self.open[index].connection != connection {
                self.query(index, now);
            }
        }
        None
    }

    /// Queries how many writes of a batch are stored. The query also ends the batch at the server.
    fn query(&mut self, index: usize, now: Instant) {
        let connection = self.gate.connection_epoch();
        let batch = &self.open[index];
        let query = self.batch_query(batch);
        let publishing = self.gate.publish(Lane::Reply, query);
        // If the connection does not take the query at once, it is withdrawn, and the next check repeats it.
        if let Some(Ok(())) = publishing.result() {
            let batch = &mut self.open[index];
            batch.query_at = now + ACK_TIMEOUT;
            batch.connection = connection;
        }
    }

    /// A message that follows the last one of a batch. It ends the batch, whatever the server has received of it, and is not stored.
    fn batch_query(&self, batch: &Batch) -> Outgoing {
        let key = batch.keys.first().map_or("-", |key| key);
        let mut headers = HeaderMap::new();
        // Lets a server without batches, after a downgrade, refuse the query: otherwise it would store it as a value.
        headers.insert(NATS_EXPECTED_STREAM, "-");
        Outgoing::to([batch.facts.written_prefix(), key].concat())
            .with_reply(wire::reply_subject(
                &self.inbox,
                batch.number,
                batch.keys.len() + 1,
                Step::End,
            ))
            .with_headers(headers)
    }
}

/// Waits for the first of the messages in transit; pending if there is none.
async fn front(in_transit: &mut VecDeque<Publishing>) -> Result<(), PublishError> {
    match in_transit.front_mut() {
        Some(publishing) => publishing.await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches")
            .field("bucket", &self.bucket)
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
