//! The common part of the handles of both kinds of stores.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::codec::MessageCodec;
use crate::descriptor::bucket::BucketDescriptor;
use crate::descriptor::declared::{DeclaredBucket, MethodStore, MethodStores};
use crate::store::bucket::jetstream::JetStream;
use crate::store::bucket::provision::{BucketPolicy, ProvisionOptions, provision};
use crate::store::bucket::status::BucketStatus;
use crate::store::error::StoreError;

/// The common part of the typed handles of both kinds of stores: the connection, the bucket and its declaration, and the codec.
pub(crate) struct Handle<T> {
    jetstream: Option<Arc<JetStream>>,
    pub(crate) store: MethodStore,
    /// How long the markers of purges stay: that of the declaration, or of this handle.
    pub(crate) purge_ttl: Option<Duration>,
    /// The stores that all methods of the service declare.
    declared: &'static [MethodStores],
    pub(crate) codec: MessageCodec<T>,
}

impl<T> Handle<T> {
    pub(crate) fn new(
        jetstream: Option<Arc<JetStream>>,
        store: MethodStore,
        declared: &'static [MethodStores],
        codec: MessageCodec<T>,
    ) -> Self {
        Self {
            jetstream,
            purge_ttl: store.bucket.settings.purge_ttl,
            store,
            declared,
            codec,
        }
    }

    pub(crate) fn jetstream(&self) -> Result<&Arc<JetStream>, StoreError> {
        self.jetstream
            .as_ref()
            .ok_or_else(StoreError::not_configured)
    }

    pub(crate) fn encode(&self, value: &T) -> Result<Bytes, StoreError> {
        (self.codec.encode)(value).map_err(StoreError::encode)
    }

    pub(crate) async fn status(&self) -> Result<BucketStatus, StoreError> {
        let BucketDescriptor {
            kind, name: bucket, ..
        } = self.store.bucket;
        let info = self
            .within(async |jetstream| jetstream.info(kind, bucket).await)
            .await?;
        Ok(BucketStatus::new(bucket, info))
    }

    pub(crate) async fn create_bucket(&self) -> Result<(), StoreError> {
        let options = ProvisionOptions {
            policy: BucketPolicy::Create,
            // Whether a service writes in batches is up to the service.
            batches: false,
        };
        let jetstream = self.jetstream()?;
        let others = self.declared.iter().flat_map(MethodStores::iter);
        let mut declared = DeclaredBucket::new(&self.store, others);
        declared.has_entry_ttls |= self.purge_ttl.is_some();
        let BucketDescriptor { kind, name, .. } = declared.bucket;
        let created = Box::pin(provision(jetstream, &declared, options));
        let created = jetstream.within(kind, name, created).await;
        jetstream.forget(kind, name);
        created
    }

    pub(crate) async fn delete_bucket(&self) -> Result<(), StoreError> {
        let BucketDescriptor {
            kind, name: bucket, ..
        } = self.store.bucket;
        self.within(async |jetstream| jetstream.delete(kind, bucket).await)
            .await
    }

    /// Runs an operation within the client's timeout. If the bucket was deleted since it was opened, the error says so.
    pub(crate) async fn within<R>(
        &self,
        operation: impl AsyncFnOnce(&JetStream) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let jetstream = self.jetstream()?;
        let BucketDescriptor {
            kind, name: bucket, ..
        } = self.store.bucket;
        jetstream
            .within(kind, bucket, async {
                match operation(jetstream).await {
                    Err(error) => Err(jetstream.explain(kind, bucket, error).await),
                    succeeded => succeeded,
                }
            })
            .await
    }
}

/// Decodes a value. The error holds the bytes of a value that cannot be decoded.
pub(crate) fn decode<T>(
    codec: &MessageCodec<T>,
    key: &str,
    revision: u64,
    value: Bytes,
) -> Result<T, StoreError> {
    let decoded = codec.decode_caught(value.clone());
    decoded.map_err(|error| StoreError::decode(key, revision, value, error))
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self {
            jetstream: self.jetstream.clone(),
            store: self.store,
            purge_ttl: self.purge_ttl,
            declared: self.declared,
            codec: self.codec,
        }
    }
}
