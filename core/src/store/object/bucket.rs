//! One Object Store bucket, in bytes, in the layout of ADR-20.
//!
//! Only single operations: each method is one request or subscription. [`read`](crate::store::object::read),
//! [`write`](crate::store::object::write) and [`change`](crate::store::object::change) put them together, and do what the object store of
//! async-nats does not: they wait for many acknowledgements at once, remove the chunks of a failed put and of all but one of several
//! concurrent puts, and notice that an object was replaced while it is read.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID, NATS_ROLLUP};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::PurgeResponse;
use async_nats::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use ring::digest;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::descriptor::bucket::StoreKind;
use crate::descriptor::operation::Operation;
use crate::store::bucket::facts::{BucketFacts, Writes};
use crate::store::bucket::jetstream::{Bucket, JetStream};
use crate::store::bucket::publish::Publisher;
use crate::store::bucket::shape::OBJECTS_OF_MIRROR;
use crate::store::error::{StoreError, WriteError};
use crate::store::object::info::{Current, Meta, Stored, encode_meta, incomplete};
use crate::store::object::publish_subjects::PublishSubjects;
use crate::store::reader::api_request;
use crate::store::reader::bucket_reader::BucketReader;
use crate::store::reader::budget::Budget;
use crate::store::reader::delivery::BucketMessage;
use crate::store::reader::direct::{BatchGet, UnansweredConnection};
use crate::store::reader::range::{Range, Start};
use crate::store::reader::raw::{self, Which};
use crate::transport::gate::Gate;
use crate::transport::outgoing::Outgoing;

/// The chunk size of ADR-20.
pub(crate) const CHUNK_SIZE: usize = 128 * 1024;
/// How long the caller of a change waits for the removal of chunks, once the change is stored or has failed. A task in the background
/// then continues.
pub(crate) const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(1);
/// The most such tasks per bucket: they add up while the server is unreachable, or if the account may not remove chunks.
const MAX_CLEAN_UP_TASKS: usize = 64;
/// The pauses of a change that others were faster than.
const CONTENTION_BACKOFF: Backoff =
    Backoff::new(Duration::from_millis(2), Duration::from_millis(200));
/// The most chunks that are in flight to a reader, or unread.
const READ_WINDOW: usize = 32;
/// The most metadata messages that are in flight to a list, or unread.
const LIST_WINDOW: usize = 256;

/// The part of the time of a change that is reserved for the removal of chunks.
pub(crate) fn clean_up_time(timeout: Duration) -> Duration {
    CLEAN_UP_TIMEOUT.min(timeout / 4)
}

/// Which messages to remove.
#[derive(Serialize)]
struct PurgeRequest<'a> {
    filter: &'a str,
    /// Only those before this sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

/// An opened bucket. Cheap to clone; clones share the limits.
#[derive(Clone)]
pub(crate) struct ObjectBucket {
    context: Context,
    gate: Gate,
    publisher: Publisher,
    budget: Arc<Budget>,
    name: String,
    stream: Arc<str>,
    facts: Arc<BucketFacts>,
    publish_subjects: Arc<PublishSubjects>,
    unanswered: UnansweredConnection,
    clean_up_tasks: Arc<Semaphore>,
}

impl Bucket for ObjectBucket {
    const KIND: StoreKind = StoreKind::Object;

    async fn open(jetstream: &JetStream, bucket: &str) -> Result<Self, StoreError> {
        Ok(Self {
            context: jetstream.context.clone(),
            gate: jetstream.gate.clone(),
            publisher: jetstream.publisher.clone(),
            budget: Arc::clone(&jetstream.budget),
            name: bucket.to_owned(),
            stream: Self::KIND.stream_name(bucket).into(),
            facts: Arc::new(BucketFacts::open(jetstream, Self::KIND, bucket).await?),
            publish_subjects: Arc::new(PublishSubjects::new(jetstream, bucket)?),
            unanswered: UnansweredConnection::default(),
            clean_up_tasks: Arc::new(Semaphore::new(MAX_CLEAN_UP_TASKS)),
        })
    }
}

impl ObjectBucket {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn facts(&self) -> &BucketFacts {
        &self.facts
    }

    /// The error of an operation that took too long.
    pub(crate) fn timed_out(&self) -> StoreError {
        StoreError::timed_out().explained(self.facts.missing_permissions())
    }

    /// Fails if nothing can be written to the bucket.
    pub(crate) async fn check_takes_writes(&self) -> Result<(), StoreError> {
        if self.facts.refreshed().await.writes != Writes::Nothing {
            return Ok(());
        }
        Err(StoreError::unsupported(format!(
            "{} `{}` {OBJECTS_OF_MIRROR}",
            StoreKind::Object.noun(),
            self.name
        )))
    }

    /// The metadata of an object that is not deleted.
    pub(crate) async fn stored(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let stored = self.newest(name).await?;
        Ok(stored.filter(|stored| !stored.meta.deleted))
    }

    /// The permit for one more task that removes chunks in the background.
    pub(crate) fn clean_up_permit(&self) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        Arc::clone(&self.clean_up_tasks).try_acquire_owned()
    }

    /// Stores metadata if the current one has the revision `expected`. Of several messages with one `id`, at most one is stored.
    pub(crate) async fn publish_meta(
        &self,
        meta: &Meta,
        expected: u64,
        id: &str,
    ) -> Result<u64, WriteError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_ROLLUP, "sub");
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            HeaderValue::from(expected),
        );
        headers.insert(NATS_MESSAGE_ID, id);
        let json = encode_meta(meta).map_err(|error| WriteError::Refused(error.into()))?;
        let message = self.message(&self.meta_subject(&meta.name)).await?;
        let message = message.with_headers(headers).with_payload(json);
        let ack = self.publisher.publish(message, &self.stream).await?;
        Ok(ack.sequence)
    }

    /// Stores an empty message with the `id`, unless there was one before; `None` if the server refuses it.
    pub(crate) async fn publish_fence(&self, id: &str) -> Result<Option<PublishAck>, StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id);
        let message = self.message(&self.chunks_of(id)).await?;
        let message = message.with_headers(headers);
        match self.publisher.publish(message, &self.stream).await {
            Ok(ack) => Ok(Some(ack)),
            Err(error @ (WriteError::Uncertain(_) | WriteError::NotTaken(_))) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// A message that the bucket is to store under `subject`.
    async fn message(&self, subject: &str) -> Result<Outgoing, StoreError> {
        self.facts.of_bucket()?;
        let subject = self.publish_subjects.of(subject, &self.facts).await?;
        Ok(Outgoing::to(subject))
    }

    /// Sends one chunk, and returns the acknowledgement to come.
    pub(crate) async fn send_chunk(
        &self,
        subject: &str,
        chunk: Bytes,
    ) -> Result<impl Future<Output = Result<PublishAck, WriteError>> + Send + use<>, WriteError>
    {
        let message = self.message(subject).await?.with_payload(chunk);
        self.publisher.send(message, &self.stream).await
    }

    /// The newest metadata of an object, which may say that the object is deleted.
    pub(crate) async fn newest(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let newest = self.newest_message(name).await?;
        let Some(message) = newest.filter(|newest| !is_marker(newest)) else {
            return Ok(None);
        };
        let message = message.into_stream_message(name)?;
        let modified = message.time.into();
        Stored::read(name, message.sequence, modified, message.payload).map(Some)
    }

    /// The same as a change finds it, also where it cannot be read.
    pub(crate) async fn current(&self, name: &str) -> Result<Option<Current>, StoreError> {
        let message = self.newest_message(name).await?;
        Ok(message.map(|message| {
            if is_marker(&message) {
                Current::marker(&self.name, name, message.sequence)
            } else {
                Current::read(&message)
            }
        }))
    }

    async fn newest_message(&self, name: &str) -> Result<Option<BucketMessage>, StoreError> {
        let subject = self.meta_subject(name);
        let which = Which::Newest {
            last_by_subj: &subject,
        };
        raw::read(&self.gate, &self.context, &self.stream, which).await
    }

    /// The range of the stream that holds the chunks of an object.
    pub(crate) fn chunks(&self, meta: &Meta) -> Result<Range, StoreError> {
        if !is_token(&meta.nuid) {
            return Err(incomplete(&meta.name));
        }
        let subject = self.chunks_of(&meta.nuid);
        Ok(self.range(subject, Start::At(1), READ_WINDOW, false))
    }

    /// Requests all chunks of an object at once; `None` if they do not fit into one window or cannot be read this way.
    pub(crate) async fn batch(
        &self,
        range: &Range,
        meta: &Meta,
        timeout: Duration,
    ) -> Option<BatchGet> {
        let is_small = meta.chunks <= READ_WINDOW && meta.size <= READ_WINDOW * CHUNK_SIZE;
        if !is_small || !self.facts.allows_direct_reads().await.ok()? {
            return None;
        }
        BatchGet::start(range, meta.chunks, meta.size, timeout, &self.unanswered).await
    }

    pub(crate) async fn consume_metas(&self, endless: bool) -> Result<BucketReader, StoreError> {
        let subject = format!("$O.{}.M.>", self.name);
        let range = self.range(subject, Start::Newest, LIST_WINDOW, endless);
        BucketReader::start(range).await
    }

    fn range(&self, subject: String, start: Start, window: usize, endless: bool) -> Range {
        Range {
            context: self.context.clone(),
            gate: self.gate.clone(),
            budget: Arc::clone(&self.budget),
            bucket: self.name.clone(),
            stream: self.stream.to_string(),
            subjects: vec![subject],
            start,
            headers_only: false,
            window,
            endless,
        }
    }

    fn meta_subject(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.name, URL_SAFE.encode(name))
    }

    pub(crate) fn chunks_of(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.name)
    }

    /// Removes all chunks with this id. The caller knows that no object refers to them.
    pub(crate) async fn purge(&self, nuid: &str) -> Result<(), StoreError> {
        if !is_token(nuid) {
            return Ok(());
        }
        let chunks = PurgeRequest {
            filter: &self.chunks_of(nuid),
            seq: None,
        };
        self.remove(&chunks, "cannot remove chunks").await
    }

    /// Removes the metadata of an object up to a revision, without a trace of the object.
    pub(crate) async fn purge_meta(&self, name: &str, revision: u64) -> Result<(), StoreError> {
        let metas = PurgeRequest {
            filter: &self.meta_subject(name),
            seq: Some(revision + 1),
        };
        self.remove(&metas, "cannot remove metadata").await
    }

    async fn remove(
        &self,
        messages: &PurgeRequest<'_>,
        failed: &'static str,
    ) -> Result<(), StoreError> {
        let request = format!("STREAM.PURGE.{}", self.stream);
        let purged =
            api_request::request(&self.gate, &self.context, &request, messages, failed).await?;
        let removed = purged.map(|_: PurgeResponse| ());
        removed.map_err(|error| StoreError::nats(failed, error))
    }
}

/// Whether the server has written this in place of metadata, as it does in a bucket with limit markers.
fn is_marker(message: &BucketMessage) -> bool {
    message.operation() != Operation::Put
}

/// Whether an id is a single subject token. It comes from metadata that others may have written, and a wildcard in it would select
/// the chunks of all objects.
fn is_token(nuid: &str) -> bool {
    !nuid.is_empty()
        && nuid
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>'))
}

/// The pauses of one change between its attempts to write metadata while other clients keep writing to the same name.
pub(crate) struct Contention {
    backoff: Backoff,
    deadline: Instant,
}

impl Contention {
    pub(crate) fn until(deadline: Instant) -> Self {
        Self {
            backoff: CONTENTION_BACKOFF,
            deadline,
        }
    }

    /// Waits before the next attempt. Fails if that would be after the deadline.
    pub(crate) async fn pause(&mut self) -> Result<(), WriteError> {
        let end = Instant::now() + self.backoff.next_random_pause(50);
        if end >= self.deadline {
            return Err(WriteError::Contended);
        }
        tokio::time::sleep_until(end).await;
        Ok(())
    }
}

/// The digest of what was written to `context`, as metadata has it.
pub(crate) fn digest_text(context: &digest::Context) -> String {
    format!("SHA-256={}", URL_SAFE.encode(context.clone().finish()))
}

impl std::fmt::Debug for ObjectBucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectBucket")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
