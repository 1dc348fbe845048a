//! The builder of a put that stores the bytes of a reader.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::descriptor::bucket::StoreKind;
use crate::store::bucket::jetstream::JetStream;
use crate::store::error::{StoreError, StoreErrorKind, WriteError};
use crate::store::object::bucket::{CHUNK_SIZE, CLEAN_UP_TIMEOUT, ObjectBucket};
use crate::store::object::info::check_name;
use crate::store::object::write::{Description, ObjectWriter};

/// The largest `max_payload` that a server can be set to.
const MAX_CHUNK_SIZE: usize = 64 << 20;

/// A put of the bytes of a reader; made by [`ObjectStore::put_from`](crate::store::object::handle::ObjectStore::put_from). It starts when
/// it is awaited, and returns the revision of the object.
#[must_use = "nothing is stored unless it is awaited"]
pub struct PutFromBuilder<'a> {
    jetstream: Result<Arc<JetStream>, StoreError>,
    bucket: &'static str,
    name: String,
    reader: Pin<Box<dyn AsyncRead + Send + 'a>>,
    chunk_size: usize,
    description: Description,
    progress: Box<dyn FnMut(u64) + Send + 'a>,
}

impl<'a> PutFromBuilder<'a> {
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
            chunk_size: CHUNK_SIZE,
            description: Description::default(),
            progress: Box::new(|_| {}),
        }
    }

    /// Sets the size of a chunk in bytes, by default 128 KiB. A chunk must fit into the server's `max_payload`, and has at most
    /// 64 MiB, the largest `max_payload` that a server can be set to.
    pub fn with_chunk_size(mut self, bytes: usize) -> Self {
        self.chunk_size = bytes.clamp(1, MAX_CHUNK_SIZE);
        self
    }

    /// Sets the description of the object.
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description.description = Some(description.into());
        self
    }

    /// Adds a name and a value to the metadata of the object.
    pub fn with_metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.description.metadata.insert(name.into(), value.into());
        self
    }

    /// Calls `progress` after each stored chunk, with the number of bytes that are stored so far.
    pub fn with_progress(mut self, progress: impl FnMut(u64) + Send + 'a) -> Self {
        self.progress = Box::new(progress);
        self
    }

    async fn put(mut self) -> Result<u64, StoreError> {
        check_name(&self.name)?;
        let jetstream = self.jetstream?;
        let bucket = jetstream
            .within(
                StoreKind::Object,
                self.bucket,
                jetstream.open::<ObjectBucket>(self.bucket),
            )
            .await?;
        bucket.check_takes_writes().await?;
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
        match writer.finish(written, CLEAN_UP_TIMEOUT).await {
            Ok(put) => Ok(put.revision),
            Err(error) => Err(jetstream
                .explain(StoreKind::Object, self.bucket, error.into())
                .await),
        }
    }
}

/// Reads until a chunk is full, so that short reads do not make small chunks.
fn chunks_of<'a>(
    reader: Pin<Box<dyn AsyncRead + Send + 'a>>,
    chunk_size: usize,
) -> impl Stream<Item = Result<Bytes, WriteError>> + Send + use<'a> {
    futures::stream::unfold(Some(reader), move |reader| async move {
        let mut reader = reader?;
        let mut chunk = BytesMut::with_capacity(chunk_size);
        while chunk.len() < chunk_size {
            let missing = chunk_size - chunk.len();
            match reader.read_buf(&mut (&mut chunk).limit(missing)).await {
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

impl<'a> IntoFuture for PutFromBuilder<'a> {
    type Output = Result<u64, StoreError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        self.put().boxed()
    }
}

impl fmt::Debug for PutFromBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutFromBuilder")
            .field("bucket", &self.bucket)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_chunk_is_128_kib_or_up_to_64_mib() {
        let put = || {
            let jetstream = Err(StoreError::not_configured());
            PutFromBuilder::new(jetstream, "bucket", "name", tokio::io::empty())
        };
        assert_eq!(put().chunk_size, 128 << 10);
        for (set, size) in [(0, 1), (7, 7), (64 << 20, 64 << 20), (usize::MAX, 64 << 20)] {
            assert_eq!(put().with_chunk_size(set).chunk_size, size);
        }
    }
}
