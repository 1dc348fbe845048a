use bytes::Bytes;

use super::jetstream::JetStream;
use super::{StoreDescriptor, StoreError};
use crate::codec::MessageCodec;

/// What the typed handles of both kinds of stores hold: where, which bucket, and what is in it.
pub(super) struct Handle<T> {
    jetstream: Option<JetStream>,
    pub(super) store: StoreDescriptor,
    pub(super) codec: MessageCodec<T>,
}

impl<T> Handle<T> {
    pub(super) fn new(
        jetstream: Option<JetStream>,
        store: StoreDescriptor,
        codec: MessageCodec<T>,
    ) -> Self {
        Self {
            jetstream,
            store,
            codec,
        }
    }

    pub(super) fn jetstream(&self) -> Result<&JetStream, StoreError> {
        self.jetstream
            .as_ref()
            .ok_or_else(StoreError::not_configured)
    }

    pub(super) fn encode(&self, value: &T) -> Result<Bytes, StoreError> {
        (self.codec.encode)(value).map_err(StoreError::encode)
    }

    pub(super) fn decode(&self, key: &str, payload: Bytes) -> Result<T, StoreError> {
        (self.codec.decode)(payload).map_err(|error| StoreError::decode(key, error))
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self::new(self.jetstream.clone(), self.store, self.codec)
    }
}
