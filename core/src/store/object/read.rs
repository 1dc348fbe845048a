//! Reading an object chunk by chunk.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use ring::digest::{self, SHA256};
use tokio::io::{AsyncRead, ReadBuf};

use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::object::bucket::{CHUNK, ObjectBucket, digest_text};
use crate::store::object::info::{Meta, ObjectInfo, Stored, incomplete};
use crate::store::reader::direct::Batch;
use crate::store::reader::ordered::{Delivery, OrderedConsumer};

/// The chunks of one version of an object, in order. The last one is given out only after the digest was compared.
pub(crate) struct Chunks {
    pub(crate) stored: Stored,
    /// `None` for an object without bytes.
    source: Option<Source>,
    missing: usize,
    size: usize,
    digest: digest::Context,
    timeout: Duration,
}

enum Source {
    Batch(Box<Batch>),
    Consumer(Box<OrderedConsumer>),
}

impl Chunks {
    /// Each chunk must come within `timeout`.
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
            _ => Some(Source::open(bucket, &stored.meta, timeout).await?),
        };
        Ok(Self {
            missing: stored.meta.chunks,
            size: 0,
            digest: digest::Context::new(&SHA256),
            stored,
            source,
            timeout,
        })
    }

    /// Whether the server has as many chunks as the metadata says.
    pub(crate) fn are_there(&self) -> bool {
        match &self.source {
            Some(Source::Consumer(consumer)) => consumer.initial() >= self.missing as u64,
            // The server has said so.
            Some(Source::Batch(_)) | None => true,
        }
    }

    /// All of them in one piece.
    pub(crate) async fn read(mut self) -> Result<Bytes, StoreError> {
        // What the metadata says is not to be trusted with all of the memory.
        let mut data = BytesMut::with_capacity(self.stored.meta.size.min(64 * CHUNK));
        while let Some(chunk) = self.next().await? {
            data.extend_from_slice(&chunk);
        }
        Ok(data.freeze())
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(source) = self.source.as_mut().filter(|_| self.missing > 0) else {
            // With a chunk, this was looked at before.
            return match self.stored.meta.chunks {
                0 => self.check().map(|()| None),
                _ => Ok(None),
            };
        };
        let next = tokio::time::timeout(self.timeout, source.next()).await;
        let next = next.unwrap_or_else(|_| Err(StoreError::timed_out()))?;
        let chunk = next.ok_or_else(|| incomplete(&self.stored.meta.name))?;
        self.missing -= 1;
        self.size += chunk.len();
        // No more than the metadata says is ever held.
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

impl Source {
    async fn open(
        bucket: &ObjectBucket,
        meta: &Meta,
        timeout: Duration,
    ) -> Result<Self, StoreError> {
        let range = bucket.chunks(meta)?;
        if let Some(batch) = bucket.batch(&range, meta, timeout).await {
            return Ok(Self::Batch(Box::new(batch)));
        }
        let consumer = OrderedConsumer::start(range).await?;
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
                        Delivery::Message(chunk) => Ok(Some(chunk.payload)),
                        Delivery::CaughtUp => Ok(None),
                    };
                }
            }
        }
    }
}

/// The bytes of an object as they come; made by [`ObjectStore::reader`](crate::store::object::handle::ObjectStore::reader).
///
/// A few chunks are in memory at a time. The end is reported only after size and digest were found right; otherwise, and where
/// chunks are missing or do not come within the client's timeout, a read fails with an [`io::Error`] that holds a
/// [`StoreError`], of the kind [`Incomplete`](StoreErrorKind::Incomplete) or [`TimedOut`](StoreErrorKind::TimedOut). An object
/// that is replaced while it is being read is incomplete.
#[must_use = "a reader does nothing unless it is read"]
pub struct ObjectReader {
    info: ObjectInfo,
    chunks: BoxStream<'static, Result<Bytes, StoreError>>,
    rest: Bytes,
}

impl ObjectReader {
    pub(crate) fn new(chunks: Chunks) -> Self {
        let info = chunks.stored.clone().info();
        let chunks = stream::unfold(Some(Box::new(chunks)), |chunks| async {
            let mut chunks = chunks?;
            match chunks.next().await.transpose()? {
                Ok(chunk) => Some((Ok(chunk), Some(chunks))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Self {
            info,
            chunks: chunks.fuse().boxed(),
            rest: Bytes::new(),
        }
    }

    /// What is being read.
    #[must_use]
    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }
}

impl AsyncRead for ObjectReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.chunks.poll_next_unpin(cx)) {
                Some(Ok(chunk)) => self.rest = chunk,
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

fn io_error(error: StoreError) -> io::Error {
    let kind = match error.kind() {
        StoreErrorKind::Incomplete => io::ErrorKind::InvalidData,
        StoreErrorKind::TimedOut => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectReader")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}
