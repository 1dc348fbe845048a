//! One Object Store bucket, in bytes, in the layout of ADR-20.
//!
//! Reading is async-nats's. Writing is our own: async-nats waits for each chunk in turn, leaves the chunks of a failed put
//! behind, and leaks the chunks of all but one of several concurrent puts to one name.

use std::collections::HashMap;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_ROLLUP};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::object_store::{self, GetErrorKind, ObjectInfo, ObjectOptions};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};
use ring::digest::{SHA256, digest};
use tokio::io::AsyncReadExt;

use super::error::WriteError;
use super::jetstream::cannot_open;
use super::{StoreError, StoreErrorKind};

/// The chunk size of ADR-20.
const CHUNK: usize = 128 * 1024;
/// How many chunks are on their way at once.
const WINDOW: usize = 16;
/// How often the metadata is written again when others write to the same name.
const ATTEMPTS: usize = 16;

pub(crate) struct ObjectBucket {
    context: Context,
    name: String,
    store: object_store::ObjectStore,
    stream: Stream,
}

/// The metadata of an object as it is stored, and where.
struct Stored {
    info: ObjectInfo,
    revision: u64,
}

impl ObjectBucket {
    pub(crate) async fn open(context: &Context, bucket: &str) -> Result<Self, StoreError> {
        let store = context
            .get_object_store(bucket)
            .await
            .map_err(|error| cannot_open(bucket, error))?;
        let stream = context
            .get_stream(format!("OBJ_{bucket}"))
            .await
            .map_err(|error| StoreError::nats("cannot open the bucket", error))?;
        Ok(Self {
            context: context.clone(),
            name: bucket.to_owned(),
            store,
            stream,
        })
    }

    /// Reads a whole object; `None` if there is none.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let mut object = match self.store.get(name).await {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::nats("cannot read the object", error)),
        };
        let size = object.info().size;
        let incomplete = || format!("object `{name}` is incomplete or damaged");
        let mut data = BytesMut::with_capacity(size.min(64 * CHUNK));
        while object.read_buf(&mut data).await.map_err(|error| {
            StoreError::new(StoreErrorKind::Incomplete, incomplete()).with_source(error)
        })? > 0
        {}
        if data.len() != size {
            return Err(StoreError::new(StoreErrorKind::Incomplete, incomplete()));
        }
        Ok(Some(data.freeze()))
    }

    /// Stores an object under a name, in place of the one that was there, and returns the revision of its metadata.
    pub(crate) async fn put(&self, name: &str, data: Bytes) -> Result<u64, WriteError> {
        let nuid = crate::nats::unique_id(&self.context.client());
        let chunks = format!("$O.{}.C.{nuid}", self.name);
        let written = async {
            self.write_chunks(&chunks, &data).await?;
            self.write_info(name, &nuid, &data).await
        };
        let error = match written.await {
            Ok(revision) => return Ok(revision),
            Err(error) => error,
        };
        if let WriteError::Uncertain(_) = error {
            match self.stored(name).await {
                Ok(Some(stored)) if stored.info.nuid == nuid => return Ok(stored.revision),
                Ok(_) => {}
                // The object may be there, and then needs its chunks.
                Err(_) => return Err(error),
            }
        }
        self.purge(&chunks).await;
        Err(error)
    }

    /// Takes an object away. A name without one is no error.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), WriteError> {
        for _ in 0..ATTEMPTS {
            let Some(Stored { mut info, revision }) = self.stored(name).await? else {
                return Ok(());
            };
            if info.deleted {
                return Ok(());
            }
            info.deleted = true;
            info.size = 0;
            info.chunks = 0;
            match self.publish_info(&info, revision).await {
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    self.purge(&self.chunks_of(&info)).await;
                    return Ok(());
                }
            }
        }
        Err(WriteError::Uncertain(
            "others keep writing to the same object".into(),
        ))
    }

    async fn write_chunks(&self, subject: &str, data: &Bytes) -> Result<(), WriteError> {
        stream::iter((0..data.len()).step_by(CHUNK))
            .map(|start| {
                let chunk = data.slice(start..data.len().min(start + CHUNK));
                async move {
                    let ack = self
                        .context
                        .publish(subject.to_owned(), chunk)
                        .await
                        .map_err(WriteError::new)?;
                    ack.await.map_err(WriteError::new)
                }
            })
            // In order: the chunks are read back in the order in which they were stored.
            .buffered(WINDOW)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await
    }

    /// Makes the new chunks the object, and removes those that it had. Whoever replaces a version knows exactly which one, so
    /// none is left behind.
    async fn write_info(&self, name: &str, nuid: &str, data: &Bytes) -> Result<u64, WriteError> {
        let info = ObjectInfo {
            name: name.to_owned(),
            description: None,
            metadata: HashMap::new(),
            headers: None,
            options: Some(ObjectOptions {
                link: None,
                max_chunk_size: Some(CHUNK),
            }),
            bucket: self.name.clone(),
            nuid: nuid.to_owned(),
            size: data.len(),
            chunks: data.len().div_ceil(CHUNK),
            modified: None,
            digest: Some(format!(
                "SHA-256={}",
                URL_SAFE.encode(digest(&SHA256, data))
            )),
            deleted: false,
        };
        for _ in 0..ATTEMPTS {
            let replaced = self.stored(name).await?;
            let revision = replaced.as_ref().map_or(0, |stored| stored.revision);
            match self.publish_info(&info, revision).await {
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(error),
                Ok(revision) => {
                    if let Some(Stored { info: old, .. }) =
                        replaced.filter(|stored| !stored.info.deleted)
                    {
                        self.purge(&self.chunks_of(&old)).await;
                    }
                    return Ok(revision);
                }
            }
        }
        Err(WriteError::Uncertain(
            "others keep writing to the same object".into(),
        ))
    }

    async fn publish_info(&self, info: &ObjectInfo, expected: u64) -> Result<u64, WriteError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_ROLLUP, "sub");
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            async_nats::HeaderValue::from(expected),
        );
        let json = serde_json::to_vec(info).map_err(|error| WriteError::Refused(error.into()))?;
        let subject = self.info_subject(&info.name);
        let ack = self
            .context
            .publish_with_headers(subject, headers, json.into())
            .await
            .map_err(WriteError::new)?;
        ack.await.map(|ack| ack.sequence).map_err(WriteError::new)
    }

    async fn stored(&self, name: &str) -> Result<Option<Stored>, WriteError> {
        let message = match self
            .stream
            .get_last_raw_message_by_subject(&self.info_subject(name))
            .await
        {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                return Ok(None);
            }
            Err(error) => return Err(WriteError::new(error)),
        };
        let info = serde_json::from_slice(&message.payload)
            .map_err(|error| WriteError::Refused(error.into()))?;
        Ok(Some(Stored {
            info,
            revision: message.sequence,
        }))
    }

    fn info_subject(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.name, URL_SAFE.encode(name))
    }

    fn chunks_of(&self, info: &ObjectInfo) -> String {
        format!("$O.{}.C.{}", self.name, info.nuid)
    }

    /// Removes chunks that no object refers to. A failure costs space and nothing else.
    async fn purge(&self, chunks: &str) {
        if let Err(error) = self.stream.purge().filter(chunks).await {
            tracing::warn!(bucket = self.name, %error, "cannot remove the chunks of a replaced object");
        }
    }
}

impl std::fmt::Debug for ObjectBucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectBucket")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
