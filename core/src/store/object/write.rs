//! Storing an object chunk by chunk.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use ring::digest::{self, SHA256};
use tokio::time::Instant;

use crate::backoff;
use crate::store::error::WriteError;
use crate::store::object::bucket::{CHUNK_SIZE, Contention, ObjectBucket, digest_text};
use crate::store::object::change::Change;
use crate::store::object::info::{Meta, Options};

/// The most unacknowledged bytes, unless a single chunk is larger.
const WINDOW_BYTES: usize = 4 << 20;

/// The optional parts of the metadata of an object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    pub(crate) description: Option<String>,
    pub(crate) metadata: HashMap<String, String>,
}

/// An object that was stored.
pub(crate) struct StoredObject {
    /// The revision of its metadata.
    pub(crate) revision: u64,
    pub(crate) digest: String,
}

/// The chunks of an object, all acknowledged.
struct WrittenChunks {
    size: usize,
    chunks: usize,
    digest: String,
}

/// Stores an object. Unless it is stored as a whole, its chunks are removed, also if the writer is dropped.
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

    /// Stores the chunks and then the metadata, and returns the revision. Each chunk must be acknowledged within `timeout`, and so must
    /// the metadata. `progress` is called with the number of acknowledged bytes.
    pub(crate) async fn write(
        &mut self,
        chunk_size: usize,
        chunks: impl Stream<Item = Result<Bytes, WriteError>> + Send,
        description: Description,
        timeout: Duration,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<u64, WriteError> {
        let mut sent = 0;
        let written = self
            .write_chunks(chunk_size, chunks, timeout, progress, &mut sent)
            .await;
        if sent == 1 && written.as_ref().is_err_and(WriteError::is_refusal) {
            self.change.has_no_chunks();
        }
        let written = written?;
        self.digest = written.digest;
        let meta = Meta {
            name: self.change.name().to_owned(),
            description: description.description,
            metadata: (!description.metadata.is_empty()).then_some(description.metadata),
            headers: None,
            options: Some(Options {
                link: None,
                max_chunk_size: Some(chunk_size),
            }),
            bucket: self.change.bucket().name().to_owned(),
            nuid: self.change.new_chunks().to_owned(),
            size: written.size,
            chunks: written.chunks,
            digest: Some(self.digest.clone()),
            deleted: false,
        };
        let bucket = self.change.bucket().clone();
        let deadline = backoff::after(Instant::now(), timeout);
        tokio::time::timeout_at(deadline, self.publish(&meta, deadline))
            .await
            .unwrap_or_else(|_| Err(timed_out(&bucket)))
    }

    /// Stores the chunks, with up to [`WINDOW_BYTES`] unacknowledged. Counts those that are sent.
    async fn write_chunks(
        &self,
        chunk_size: usize,
        chunks: impl Stream<Item = Result<Bytes, WriteError>> + Send,
        timeout: Duration,
        progress: &mut (dyn FnMut(u64) + Send),
        sent: &mut usize,
    ) -> Result<WrittenChunks, WriteError> {
        let bucket = self.change.bucket();
        let subject = bucket.chunks_of(self.change.new_chunks());
        let window = (WINDOW_BYTES / chunk_size.max(1)).max(1);
        let mut acks = VecDeque::with_capacity(window);
        let mut digest = digest::Context::new(&SHA256);
        let (mut size, mut acknowledged) = (0, 0);
        let mut chunks = std::pin::pin!(chunks);
        loop {
            let chunk = chunks.next().await.transpose()?;
            if acks.len() == window || chunk.is_none() {
                let Some((ack, length)) = acks.pop_front() else {
                    break;
                };
                tokio::time::timeout(timeout, ack)
                    .await
                    .map_err(|_| timed_out(bucket))??;
                acknowledged += length as u64;
                progress(acknowledged);
            }
            let Some(chunk) = chunk else { continue };
            digest.update(&chunk);
            size += chunk.len();
            *sent += 1;
            let length = chunk.len();
            // One after the other: chunks are read in the order in which they are stored.
            let ack = tokio::time::timeout(timeout, bucket.send_chunk(&subject, chunk))
                .await
                .map_err(|_| timed_out(bucket))??;
            acks.push_back((Box::pin(ack), length));
        }
        Ok(WrittenChunks {
            size,
            chunks: *sent,
            digest: digest_text(&digest),
        })
    }

    /// Stores the metadata that makes the chunks the object. It replaces one known version, whose chunks are removed afterwards.
    async fn publish(&mut self, meta: &Meta, deadline: Instant) -> Result<u64, WriteError> {
        let mut contention = Contention::until(deadline);
        loop {
            let current = self.change.bucket().current(&meta.name).await?;
            match self.change.publish(meta, current.as_ref()).await {
                Err(WriteError::Conflict(_)) => contention.pause().await?,
                published => return published,
            }
        }
    }

    /// Ends a put: removes its own chunks if it has failed, and the replaced ones if it has succeeded. A put whose acknowledgement was lost
    /// may turn out to be stored.
    pub(crate) async fn finish(
        self,
        written: Result<u64, WriteError>,
        clean_up_timeout: Duration,
    ) -> Result<StoredObject, WriteError> {
        let stored = self.change.settle(clean_up_timeout).await;
        let revision = match stored {
            Some(revision) => revision,
            None => written?,
        };
        Ok(StoredObject {
            revision,
            digest: self.digest,
        })
    }
}

fn timed_out(bucket: &ObjectBucket) -> WriteError {
    WriteError::Uncertain(Box::new(bucket.timed_out()))
}

/// Stores an object under a name, in place of an earlier one. An object that is not stored by the deadline is removed; the
/// caller waits up to `clean_up_timeout` for that.
pub(crate) async fn put(
    bucket: &ObjectBucket,
    name: &str,
    data: Bytes,
    deadline: Instant,
    clean_up_timeout: Duration,
) -> Result<StoredObject, WriteError> {
    let chunks = (0..data.len())
        .step_by(CHUNK_SIZE)
        .map(|start| Ok(data.slice(start..data.len().min(start + CHUNK_SIZE))));
    let mut writer = ObjectWriter::new(bucket, name);
    let remaining = deadline.saturating_duration_since(Instant::now());
    let mut ignore = |_| {};
    let write = writer.write(
        CHUNK_SIZE,
        stream::iter(chunks),
        Description::default(),
        remaining,
        &mut ignore,
    );
    let written = match tokio::time::timeout_at(deadline, write).await {
        Ok(written) => written,
        Err(_) => Err(WriteError::Uncertain(
            "the object was not stored in time".into(),
        )),
    };
    writer.finish(written, clean_up_timeout).await
}
