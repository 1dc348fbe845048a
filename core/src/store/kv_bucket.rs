//! One Key-Value bucket, in bytes: what the typed handle and the persistence of a service both write through.

use std::time::Duration;

use async_nats::header::{NATS_MARKER_REASON, NATS_MESSAGE_ID};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::kv;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;

use super::error::WriteError;
use super::jetstream::cannot_open;
use super::{Operation, StoreError};

#[derive(Debug)]
pub(crate) struct KvBucket {
    context: Context,
    store: kv::Store,
}

impl KvBucket {
    pub(crate) async fn open(context: &Context, bucket: &str) -> Result<Self, StoreError> {
        let store = context
            .get_key_value(bucket)
            .await
            .map_err(|error| cannot_open(bucket, error))?;
        Ok(Self {
            context: context.clone(),
            store,
        })
    }

    pub(crate) fn store(&self) -> &kv::Store {
        &self.store
    }

    /// A new subject to receive messages on.
    pub(crate) fn inbox(&self) -> String {
        self.context.client().new_inbox()
    }

    /// An id that no other message has.
    pub(crate) fn new_id(&self) -> String {
        crate::nats::unique_id(&self.context.client())
    }

    /// Writes a value; with `expected`, only if that is the revision of the key, 0 for none. With `id`, the entry can be told
    /// from an equal one of somebody else.
    pub(crate) async fn write(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<u64>,
        ttl: Option<Duration>,
        id: Option<&str>,
    ) -> Result<u64, WriteError> {
        if self.store.use_jetstream_prefix || (ttl.is_none() && id.is_none()) {
            return match (expected, ttl) {
                (_, Some(_)) => Err(WriteError::Refused(
                    "a TTL cannot be written through a JetStream domain or prefix".into(),
                )),
                (None, None) => self.store.put(key, value).await.map_err(WriteError::new),
                (Some(revision), None) => self
                    .store
                    .update(key, value, revision)
                    .await
                    .map_err(WriteError::new),
            };
        }
        // async-nats writes a TTL only where it creates a key, and no id at all.
        let mut message = PublishMessage::build().payload(value);
        if let Some(revision) = expected {
            message = message.expected_last_subject_sequence(revision);
        }
        if let Some(ttl) = ttl {
            message = message.ttl(ttl);
        }
        if let Some(id) = id {
            message = message.message_id(id);
        }
        let subject = format!(
            "{}{key}",
            self.store.put_prefix.as_ref().unwrap_or(&self.store.prefix)
        );
        let ack = self
            .context
            .send_publish(subject, message)
            .await
            .map_err(WriteError::new)?;
        ack.await.map(|ack| ack.sequence).map_err(WriteError::new)
    }

    /// The newest message of a key, markers included, from the leader: what was acknowledged is seen.
    pub(crate) async fn newest(&self, key: &str) -> Result<Option<StreamMessage>, StoreError> {
        let subject = format!("{}{key}", self.store.prefix);
        match self
            .store
            .stream
            .get_last_raw_message_by_subject(&subject)
            .await
        {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(StoreError::nats("cannot read the entry", error)),
        }
    }

    /// Writes a value if the key has none; a deleted key has none. What an earlier try with the same `id` has stored counts as
    /// written.
    pub(crate) async fn create(
        &self,
        key: &str,
        value: Bytes,
        ttl: Option<Duration>,
        id: Option<&str>,
    ) -> Result<u64, WriteError> {
        let conflict = match self.write(key, value.clone(), Some(0), ttl, id).await {
            Err(conflict @ WriteError::Conflict(_)) => conflict,
            done => return done,
        };
        match self.newest(key).await? {
            Some(newest) if is_marker(&newest) => {
                self.write(key, value, Some(newest.sequence), ttl, id).await
            }
            newest => its_own(newest, id).ok_or(conflict),
        }
    }

    /// Writes a value over a revision; what an earlier try with the same `id` has stored counts as written.
    pub(crate) async fn update(
        &self,
        key: &str,
        value: Bytes,
        revision: Option<u64>,
        ttl: Option<Duration>,
        id: &str,
    ) -> Result<u64, WriteError> {
        let conflict = match self.write(key, value, revision, ttl, Some(id)).await {
            Err(conflict @ WriteError::Conflict(_)) => conflict,
            done => return done,
        };
        its_own(self.newest(key).await?, Some(id)).ok_or(conflict)
    }
}

/// The revision of what stands in the way of a write, if that is an earlier try of the same write.
fn its_own(newest: Option<StreamMessage>, id: Option<&str>) -> Option<u64> {
    let newest = newest?;
    let stored = newest.headers.get(NATS_MESSAGE_ID).map(HeaderValue::as_str);
    (stored.is_some() && stored == id).then_some(newest.sequence)
}

/// Whether this message says that its key is gone: deleted, purged, or expired.
pub(crate) fn is_marker(message: &StreamMessage) -> bool {
    operation(&message.headers) != Operation::Put
}

/// What a message of a bucket did to its key. The server writes markers too, for what expires, and says why.
pub(super) fn operation(headers: &HeaderMap) -> Operation {
    let operation = headers.get("KV-Operation").map(HeaderValue::as_str);
    let reason = headers.get(NATS_MARKER_REASON).map(HeaderValue::as_str);
    match (operation, reason) {
        (Some("DEL"), _) | (None, Some("Remove")) => Operation::Delete,
        (Some("PURGE"), _) | (None, Some(_)) => Operation::Purge,
        _ => Operation::Put,
    }
}
