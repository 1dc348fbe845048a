//! The bytes of an object as an [`AsyncRead`].

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::io::{AsyncRead, ReadBuf};

use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::object::info::ObjectInfo;
use crate::store::object::read::Chunks;

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
