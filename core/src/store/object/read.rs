//! Reading the objects of a bucket: the chunks of one version, checked against their metadata.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use ring::digest::{self, SHA256};

use crate::backoff::Backoff;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::object::bucket::{CHUNK_SIZE, ObjectBucket, digest_text};
use crate::store::object::info::{Meta, Stored, incomplete};
use crate::store::reader::bucket_reader::BucketReader;
use crate::store::reader::delivery::ReaderEvent;
use crate::store::reader::direct::BatchGet;

/// The most attempts at a read that finds chunks missing: the replica that answers may lag behind the one that has acknowledged the
/// write, or may be about to be replaced.
const MAX_READ_ATTEMPTS: usize = 4;
/// The pauses between these attempts.
const READ_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(200));

/// Identifies the content of an object that others may replace.
pub(crate) struct Version<'a> {
    pub(crate) size: usize,
    pub(crate) digest: &'a str,
}

impl Version<'_> {
    fn matches(&self, meta: &Meta) -> bool {
        meta.size == self.size && meta.digest.as_deref() == Some(self.digest)
    }
}

/// Reads a whole object; `None` if there is none, or if it is not the wanted `version`. `timeout` bounds each chunk; the caller bounds
/// the whole.
pub(crate) async fn get(
    bucket: &ObjectBucket,
    name: &str,
    version: Option<&Version<'_>>,
    timeout: Duration,
) -> Result<Option<(u64, Bytes)>, StoreError> {
    let is_wanted = |stored: &Stored| version.is_none_or(|version| version.matches(&stored.meta));
    let found = get_if(bucket, name, timeout, is_wanted).await?;
    Ok(found.map(|(revision, _, data)| (revision, data)))
}

/// Reads a whole object with its revision and modification time; `None` unless there is one that `is_wanted`. Starts over if the object
/// is replaced during the read.
pub(crate) async fn get_if(
    bucket: &ObjectBucket,
    name: &str,
    timeout: Duration,
    is_wanted: impl Fn(&Stored) -> bool,
) -> Result<Option<(u64, SystemTime, Bytes)>, StoreError> {
    loop {
        let Some(chunks) = open(bucket, name, timeout, &is_wanted).await? else {
            return Ok(None);
        };
        let (revision, modified) = (chunks.stored.revision, chunks.stored.modified);
        let nuid = chunks.stored.meta.nuid.clone();
        match Box::pin(chunks.read()).await {
            Ok(data) => return Ok(Some((revision, modified, data))),
            Err(error) if *error.kind() == StoreErrorKind::Incomplete => {
                let current = bucket.stored(name).await?;
                if current.is_some_and(|current| current.meta.nuid == nuid) {
                    return Err(error);
                }
                // The object was replaced or deleted during the read: read the new version.
            }
            Err(error) => return Err(error),
        }
    }
}

/// Starts to read an object; `None` unless there is one that `is_wanted`.
pub(crate) async fn open(
    bucket: &ObjectBucket,
    name: &str,
    timeout: Duration,
    is_wanted: impl Fn(&Stored) -> bool,
) -> Result<Option<Chunks>, StoreError> {
    let mut backoff = READ_BACKOFF;
    for attempt in 1.. {
        let Some(stored) = bucket.stored(name).await?.filter(&is_wanted) else {
            break;
        };
        let chunks = Chunks::open(bucket, stored, timeout).await?;
        if chunks.are_complete() || attempt == MAX_READ_ATTEMPTS {
            return Ok(Some(chunks));
        }
        drop(chunks);
        backoff.wait().await;
    }
    Ok(None)
}

/// Reads the chunks of one version of an object in order. Invariant: the last chunk is returned only after size and digest were
/// verified, and never more bytes than the size in the metadata.
pub(crate) struct Chunks {
    pub(crate) stored: Stored,
    /// `None` for an object without bytes.
    source: Option<ChunkSource>,
    missing: usize,
    size: usize,
    digest: digest::Context,
    timeout: Duration,
    bucket: ObjectBucket,
}

enum ChunkSource {
    Batch(Box<BatchGet>),
    Consumer(Box<BucketReader>),
}

impl Chunks {
    /// Starts to read the chunks. Each of them must arrive within `timeout`.
    pub(crate) async fn open(
        bucket: &ObjectBucket,
        stored: Stored,
        timeout: Duration,
    ) -> Result<Self, StoreError> {
        if stored.is_link() {
            let text = format!("`{}` is a link, which is not followed", stored.meta.name);
            return Err(StoreError::unsupported(text));
        }
        let source = match stored.meta.chunks {
            0 => None,
            _ => Some(ChunkSource::open(bucket, &stored.meta, timeout).await?),
        };
        Ok(Self {
            missing: stored.meta.chunks,
            size: 0,
            digest: digest::Context::new(&SHA256),
            stored,
            source,
            timeout,
            bucket: bucket.clone(),
        })
    }

    /// Whether the server has all chunks that the metadata counts.
    pub(crate) fn are_complete(&self) -> bool {
        match &self.source {
            Some(ChunkSource::Consumer(consumer)) => {
                consumer.initial_pending() >= self.missing as u64
            }
            // A batched get starts only if the server has all chunks.
            Some(ChunkSource::Batch(_)) | None => true,
        }
    }

    /// All chunks in one piece.
    pub(crate) async fn read(mut self) -> Result<Bytes, StoreError> {
        // The size comes from metadata that others may have written, so it reserves a bounded amount of memory.
        let mut data = BytesMut::with_capacity(self.stored.meta.size.min(64 * CHUNK_SIZE));
        while let Some(chunk) = self.next().await? {
            data.extend_from_slice(&chunk);
        }
        Ok(data.freeze())
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(source) = self.source.as_mut().filter(|_| self.missing > 0) else {
            // An object with chunks was verified with the last one.
            return match self.stored.meta.chunks {
                0 => self.check().map(|()| None),
                _ => Ok(None),
            };
        };
        let next = tokio::time::timeout(self.timeout, source.next()).await;
        let next = next.unwrap_or_else(|_| Err(self.bucket.timed_out()))?;
        let chunk = next.ok_or_else(|| incomplete(&self.stored.meta.name))?;
        self.missing -= 1;
        self.size += chunk.len();
        if self.size > self.stored.meta.size {
            return Err(incomplete(&self.stored.meta.name));
        }
        self.digest.update(&chunk);
        if self.missing == 0 {
            self.check()?;
        }
        Ok(Some(chunk))
    }

    fn check(&self) -> Result<(), StoreError> {
        let digest = digest_text(&self.digest);
        let expected = self.stored.meta.digest.as_ref();
        let expected = expected.filter(|digest| !digest.is_empty());
        if self.size == self.stored.meta.size && expected.is_none_or(|expected| *expected == digest)
        {
            Ok(())
        } else {
            Err(incomplete(&self.stored.meta.name))
        }
    }
}

impl ChunkSource {
    async fn open(
        bucket: &ObjectBucket,
        meta: &Meta,
        timeout: Duration,
    ) -> Result<Self, StoreError> {
        let range = bucket.chunks(meta)?;
        if let Some(batch) = bucket.batch(&range, meta, timeout).await {
            return Ok(Self::Batch(Box::new(batch)));
        }
        let consumer = BucketReader::start(range).await?;
        Ok(Self::Consumer(Box::new(consumer)))
    }

    /// The next chunk; `None` if the server has no more.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            match self {
                Self::Batch(batch) => match batch.next().await {
                    Some(chunk) => return Ok(Some(chunk)),
                    None => *self = Self::Consumer(Box::new(batch.consume_rest().await?)),
                },
                Self::Consumer(consumer) => {
                    return match consumer.next().await? {
                        ReaderEvent::Message(chunk) => Ok(Some(chunk.payload)),
                        ReaderEvent::CaughtUp => Ok(None),
                    };
                }
            }
        }
    }
}
