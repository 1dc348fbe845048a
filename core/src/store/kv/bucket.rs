//! One Key-Value bucket, in bytes: the typed handle and the persistence of a service both use it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID, NATS_MESSAGE_TTL, NATS_ROLLUP,
};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::StreamMessage;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::descriptor::bucket::StoreKind;
use crate::descriptor::operation::Operation;
use crate::store::bucket::facts::{BucketFacts, Facts};
use crate::store::bucket::jetstream::{Bucket, JetStream};
use crate::store::bucket::publish::Publisher;
use crate::store::error::{StoreError, StoreErrorKind, WriteError};
use crate::store::kv::clock::Clock;
use crate::store::reader::direct_get::{DirectGet, has_no_responders};
use crate::store::reader::raw::{self, Which};
use crate::store::reader::suspects;
use crate::sync::Mutex;
use crate::transport::gate::Gate;
use crate::transport::outgoing::Outgoing;

/// Marks a message that stores no value.
const KV_OPERATION: &str = "KV-Operation";

/// The most attempts to create an entry while others write and remove the key, and the pauses between them.
const MAX_CREATE_ATTEMPTS: usize = 40;
const CREATE_BACKOFF: Backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
/// How long the server may take to say what time it is.
const CLOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// An opened bucket.
#[derive(Debug)]
pub(crate) struct KvBucket {
    context: Context,
    stream: String,
    facts: BucketFacts,
    direct: DirectGet,
    publisher: Publisher,
    gate: Gate,
    /// The last reading of the server clock; read anew when it is too old.
    clock: Mutex<Option<Clock>>,
    /// Held while the clock is read, so that many writes that need it read it once.
    reading_clock: tokio::sync::Mutex<()>,
}

impl Bucket for KvBucket {
    const KIND: StoreKind = StoreKind::Kv;

    async fn open(jetstream: &JetStream, bucket: &str) -> Result<Self, StoreError> {
        let stream = Self::KIND.stream_name(bucket);
        let address = jetstream.api()?.request(&format!("DIRECT.GET.{stream}"));
        Ok(Self {
            context: jetstream.context.clone(),
            facts: BucketFacts::open(jetstream, Self::KIND, bucket).await?,
            direct: DirectGet::new(Arc::clone(&jetstream.multiplexer), address),
            stream,
            publisher: jetstream.publisher.clone(),
            gate: jetstream.gate.clone(),
            clock: Mutex::default(),
            reading_clock: tokio::sync::Mutex::default(),
        })
    }
}

impl KvBucket {
    pub(crate) fn facts(&self) -> &BucketFacts {
        &self.facts
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn stream_name(&self) -> &str {
        &self.stream
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Writes a value; with `expected`, only if that is the revision of the key, 0 for none. `id` becomes the message id, by which a
    /// later attempt recognises the entry as its own.
    ///
    /// Refused with a TTL if the bucket keeps older revisions: the one before would come back.
    pub(crate) async fn write(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<u64>,
        ttl: Option<Duration>,
        id: Option<&str>,
    ) -> Result<u64, WriteError> {
        // The server does not contradict that.
        if ttl.is_some() && Box::pin(self.facts.recent()).await?.history > 1 {
            let refused = StoreError::unsupported(
                "the bucket keeps several revisions, and the one before would come back when this one expires",
            );
            return Err(WriteError::Refused(refused.into()));
        }
        self.store_value(key, value, expected, ttl, id).await
    }

    async fn store_value(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<u64>,
        ttl: Option<Duration>,
        id: Option<&str>,
    ) -> Result<u64, WriteError> {
        let mut headers = conditions(expected, ttl);
        if let Some(id) = id {
            headers.insert(NATS_MESSAGE_ID, id);
        }
        self.publish(key, headers, value).await
    }

    /// Stores a message of a key.
    async fn publish(
        &self,
        key: &str,
        headers: HeaderMap,
        value: Bytes,
    ) -> Result<u64, WriteError> {
        let stored = self.publish_with(&self.publisher, key, headers, value);
        self.publisher.in_time(stored).await
    }

    /// Stores a message of a key with another publisher. Has no timeout of its own.
    pub(crate) async fn publish_with(
        &self,
        publisher: &Publisher,
        key: &str,
        headers: HeaderMap,
        value: Bytes,
    ) -> Result<u64, WriteError> {
        let send = async |facts: &Facts| {
            let message = Outgoing::to([facts.written_prefix(), key].concat());
            let message = message
                .with_headers(headers.clone())
                .with_payload(value.clone());
            publisher.send(message, &facts.stored_by).await?.await
        };
        let facts = self.facts.for_write().await?;
        let stored = match send(&facts).await {
            // The bucket may be written to elsewhere by now.
            Err(not_taken @ WriteError::NotTaken(_)) => match Box::pin(self.facts.now()).await {
                Ok(now) if now.written_prefix() != facts.written_prefix() => {
                    Box::pin(send(&now)).await
                }
                _ => Err(not_taken),
            },
            stored => stored,
        };
        Ok(stored?.sequence)
    }

    /// The newest message of a key, markers included, from the leader, which has every acknowledged write. One that async-nats cannot parse
    /// is a value without headers, since a write may replace it.
    pub(crate) async fn newest(&self, key: &str) -> Result<Option<StreamMessage>, StoreError> {
        let subject = [&self.facts.for_write().await?.prefix, key].concat();
        let which = Which::Newest {
            last_by_subj: &subject,
        };
        let newest = raw::read(&self.gate, &self.context, &self.stream, which).await?;
        Ok(newest.map(StreamMessage::from))
    }

    /// The clock of the server, by which messages have their times. With `is_precise`, it is read anew if its last answer took long.
    pub(crate) async fn clock(&self, is_precise: bool) -> Result<Clock, StoreError> {
        let since = Instant::now();
        let known = || {
            let clock = *self.clock.lock();
            clock.filter(|clock| {
                clock.is_fresh()
                    && (!is_precise || clock.is_precise() || clock.is_asked_after(since))
            })
        };
        if let Some(clock) = known() {
            return Ok(clock);
        }
        let read = async {
            let _only_one = self.reading_clock.lock().await;
            match known() {
                Some(clock) => Ok(clock),
                None => self.read_clock().await,
            }
        };
        tokio::time::timeout(CLOCK_TIMEOUT, read)
            .await
            .unwrap_or_else(|_| Err(StoreError::timed_out()))
    }

    async fn read_clock(&self) -> Result<Clock, StoreError> {
        let asked = Instant::now();
        let (report, _) = self.facts.look(&()).await?;
        let clock = Clock::read(&report.ts, asked);
        *self.clock.lock() = clock;
        let failed = "cannot read the clock of the server";
        clock.ok_or_else(|| StoreError::new(StoreErrorKind::Nats, failed))
    }

    /// A message of a key, markers included: the newest one, or that of a revision.
    pub(crate) async fn read(
        &self,
        key: &str,
        revision: Option<u64>,
        source: ReadFrom,
    ) -> Result<Option<StreamMessage>, StoreError> {
        let facts = self.facts.for_read().await;
        let found = self
            .read_below(&facts.prefix, key, revision, source)
            .await?;
        if found.is_some() {
            return Ok(found);
        }
        // Boxed, as the others below: most reads do not get there.
        let now = Box::pin(self.facts.refreshed()).await;
        if now.prefix == facts.prefix {
            return Ok(None);
        }
        Box::pin(self.read_below(&now.prefix, key, revision, source)).await
    }

    async fn read_below(
        &self,
        prefix: &str,
        key: &str,
        revision: Option<u64>,
        source: ReadFrom,
    ) -> Result<Option<StreamMessage>, StoreError> {
        let subject = [prefix, key].concat();
        if source == ReadFrom::AnyReplica
            && !suspects::is_suspect(&subject)
            && Box::pin(self.facts.allows_direct_reads()).await?
        {
            let reading = suspects::Read::begin(&self.gate, &subject);
            match self.direct.read(&subject, revision).await {
                // Nobody answers direct reads if they are not allowed any more.
                Err(error) if has_no_responders(&error) => {
                    if Box::pin(self.facts.now()).await?.allows_direct_reads {
                        return Err(error);
                    }
                }
                read => {
                    let read = read?;
                    reading.answered();
                    // The revision may belong to another key.
                    return Ok(read.filter(|message| message.subject.as_str() == subject));
                }
            }
        }
        Box::pin(self.read_from_leader(key, &subject, revision)).await
    }

    /// Reads a message from the leader, also where it is one that async-nats cannot parse.
    async fn read_from_leader(
        &self,
        key: &str,
        subject: &str,
        revision: Option<u64>,
    ) -> Result<Option<StreamMessage>, StoreError> {
        let which = match revision {
            None => Which::Newest {
                last_by_subj: subject,
            },
            Some(seq) => Which::Revision { seq },
        };
        let message = raw::read(&self.gate, &self.context, &self.stream, which).await?;
        let message = message.filter(|message| message.subject.as_str() == subject);
        let is_malformed = message.as_ref().is_some_and(|it| it.is_malformed);
        if !is_malformed {
            suspects::clear_subject(subject);
        }
        message.map(|it| it.into_stream_message(key)).transpose()
    }

    /// Writes a delete marker, which keeps older revisions; with `expected`, only if that is the revision of the key. Returns the
    /// revision of the marker.
    pub(crate) async fn delete(&self, key: &str, expected: Option<u64>) -> Result<u64, WriteError> {
        let mut headers = conditions(expected, None);
        headers.insert(KV_OPERATION, "DEL");
        self.publish(key, headers, Bytes::new()).await
    }

    /// Writes a purge marker, which replaces all revisions; with `expected`, only if that is the revision of the key. Returns the
    /// revision of the marker.
    pub(crate) async fn purge(
        &self,
        key: &str,
        expected: Option<u64>,
        ttl: Option<Duration>,
    ) -> Result<u64, WriteError> {
        let mut headers = conditions(expected, ttl);
        headers.insert(KV_OPERATION, "PURGE");
        headers.insert(NATS_ROLLUP, "sub");
        self.publish(key, headers, Bytes::new()).await
    }

    /// The subject for a key or a pattern.
    pub(crate) fn subject(&self, pattern: &str) -> String {
        [&self.facts.known().prefix, pattern].concat()
    }

    /// Writes a value if the key has none; a deleted key has none. A value that an earlier attempt with the same `id` has stored counts
    /// as written. Conflicts only with a value that was there after an attempt.
    pub(crate) async fn create(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        id: Option<&str>,
    ) -> Result<u64, WriteError> {
        let mut backoff = CREATE_BACKOFF;
        let mut expected = 0;
        for attempt in 0..MAX_CREATE_ATTEMPTS {
            // The first conflict most likely tells of a marker from before.
            if attempt > 1 {
                tokio::time::sleep(backoff.next_random_pause(50)).await;
            }
            let written = self.store_value(key, value.clone(), Some(expected), ttl, id);
            let conflict = match written.await {
                Err(conflict @ WriteError::Conflict(_)) => conflict,
                done => return done,
            };
            expected = match self.newest(key).await? {
                // What was there has been removed without a marker.
                None => 0,
                Some(newest) if is_marker(&newest) => newest.sequence,
                newest => return own_revision(newest, id).ok_or(conflict),
            };
        }
        Err(WriteError::Contended)
    }

    /// Writes a value over a revision. A value that an earlier attempt with the same `id` has stored counts as written.
    pub(crate) async fn update(
        &self,
        key: &str,
        value: Bytes,
        revision: Option<u64>,
        ttl: Option<Duration>,
        id: &str,
    ) -> Result<u64, WriteError> {
        let conflict = match self.write(key, value, revision, ttl, Some(id)).await {
            Err(conflict @ WriteError::Conflict(_)) => conflict,
            done => return done,
        };
        own_revision(self.newest(key).await?, Some(id)).ok_or(conflict)
    }
}

/// Which server answers a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadFrom {
    AnyReplica,
    /// Sees every acknowledged write.
    Leader,
}

/// The headers of a write that depends on the revision of its key, or that expires.
fn conditions(expected: Option<u64>, ttl: Option<Duration>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(revision) = expected {
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            HeaderValue::from(revision),
        );
    }
    if let Some(ttl) = ttl {
        headers.insert(NATS_MESSAGE_TTL, HeaderValue::from(whole_seconds(ttl)));
    }
    headers
}

/// Rounds up: the server counts TTLs in whole seconds, and nothing may expire too early.
fn whole_seconds(ttl: Duration) -> u64 {
    ttl.as_secs()
        .saturating_add((ttl.subsec_nanos() > 0).into())
}

/// The revision of the entry that a write conflicts with, if an earlier attempt of the same write has stored it.
fn own_revision(newest: Option<StreamMessage>, id: Option<&str>) -> Option<u64> {
    let newest = newest?;
    let stored = newest.headers.get(NATS_MESSAGE_ID).map(HeaderValue::as_str);
    (stored.is_some() && stored == id).then_some(newest.sequence)
}

/// Whether this message marks its key as deleted, purged or expired.
pub(crate) fn is_marker(message: &StreamMessage) -> bool {
    Operation::of(&message.headers) != Operation::Put
}
