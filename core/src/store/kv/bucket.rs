//! One Key-Value bucket, in bytes: the typed handle and the persistence of a service both use it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::header::{
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID, NATS_MESSAGE_TTL, NATS_ROLLUP,
};
use async_nats::jetstream::context::{Context, KeyValueErrorKind};
use async_nats::jetstream::kv;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{
    DirectGetError, DirectGetErrorKind, LastRawMessageError, LastRawMessageErrorKind,
};
use async_nats::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::descriptor::bucket::StoreKind;
use crate::descriptor::operation::Operation;
use crate::store::bucket::facts::BucketFacts;
use crate::store::bucket::jetstream::{Bucket, JetStream};
use crate::store::bucket::publish::Publisher;
use crate::store::error::{StoreError, StoreErrorKind, WriteError, cannot_open};
use crate::store::kv::clock::Clock;
use crate::store::reader::raw::{self, Which};
use crate::store::reader::suspects;
use crate::sync::Mutex;
use crate::transport::gate::Gate;
use crate::transport::mux::{self, Multiplexer};
use crate::transport::outgoing::Outgoing;
use crate::transport::refused::unless_refused;

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
    /// Of async-nats. Only for what goes through a JetStream domain or prefix, and for the requests to the API.
    store: kv::Store,
    facts: BucketFacts,
    /// `None` behind a JetStream domain or prefix, where only async-nats knows the subject.
    direct_reads: Option<DirectReads>,
    publisher: Publisher,
    gate: Gate,
    /// The last reading of the server clock; read anew when it is too old.
    clock: Mutex<Option<Clock>>,
    /// Held while the clock is read, so that many writes that need it read it once.
    reading_clock: tokio::sync::Mutex<()>,
}

/// Reads the newest message of a key by a direct get. async-nats does that too, but creates an inbox, a copy of its context and a
/// timer each time.
#[derive(Debug)]
struct DirectReads {
    multiplexer: Arc<Multiplexer>,
    /// The subject of the requests, up to the subject of the message.
    address: String,
}

impl Bucket for KvBucket {
    const KIND: StoreKind = StoreKind::Kv;

    async fn open(jetstream: &JetStream, bucket: &str) -> Result<Self, StoreError> {
        let request = format!("STREAM.INFO.{}", Self::KIND.stream_name(bucket));
        let asked_at = Instant::now();
        let store = jetstream.context.get_key_value(bucket);
        let mut store = match unless_refused(&jetstream.gate, &request, store).await? {
            Ok(store) => store,
            // async-nats means a stream that is no bucket.
            Err(error) if error.kind() == KeyValueErrorKind::InvalidStoreName => {
                jetstream.info(Self::KIND, bucket).await?;
                return Err(cannot_open(bucket, error));
            }
            Err(error) => return Err(cannot_open(bucket, error)),
        };
        let info = store.stream.cached_info();
        let facts = BucketFacts::new(jetstream, Self::KIND, bucket, info, asked_at)?;
        let known = facts.known();
        store.prefix.clone_from(&known.prefix);
        store.put_prefix.clone_from(&known.write_prefix);
        let direct_reads = (!store.use_jetstream_prefix).then(|| DirectReads {
            multiplexer: Arc::clone(&jetstream.multiplexer),
            address: format!("$JS.API.DIRECT.GET.{}.", store.stream_name),
        });
        Ok(Self {
            context: jetstream.context.clone(),
            store,
            facts,
            direct_reads,
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

    /// Whether it is reached through a JetStream domain or prefix, which async-nats does not expose.
    pub(crate) fn is_behind_prefix(&self) -> bool {
        self.store.use_jetstream_prefix
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn stream_name(&self) -> &str {
        &self.store.stream_name
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Writes a value; with `expected`, only if that is the revision of the key, 0 for none. `id` becomes the message id, by which a
    /// later attempt recognises the entry as its own; behind a JetStream domain or prefix it is not sent.
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
        if self.store.use_jetstream_prefix {
            return match (expected, ttl) {
                (_, Some(_)) => Err(WriteError::Refused(
                    StoreError::unsupported(
                        "a TTL cannot be written through a JetStream domain or prefix",
                    )
                    .into(),
                )),
                (None, None) => self.written(key, self.store.put(key, value)).await,
                (Some(revision), None) => {
                    let updated = self.store.update(key, value, revision);
                    self.written(key, updated).await
                }
            };
        }
        let mut headers = conditions(expected, ttl);
        if let Some(id) = id {
            headers.insert(NATS_MESSAGE_ID, id);
        }
        let message = self.message(key).with_headers(headers).with_payload(value);
        Ok(self.publisher.publish(message).await?.sequence)
    }

    /// A message for a key of a bucket that is not behind a JetStream domain or prefix.
    fn message(&self, key: &str) -> Outgoing {
        Outgoing::to(self.written_subject(key))
    }

    /// The subject to which a key is written, below the prefix of the JetStream API if the bucket is behind one.
    fn written_subject(&self, key: &str) -> String {
        [self.facts.known().written_prefix(), key].concat()
    }

    /// Awaits a write that async-nats makes, behind a JetStream domain or prefix.
    async fn written<T, E>(
        &self,
        key: &str,
        write: impl Future<Output = Result<T, E>>,
    ) -> Result<T, WriteError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let subject = self.written_subject(key);
        let written = unless_refused(&self.gate, &subject, write).await?;
        written.map_err(WriteError::new)
    }

    /// The newest message of a key, markers included, from the leader, which has every acknowledged write. One that async-nats cannot parse
    /// is a value without headers, since a write may replace it.
    pub(crate) async fn newest(&self, key: &str) -> Result<Option<StreamMessage>, StoreError> {
        let subject = self.subject(key);
        let which = Which::Newest {
            last_by_subj: &subject,
        };
        let newest = raw::read(&self.gate, &self.context, &self.store.stream_name, which).await?;
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
        let subject = self.subject(key);
        if suspects::is_suspect(&subject) {
            return self.read_carefully(key, &subject, revision).await;
        }
        let reading = suspects::Read::begin(&self.gate, &subject);
        let read = self.read_from(&subject, revision, source).await?;
        reading.answered();
        // The revision may belong to another key.
        Ok(read.filter(|message| message.subject.as_str() == subject))
    }

    async fn read_from(
        &self,
        subject: &str,
        revision: Option<u64>,
        source: ReadFrom,
    ) -> Result<Option<StreamMessage>, StoreError> {
        let source = match source {
            // Boxed, as below.
            ReadFrom::AnyReplica if !Box::pin(self.facts.allows_direct_reads()).await? => {
                ReadFrom::Leader
            }
            source => source,
        };
        match self.read_once(subject, revision, source).await {
            // Nobody answers direct reads if they are not allowed any more.
            Err(error) if source == ReadFrom::AnyReplica && has_no_responders(&error) => {
                // Boxed, as below.
                if Box::pin(self.facts.now()).await?.allows_direct_reads {
                    return Err(error);
                }
                self.read_once(subject, revision, ReadFrom::Leader).await
            }
            read => read,
        }
    }

    async fn read_once(
        &self,
        subject: &str,
        revision: Option<u64>,
        source: ReadFrom,
    ) -> Result<Option<StreamMessage>, StoreError> {
        let stream = &self.store.stream;
        if let (ReadFrom::AnyReplica, None, Some(direct_reads)) =
            (source, revision, &self.direct_reads)
        {
            return direct_reads.newest(subject).await;
        }
        let name = &self.store.stream_name;
        let request = match (source, revision) {
            (ReadFrom::AnyReplica, None) => format!("DIRECT.GET.{name}.{subject}"),
            (ReadFrom::AnyReplica, Some(_)) => format!("DIRECT.GET.{name}"),
            (ReadFrom::Leader, _) => format!("STREAM.MSG.GET.{name}"),
        };
        let read = async {
            match (source, revision) {
                (ReadFrom::AnyReplica, None) => {
                    found(stream.direct_get_last_for_subject(subject).await)
                }
                (ReadFrom::AnyReplica, Some(revision)) => found(stream.direct_get(revision).await),
                (ReadFrom::Leader, None) => {
                    found(stream.get_last_raw_message_by_subject(subject).await)
                }
                (ReadFrom::Leader, Some(revision)) => found(stream.get_raw_message(revision).await),
            }
        };
        // Boxed: the futures of async-nats are large, and most reads do not get here.
        Box::pin(unless_refused(&self.gate, &request, read)).await?
    }

    /// Reads a message that may be one which async-nats cannot parse. Boxed: this is seldom.
    fn read_carefully<'a>(
        &'a self,
        key: &'a str,
        subject: &'a str,
        revision: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<StreamMessage>, StoreError>> {
        let read = async move {
            let which = match revision {
                None => Which::Newest {
                    last_by_subj: subject,
                },
                Some(seq) => Which::Revision { seq },
            };
            let message =
                raw::read(&self.gate, &self.context, &self.store.stream_name, which).await?;
            let message = message.filter(|message| message.subject.as_str() == subject);
            let is_malformed = message.as_ref().is_some_and(|it| it.is_malformed);
            if !is_malformed {
                suspects::clear_subject(subject);
            }
            message.map(|it| it.into_stream_message(key)).transpose()
        };
        read.boxed()
    }

    /// Writes a delete marker, which keeps older revisions; with `expected`, only if that is the revision of the key. Returns the
    /// revision of the marker; `None` behind a JetStream domain or prefix, where async-nats does not tell it.
    pub(crate) async fn delete(
        &self,
        key: &str,
        expected: Option<u64>,
    ) -> Result<Option<u64>, WriteError> {
        if self.store.use_jetstream_prefix {
            let deleted = self.store.delete_expect_revision(key, expected);
            return self.written(key, deleted).await.map(|()| None);
        }
        let mut headers = conditions(expected, None);
        headers.insert(KV_OPERATION, "DEL");
        let message = self.message(key).with_headers(headers);
        Ok(Some(self.publisher.publish(message).await?.sequence))
    }

    /// Writes a purge marker, which replaces all revisions; with `expected`, only if that is the revision of the key. Returns the
    /// revision of the marker, as [`delete`](Self::delete).
    pub(crate) async fn purge(
        &self,
        key: &str,
        expected: Option<u64>,
        ttl: Option<Duration>,
    ) -> Result<Option<u64>, WriteError> {
        if !self.store.use_jetstream_prefix {
            let mut headers = conditions(expected, ttl);
            headers.insert(KV_OPERATION, "PURGE");
            headers.insert(NATS_ROLLUP, "sub");
            let message = self.message(key).with_headers(headers);
            return Ok(Some(self.publisher.publish(message).await?.sequence));
        }
        let purged = async {
            match (expected, ttl.map(whole_seconds)) {
                (None, Some(ttl)) => self.store.purge_with_ttl(key, ttl).await,
                (Some(revision), Some(ttl)) => {
                    self.store
                        .purge_expect_revision_with_ttl(key, revision, ttl)
                        .await
                }
                (expected, None) => self.store.purge_expect_revision(key, expected).await,
            }
        };
        self.written(key, purged).await.map(|()| None)
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

impl DirectReads {
    async fn newest(&self, subject: &str) -> Result<Option<StreamMessage>, StoreError> {
        let request = Outgoing::to([&self.address, subject].concat());
        let failed = "cannot read the entry";
        let reply = self.multiplexer.request(request).await;
        let reply = reply.map_err(|error| match mux::violation(&error) {
            Some(violation) => violation.clone().into(),
            None => StoreError::nats(failed, error),
        })?;
        match reply.status {
            None => StreamMessage::try_from(reply)
                .map(Some)
                .map_err(|error| StoreError::nats(failed, error)),
            Some(StatusCode::NOT_FOUND) => Ok(None),
            Some(status) => {
                let description = reply.description.unwrap_or_default();
                let kind = DirectGetErrorKind::ErrorResponse(status, description);
                Err(StoreError::nats(failed, DirectGetError::new(kind)))
            }
        }
    }
}

/// Which server answers a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadFrom {
    AnyReplica,
    /// Sees every acknowledged write.
    Leader,
}

/// What the error types of both ways of reading have in common.
trait ReadError: std::error::Error + Send + Sync + 'static {
    fn is_not_found(&self) -> bool;
}

impl ReadError for DirectGetError {
    fn is_not_found(&self) -> bool {
        self.kind() == DirectGetErrorKind::NotFound
    }
}

impl ReadError for LastRawMessageError {
    fn is_not_found(&self) -> bool {
        self.kind() == LastRawMessageErrorKind::NoMessageFound
    }
}

fn found(read: Result<StreamMessage, impl ReadError>) -> Result<Option<StreamMessage>, StoreError> {
    match read {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(StoreError::nats("cannot read the entry", error)),
    }
}

/// Whether a request failed because nobody serves it.
fn has_no_responders(error: &(dyn StdError + 'static)) -> bool {
    let request = error.downcast_ref::<RequestError>();
    let direct = error.downcast_ref::<DirectGetError>();
    request.is_some_and(|error| error.kind() == RequestErrorKind::NoResponders)
        || direct.is_some_and(|error| {
            let kind = error.kind();
            matches!(
                kind,
                DirectGetErrorKind::ErrorResponse(StatusCode::NO_RESPONDERS, _)
            )
        })
        || error.source().is_some_and(has_no_responders)
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
        let seconds = whole_seconds(ttl).as_secs();
        headers.insert(NATS_MESSAGE_TTL, HeaderValue::from(seconds));
    }
    headers
}

/// Rounds up: the server counts TTLs in whole seconds, and nothing may expire too early.
fn whole_seconds(ttl: Duration) -> Duration {
    Duration::from_secs(
        ttl.as_secs()
            .saturating_add((ttl.subsec_nanos() > 0).into()),
    )
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
