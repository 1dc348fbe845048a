//! One Object Store bucket, in bytes, in the layout of ADR-20.
//!
//! This does what async-nats's object store does not: it waits for many chunks at once, removes those of a failed put (as
//! `object_change` has it) and those of all but one of several concurrent puts to one name, and notices that an object that is being
//! read was replaced.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID, NATS_ROLLUP};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{Context, PublishAckFuture, PublishError};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use async_nats::{Client, HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use futures::stream;
use ring::digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::Instant;

use crate::descriptor::bucket::StoreKind;
use crate::store::bucket::jetstream::cannot_open;
use crate::store::error::{StoreError, StoreErrorKind, WriteError};
use crate::store::object::change::Change;
use crate::store::object::info::{Meta, Stored, encode_meta, incomplete};
use crate::store::object::read::Chunks;
use crate::store::object::write::{Description, ObjectWriter};
use crate::store::reader::budget::Budget;
use crate::store::reader::direct::{Batch, Silence};
use crate::store::reader::ordered::OrderedConsumer;
use crate::store::reader::range::{Range, Start};

/// The chunk size of ADR-20.
pub(crate) const CHUNK: usize = 128 * 1024;
/// How long the caller of a change may wait for its end, once it is stored or has failed. What is then left is done behind it.
pub(crate) const CLEAN_UP: Duration = Duration::from_secs(1);
/// How many tasks go on with that after an operation, where the server is away or the account may not remove chunks.
const MAX_CLEANERS: usize = 64;
/// How often the metadata is written again when others write to the same name.
pub(crate) const ATTEMPTS: usize = 16;
/// How many chunks may be on their way to a reader, or wait for it.
const READ_WINDOW: usize = 32;
/// What is read may come from a replica that is behind the one that acknowledged the write, or is replaced just then. So where chunks
/// are missing, a read begins again, after pauses that double.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_millis(200);
/// How many objects a list may have on their way.
const LIST_WINDOW: usize = 256;

/// What is read of an object that others may replace.
pub(crate) struct Version<'a> {
    pub(crate) size: usize,
    pub(crate) digest: &'a str,
}

impl Version<'_> {
    fn is(&self, meta: &Meta) -> bool {
        meta.size == self.size && meta.digest.as_deref() == Some(self.digest)
    }
}

/// An object that was stored.
pub(crate) struct Put {
    /// The revision of its metadata.
    pub(crate) revision: u64,
    pub(crate) digest: String,
}

#[derive(Clone)]
pub(crate) struct ObjectBucket {
    context: Context,
    budget: Arc<Budget>,
    name: String,
    stream: Stream,
    silence: Silence,
    cleaners: Arc<Semaphore>,
}

impl ObjectBucket {
    pub(crate) async fn open(
        context: &Context,
        budget: &Arc<Budget>,
        bucket: &str,
    ) -> Result<Self, StoreError> {
        let stream = context
            .get_stream(StoreKind::Object.stream_name(bucket))
            .await
            .map_err(|error| cannot_open(bucket, error))?;
        Ok(Self {
            context: context.clone(),
            budget: Arc::clone(budget),
            name: bucket.to_owned(),
            stream,
            silence: Silence::default(),
            cleaners: Arc::new(Semaphore::new(MAX_CLEANERS)),
        })
    }

    pub(crate) fn new_id(&self) -> String {
        crate::transport::subject::unique_id(&self.client())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn client(&self) -> Client {
        self.context.client()
    }

    /// Reads a whole object; `None` if there is none, or not the `version` that is wanted. The caller bounds the time.
    pub(crate) async fn get(
        &self,
        name: &str,
        version: Option<&Version<'_>>,
        timeout: Duration,
    ) -> Result<Option<(u64, Bytes)>, StoreError> {
        let is_wanted = |stored: &Stored| version.is_none_or(|version| version.is(&stored.meta));
        let found = self.get_if(name, timeout, is_wanted).await?;
        Ok(found.map(|(revision, _, data)| (revision, data)))
    }

    /// Reads a whole object with its revision and its time; `None` if there is none that is `wanted`.
    pub(crate) async fn get_if(
        &self,
        name: &str,
        timeout: Duration,
        wanted: impl Fn(&Stored) -> bool,
    ) -> Result<Option<(u64, SystemTime, Bytes)>, StoreError> {
        loop {
            let Some(chunks) = self.open_object(name, timeout, &wanted).await? else {
                return Ok(None);
            };
            let (revision, modified) = (chunks.stored.revision, chunks.stored.modified);
            let nuid = chunks.stored.meta.nuid.clone();
            match Box::pin(chunks.read()).await {
                Ok(data) => return Ok(Some((revision, modified, data))),
                Err(error) if *error.kind() == StoreErrorKind::Incomplete => {
                    let now = self.stored(name).await?;
                    if now.is_some_and(|now| now.meta.nuid == nuid) {
                        return Err(error);
                    }
                    // It was replaced or deleted meanwhile.
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Begins to read an object; `None` if there is none that is `wanted`.
    pub(crate) async fn open_object(
        &self,
        name: &str,
        timeout: Duration,
        wanted: impl Fn(&Stored) -> bool,
    ) -> Result<Option<Chunks>, StoreError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(stored) = self.stored(name).await?.filter(&wanted) else {
                return Ok(None);
            };
            let chunks = Chunks::open(self, stored, timeout).await?;
            if chunks.are_there() || pause > LAST_PAUSE {
                return Ok(Some(chunks));
            }
            drop(chunks);
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// The metadata of an object that is not deleted.
    pub(crate) async fn stored(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let stored = self.newest(name).await?;
        Ok(stored.filter(|stored| !stored.meta.deleted))
    }

    /// Stores an object under a name, in place of the one that was there. What is not stored by the deadline is removed, for
    /// which `patience` is taken and no more.
    pub(crate) async fn put(
        &self,
        name: &str,
        data: Bytes,
        deadline: Instant,
        patience: Duration,
    ) -> Result<Put, WriteError> {
        let chunks = (0..data.len())
            .step_by(CHUNK)
            .map(|start| Ok(data.slice(start..data.len().min(start + CHUNK))));
        let mut writer = ObjectWriter::new(self, name);
        let left = deadline.saturating_duration_since(Instant::now());
        let mut ignore = |_| {};
        let write = writer.write(
            CHUNK,
            stream::iter(chunks),
            Description::default(),
            left,
            &mut ignore,
        );
        let written = match tokio::time::timeout_at(deadline, write).await {
            Ok(written) => written,
            Err(_) => Err(WriteError::Uncertain(
                "the object was not stored in time".into(),
            )),
        };
        writer.finish(written, patience).await
    }

    /// Leave for one more task that removes what was left behind.
    pub(crate) fn cleaner(&self) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        Arc::clone(&self.cleaners).try_acquire_owned()
    }

    /// Takes an object away, and its chunks within `patience`, or later. A name without one is no error.
    pub(crate) async fn delete(&self, name: &str, patience: Duration) -> Result<(), WriteError> {
        let mut change = Change::delete(self, name);
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.newest(name).await? else {
                return Ok(());
            };
            if stored.meta.deleted {
                change.was_made(&stored);
            } else {
                let mut meta = stored.meta.clone();
                meta.deleted = true;
                meta.size = 0;
                meta.chunks = 0;
                meta.digest = None;
                match change.publish(&meta, Some(&stored)).await {
                    Err(WriteError::Conflict(_)) => continue,
                    published => published?,
                };
            }
            change.settle(patience).await;
            return Ok(());
        }
        Err(contended())
    }

    /// Stores metadata if the one there has the revision `expected`. Of several messages with one `id`, one is stored at most.
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
        let subject = self.meta_subject(&meta.name);
        let ack = self
            .context
            .publish_with_headers(subject, headers, json)
            .await
            .map_err(WriteError::new)?;
        ack.await.map(|ack| ack.sequence).map_err(WriteError::new)
    }

    /// Stores an empty message with the `id`, unless there was one before; `None` if the server refuses it.
    pub(crate) async fn publish_fence(&self, id: &str) -> Result<Option<PublishAck>, StoreError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id);
        let subject = self.chunks_of(id);
        let published = self
            .context
            .publish_with_headers(subject, headers, Bytes::new());
        let answer = match published.await {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(ack) => Ok(Some(ack)),
            Err(error) if is_full(&error) => Ok(None),
            Err(error) => match WriteError::new(error) {
                WriteError::Uncertain(error) => Err(WriteError::Uncertain(error).into()),
                _ => Ok(None),
            },
        }
    }

    /// Sends one chunk; what it gives is the acknowledgement to come.
    pub(crate) async fn publish(
        &self,
        subject: &str,
        chunk: Bytes,
    ) -> Result<PublishAckFuture, PublishError> {
        self.context.publish(subject.to_owned(), chunk).await
    }

    /// The metadata of an object, also if it says that it is deleted.
    pub(crate) async fn newest(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let subject = self.meta_subject(name);
        let message = match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                return Ok(None);
            }
            Err(error) => return Err(StoreError::nats("cannot read the object", error)),
        };
        let modified = message.time.into();
        Stored::read(name, message.sequence, modified, message.payload).map(Some)
    }

    /// Where the chunks of an object are.
    pub(crate) fn chunks(&self, meta: &Meta) -> Result<Range, StoreError> {
        if !is_token(&meta.nuid) {
            return Err(incomplete(&meta.name));
        }
        let subject = self.chunks_of(&meta.nuid);
        Ok(self.range(subject, Start::At(1), READ_WINDOW, false))
    }

    /// Asks for the chunks of an object that fit into one window; `None` if they do not, or do not come that way.
    pub(crate) async fn batch(
        &self,
        range: &Range,
        meta: &Meta,
        within: Duration,
    ) -> Option<Batch> {
        let is_small = meta.chunks <= READ_WINDOW && meta.size <= READ_WINDOW * CHUNK;
        if !is_small || !self.stream.cached_info().config.allow_direct {
            return None;
        }
        Batch::start(range, meta.chunks, meta.size, within, &self.silence).await
    }

    pub(crate) async fn consume_metas(&self, endless: bool) -> Result<OrderedConsumer, StoreError> {
        let subject = format!("$O.{}.M.>", self.name);
        let range = self.range(subject, Start::Newest, LIST_WINDOW, endless);
        OrderedConsumer::start(range).await
    }

    fn range(&self, subject: String, start: Start, window: usize, endless: bool) -> Range {
        Range {
            context: self.context.clone(),
            budget: Arc::clone(&self.budget),
            bucket: self.name.clone(),
            stream: StoreKind::Object.stream_name(&self.name),
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

    /// Removes chunks that no object refers to.
    pub(crate) async fn purge(&self, nuid: &str) -> Result<(), StoreError> {
        if !is_token(nuid) {
            return Ok(());
        }
        let purge = self.stream.purge().filter(self.chunks_of(nuid));
        match purge.await {
            Ok(_) => Ok(()),
            Err(error) => Err(StoreError::nats("cannot remove chunks", error)),
        }
    }
}

/// Whether an id is part of a subject and no more. It comes from metadata that others may have written, and a wildcard there would
/// stand for the chunks of all objects.
fn is_token(nuid: &str) -> bool {
    !nuid.is_empty()
        && nuid
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>'))
}

fn is_full(error: &PublishError) -> bool {
    let refused = error
        .source()
        .and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
    refused.is_some_and(|refused| refused.error_code() == ErrorCode::STREAM_STORE_FAILED)
}

pub(crate) fn contended() -> WriteError {
    WriteError::Uncertain("others keep writing to the same object".into())
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
