//! Storing an object chunk by chunk.

use std::collections::{HashMap, VecDeque};
use std::future::IntoFuture;
use std::time::Duration;

use async_nats::jetstream::context::PublishAckFuture;
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use ring::digest::{self, SHA256};
use tokio::time::Instant;

use crate::store::error::{StoreError, WriteError};
use crate::store::object::bucket::{ATTEMPTS, CHUNK, ObjectBucket, contended, digest_text};
use crate::store::object::change::Change;
use crate::store::object::info::{Meta, Options};

/// How many bytes are on their way at once, unless a single chunk is larger.
const WINDOW: usize = 4 << 20;

/// What an object says about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    pub(crate) description: Option<String>,
    pub(crate) metadata: HashMap<String, String>,
}

/// An object that was stored.
pub(crate) struct Put {
    /// The revision of its metadata.
    pub(crate) revision: u64,
    pub(crate) digest: String,
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

/// Stores an object under a name, in place of the one that was there. What is not stored by the deadline is removed, for
/// which `patience` is taken and no more.
pub(crate) async fn put(
    bucket: &ObjectBucket,
    name: &str,
    data: Bytes,
    deadline: Instant,
    patience: Duration,
) -> Result<Put, WriteError> {
    let chunks = (0..data.len())
        .step_by(CHUNK)
        .map(|start| Ok(data.slice(start..data.len().min(start + CHUNK))));
    let mut writer = ObjectWriter::new(bucket, name);
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
