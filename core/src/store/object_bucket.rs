//! One Object Store bucket, in bytes, in the layout of ADR-20.
//!
//! This does what async-nats's object store does not: it waits for many chunks at once, removes those of a failed put and those
//! of all but one of several concurrent puts to one name, and notices that an object that is being read was replaced.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_ROLLUP};
use async_nats::jetstream::consumer::push::OrderedConfig;
use async_nats::jetstream::context::Context;
use async_nats::jetstream::object_store::{ObjectInfo, ObjectOptions};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use super::error::WriteError;
use super::jetstream::cannot_open;
use super::{StoreError, StoreErrorKind};

/// The chunk size of ADR-20.
const CHUNK: usize = 128 * 1024;
/// How long a put that failed may take to remove its chunks.
pub(crate) const CLEAN_UP: Duration = Duration::from_secs(1);
/// How many chunks are on their way at once.
const WINDOW: usize = 16;
/// How long a reader waits for a chunk before it looks whether there is one to come.
const STALLED: Duration = Duration::from_secs(1);
/// How often the metadata is written again when others write to the same name.
const ATTEMPTS: usize = 16;

pub(crate) struct ObjectBucket {
    context: Context,
    name: String,
    stream: Stream,
}

/// The metadata of an object as it is stored, and where.
struct Stored {
    info: ObjectInfo,
    revision: u64,
}

impl ObjectBucket {
    pub(crate) async fn open(context: &Context, bucket: &str) -> Result<Self, StoreError> {
        let stream = context
            .get_stream(format!("OBJ_{bucket}"))
            .await
            .map_err(|error| cannot_open(bucket, error))?;
        Ok(Self {
            context: context.clone(),
            name: bucket.to_owned(),
            stream,
        })
    }

    /// Reads a whole object; `None` if there is none.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<(u64, Bytes)>, StoreError> {
        loop {
            let Some(Stored { info, revision }) = self.info(name).await? else {
                return Ok(None);
            };
            if let Some(data) = self.read(&info).await? {
                return Ok(Some((revision, data)));
            }
            // It was replaced or deleted meanwhile.
        }
    }

    /// The metadata of an object that is not deleted.
    async fn info(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let stored = self.stored(name).await.map_err(|error| {
            let (WriteError::Conflict(source)
            | WriteError::Refused(source)
            | WriteError::TooLarge(source)
            | WriteError::Uncertain(source)) = error;
            StoreError::new(StoreErrorKind::Nats, "cannot read the object").with_source(source)
        })?;
        Ok(stored.filter(|stored| !stored.info.deleted))
    }

    /// Reads the data of an object; `None` if it is no longer what is stored under this name.
    async fn read(&self, info: &ObjectInfo) -> Result<Option<Bytes>, StoreError> {
        let failed = "cannot read the object";
        if info
            .options
            .as_ref()
            .is_some_and(|options| options.link.is_some())
        {
            let text = format!("`{}` is a link, which is not followed", info.name);
            return Err(StoreError::new(StoreErrorKind::Unsupported, text));
        }
        let mut data = BytesMut::with_capacity(info.size.min(64 * CHUNK));
        if info.chunks > 0 {
            let consumer = self
                .stream
                .create_consumer(OrderedConfig {
                    deliver_subject: self.context.client().new_inbox(),
                    filter_subject: self.chunks_of(info),
                    ..OrderedConfig::default()
                })
                .await
                .map_err(|error| StoreError::nats(failed, error))?;
            if consumer.cached_info().num_pending < info.chunks as u64 {
                return self.gone(info).await;
            }
            let mut chunks = consumer
                .messages()
                .await
                .map_err(|error| StoreError::nats(failed, error))?;
            let mut missing = info.chunks;
            while missing > 0 {
                match tokio::time::timeout(STALLED, chunks.next()).await {
                    Ok(Some(chunk)) => {
                        let chunk = chunk.map_err(|error| StoreError::nats(failed, error))?;
                        data.extend_from_slice(&chunk.payload);
                        missing -= 1;
                    }
                    Ok(None) => return Err(StoreError::new(StoreErrorKind::Nats, failed)),
                    Err(_) if self.has_chunks(info).await? => {}
                    Err(_) => return self.gone(info).await,
                }
            }
        }
        let digest_matches = info
            .digest
            .as_ref()
            .is_none_or(|digest| *digest == digest_of(&data));
        if data.len() != info.size || !digest_matches {
            return Err(incomplete(&info.name));
        }
        Ok(Some(data.freeze()))
    }

    /// Whether all chunks of an object are still there.
    async fn has_chunks(&self, info: &ObjectInfo) -> Result<bool, StoreError> {
        let subject = self.chunks_of(info);
        let subjects = self
            .stream
            .info_with_subjects(&subject)
            .await
            .map_err(|error| StoreError::nats("cannot read the object", error))?
            .try_collect::<Vec<_>>()
            .await
            .map_err(|error| StoreError::nats("cannot read the object", error))?;
        let found: usize = subjects.into_iter().map(|(_, count)| count).sum();
        Ok(found >= info.chunks)
    }

    /// Chunks are missing: no fault if the object was replaced.
    async fn gone(&self, info: &ObjectInfo) -> Result<Option<Bytes>, StoreError> {
        match self.info(&info.name).await? {
            Some(now) if now.info.nuid == info.nuid => Err(incomplete(&info.name)),
            _ => Ok(None),
        }
    }

    /// Stores an object under a name, in place of the one that was there, and returns the revision of its metadata. What is not
    /// stored by the deadline is removed, for which a little more time is taken.
    pub(crate) async fn put(
        &self,
        name: &str,
        data: Bytes,
        deadline: Instant,
    ) -> Result<u64, WriteError> {
        let nuid = crate::nats::unique_id(&self.context.client());
        let chunks = format!("$O.{}.C.{nuid}", self.name);
        let written = async {
            self.write_chunks(&chunks, &data).await?;
            self.write_info(name, &nuid, &data).await
        };
        let error = match tokio::time::timeout_at(deadline, written).await {
            Ok(Ok(revision)) => return Ok(revision),
            Ok(Err(error)) => error,
            Err(_) => WriteError::Uncertain("the object was not stored in time".into()),
        };
        match tokio::time::timeout(CLEAN_UP, self.clean_up(name, &nuid, &error)).await {
            Ok(Some(revision)) => Ok(revision),
            Ok(None) | Err(_) => Err(error),
        }
    }

    /// Removes the chunks of a put that failed; gives the revision if it has not failed after all.
    async fn clean_up(&self, name: &str, nuid: &str, error: &WriteError) -> Option<u64> {
        if let WriteError::Uncertain(_) = error {
            match self.stored(name).await {
                Ok(Some(stored)) if stored.info.nuid == nuid => return Some(stored.revision),
                Ok(_) => {}
                // The object may be there, and then needs its chunks.
                Err(_) => return None,
            }
        }
        self.purge(&format!("$O.{}.C.{nuid}", self.name)).await;
        None
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
            digest: Some(digest_of(data)),
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

fn digest_of(data: &[u8]) -> String {
    format!("SHA-256={}", URL_SAFE.encode(digest(&SHA256, data)))
}

fn incomplete(name: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Incomplete,
        format!("object `{name}` is incomplete or damaged"),
    )
}

impl std::fmt::Debug for ObjectBucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectBucket")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
