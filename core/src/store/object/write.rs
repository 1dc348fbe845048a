//! Storing an object chunk by chunk.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::PublishAckFuture;
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{Stream, StreamExt};
use ring::digest::{self, SHA256};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::descriptor::bucket::StoreKind;
use crate::store::bucket::jetstream::JetStream;
use crate::store::error::{StoreError, StoreErrorKind, WriteError};
use crate::store::object::bucket::{
    ATTEMPTS, CHUNK, CLEAN_UP, ObjectBucket, Put, contended, digest_text,
};
use crate::store::object::change::Change;
use crate::store::object::handle::checked;
use crate::store::object::info::{Meta, Options};

/// How many bytes are on their way at once, unless a single chunk is larger.
const WINDOW: usize = 4 << 20;

/// What an object says about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    pub(crate) description: Option<String>,
    pub(crate) metadata: HashMap<String, String>,
}

/// Puts an object, and takes back what it has written unless that is all of it: also if it is dropped.
pub(crate) struct ObjectWriter {
    change: Change,
    digest: String,
}

impl ObjectWriter {
    pub(crate) fn new(bucket: &ObjectBucket, name: &str) -> Self {
        Self {
            change: Change::put(bucket, name),
            digest: String::new(),
        }
    }

    /// Stores the chunks, and then makes them the object, and gives its revision. Each chunk must be acknowledged within
    /// `timeout`, as must be the end, and `progress` gets the number of bytes that are.
    pub(crate) async fn write(
        &mut self,
        chunk_size: usize,
        chunks: impl Stream<Item = Result<Bytes, WriteError>> + Send,
        description: Description,
        timeout: Duration,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<u64, WriteError> {
        let bucket = self.change.bucket().clone();
        let subject = bucket.chunks_of(self.change.new_chunks());
        let window = (WINDOW / chunk_size.max(1)).max(1);
        let mut acks = VecDeque::<(PublishAckFuture, usize)>::with_capacity(window);
        let mut digest = digest::Context::new(&SHA256);
        let (mut size, mut count, mut acknowledged) = (0, 0, 0);
        let mut chunks = std::pin::pin!(chunks);
        loop {
            let chunk = chunks.next().await.transpose()?;
            if acks.len() == window || chunk.is_none() {
                let Some((ack, length)) = acks.pop_front() else {
                    break;
                };
                tokio::time::timeout(timeout, IntoFuture::into_future(ack))
                    .await
                    .map_err(|_| too_late())?
                    .map_err(WriteError::new)?;
                acknowledged += length as u64;
                progress(acknowledged);
            }
            let Some(chunk) = chunk else { continue };
            digest.update(&chunk);
            size += chunk.len();
            count += 1;
            let length = chunk.len();
            // One after the other: they are read in the order in which they are stored.
            let ack = tokio::time::timeout(timeout, bucket.publish(&subject, chunk))
                .await
                .map_err(|_| too_late())?
                .map_err(WriteError::new)?;
            acks.push_back((ack, length));
        }
        self.digest = digest_text(&digest);
        let meta = Meta {
            name: self.change.name().to_owned(),
            description: description.description,
            metadata: (!description.metadata.is_empty()).then_some(description.metadata),
            headers: None,
            options: Some(Options {
                link: None,
                max_chunk_size: Some(chunk_size),
            }),
            bucket: bucket.name().to_owned(),
            nuid: self.change.new_chunks().to_owned(),
            size,
            chunks: count,
            digest: Some(self.digest.clone()),
            deleted: false,
        };
        tokio::time::timeout(timeout, self.publish(&meta))
            .await
            .unwrap_or_else(|_| Err(too_late()))
    }

    /// Makes the chunks the object. Whoever replaces a version knows exactly which one, so that its chunks are removed.
    async fn publish(&mut self, meta: &Meta) -> Result<u64, WriteError> {
        for _ in 0..ATTEMPTS {
            let there = self.change.bucket().newest(&meta.name).await?;
            match self.change.publish(meta, there.as_ref()).await {
                Err(WriteError::Conflict(_)) => {}
                published => return published,
            }
        }
        Err(contended())
    }

    /// Ends a put: removes its chunks if it has failed, and those that it replaces if not. It may not have failed, after all.
    pub(crate) async fn finish(
        self,
        written: Result<u64, WriteError>,
        patience: Duration,
    ) -> Result<Put, WriteError> {
        let stored = self.change.settle(patience).await;
        let revision = match stored {
            Some(revision) => revision,
            None => written?,
        };
        Ok(Put {
            revision,
            digest: self.digest,
        })
    }
}

fn too_late() -> WriteError {
    WriteError::Uncertain(Box::new(StoreError::timed_out()))
}

/// A put about to begin: await it; made by [`ObjectStore::put_from`](crate::store::object::handle::ObjectStore::put_from). It gives the revision of the
/// object.
#[must_use = "nothing is stored unless it is awaited"]
pub struct PutFrom<'a> {
    jetstream: Result<Arc<JetStream>, StoreError>,
    bucket: &'static str,
    name: String,
    reader: Pin<Box<dyn AsyncRead + Send + 'a>>,
    chunk_size: usize,
    description: Description,
    progress: Box<dyn FnMut(u64) + Send + 'a>,
}

impl<'a> PutFrom<'a> {
    pub(crate) fn new(
        jetstream: Result<Arc<JetStream>, StoreError>,
        bucket: &'static str,
        name: &str,
        reader: impl AsyncRead + Send + 'a,
    ) -> Self {
        Self {
            jetstream,
            bucket,
            name: name.to_owned(),
            reader: Box::pin(reader),
            chunk_size: CHUNK,
            description: Description::default(),
            progress: Box::new(|_| {}),
        }
    }

    /// How many bytes a chunk has: 128 KiB unless this says something else. It must fit into the server's `max_payload`.
    pub fn with_chunk_size(mut self, bytes: usize) -> Self {
        self.chunk_size = bytes.max(1);
        self
    }

    /// What the object says about itself.
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description.description = Some(description.into());
        self
    }

    /// Adds to the metadata of the object.
    pub fn with_metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.description.metadata.insert(name.into(), value.into());
        self
    }

    /// Is called with the number of bytes that are stored so far, after each chunk.
    pub fn with_progress(mut self, progress: impl FnMut(u64) + Send + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }

    async fn put(mut self) -> Result<u64, StoreError> {
        checked(&self.name)?;
        let jetstream = self.jetstream?;
        let bucket: Arc<ObjectBucket> = jetstream.within(jetstream.objects(self.bucket)).await?;
        let mut writer = ObjectWriter::new(&bucket, &self.name);
        let chunks = chunks_of(self.reader, self.chunk_size);
        let written = writer
            .write(
                self.chunk_size,
                chunks,
                self.description,
                jetstream.timeout,
                &mut *self.progress,
            )
            .await;
        match writer.finish(written, CLEAN_UP).await {
            Ok(put) => Ok(put.revision),
            Err(error) => Err(jetstream
                .explain(StoreKind::Object, self.bucket, error.into())
                .await),
        }
    }
}

/// Reads until a chunk is full: a source with short reads would otherwise make as many small chunks.
fn chunks_of<'a>(
    reader: Pin<Box<dyn AsyncRead + Send + 'a>>,
    chunk_size: usize,
) -> impl Stream<Item = Result<Bytes, WriteError>> + Send + use<'a> {
    futures::stream::unfold(Some(reader), move |reader| async move {
        let mut reader = reader?;
        let mut chunk = BytesMut::with_capacity(chunk_size);
        while chunk.len() < chunk_size {
            let room = chunk_size - chunk.len();
            match reader.read_buf(&mut (&mut chunk).limit(room)).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    let text = "what was to be stored could not be read";
                    let error = StoreError::new(StoreErrorKind::Reader, text).with_source(error);
                    return Some((Err(WriteError::Refused(error.into())), None));
                }
            }
        }
        (!chunk.is_empty()).then(|| (Ok(chunk.freeze()), Some(reader)))
    })
    .fuse()
}

impl<'a> IntoFuture for PutFrom<'a> {
    type Output = Result<u64, StoreError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.put().boxed()
    }
}

impl fmt::Debug for PutFrom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutFrom")
            .field("bucket", &self.bucket)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
