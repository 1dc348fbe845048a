//! The buckets that methods declare: created, compared with what is there, or updated.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::context::{AccountError, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Compression, Config, DiscardPolicy, StorageType};
use async_nats::jetstream::{Context, ErrorCode};

use crate::descriptor::store::{Storage, StoreDescriptor, StoreKind};
use crate::store::bucket::difference::{differences, is_described, mismatch};
use crate::store::error::{StoreError, StoreErrorKind};

/// What a starting server does about the buckets of its services.
///
/// A bucket that it creates or updates on nats-server 2.14 or newer takes batches, unless
/// [`Server::with_batches`](crate::server::Server::with_batches) says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BucketPolicy {
    /// Creates what is missing. A bucket with other settings is an error that names each difference.
    #[default]
    Create,
    /// Creates what is missing, and changes what is different. A smaller `max_history` is refused, since it would delete
    /// revisions at once. A `ttl` that is new or shorter is what was asked for: the server then deletes what is older.
    Update,
    /// Creates and changes nothing, for accounts that may not. A missing bucket is an error, and so is one with other
    /// settings.
    Never,
}

/// How buckets are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BucketSettings {
    pub(crate) policy: BucketPolicy,
    /// Whether they are to take batches.
    pub(crate) batches: bool,
}

/// The largest window in which nats-server looks for duplicates; it may not exceed the age limit of the bucket.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// The API level from which a server knows TTLs per message (nats-server 2.11).
const LEVEL_OF_TTLS: usize = 1;
/// The one from which it takes writes in batches (nats-server 2.14).
const LEVEL_OF_BATCHES: usize = 4;

/// Makes the bucket what `store` says, as far as the policy allows.
pub(crate) async fn provision(
    context: &Context,
    store: &StoreDescriptor,
    settings: BucketSettings,
) -> Result<(), StoreError> {
    if needs_ttls(store) {
        check_api_level(context, store).await?;
    }
    // Twice, since another instance may create the bucket between our look and our own attempt.
    for _ in 0..2 {
        if let Some(found) = find(context, store).await? {
            return reconcile(context, store, found, settings).await;
        }
        if settings.policy == BucketPolicy::Never {
            return Err(StoreError::new(
                StoreErrorKind::BucketNotFound,
                format!(
                    "there is no {} `{}`, and the bucket policy is not to create it",
                    store.kind.noun(),
                    store.bucket
                ),
            ));
        }
        let mut config = config_of(store);
        config.allow_batch_publish = settings.batches && takes_batches(context, store).await;
        match context.create_stream(config).await {
            Ok(_) => return Ok(()),
            Err(error) => match error.kind() {
                CreateStreamErrorKind::JetStream(refused)
                    if refused.error_code() == ErrorCode::STREAM_NAME_EXIST => {}
                _ => return Err(failed(store, "created", error)),
            },
        }
    }
    Err(StoreError::new(
        StoreErrorKind::Nats,
        format!(
            "bucket `{}` is being created and deleted by others",
            store.bucket
        ),
    ))
}

async fn find(context: &Context, store: &StoreDescriptor) -> Result<Option<Config>, StoreError> {
    match context
        .get_stream(store.kind.stream_name(store.bucket))
        .await
    {
        Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(refused) if refused.code() == 404 => Ok(None),
            _ => Err(failed(store, "read", error)),
        },
    }
}

async fn reconcile(
    context: &Context,
    store: &StoreDescriptor,
    mut found: Config,
    settings: BucketSettings,
) -> Result<(), StoreError> {
    let differences = differences(store, &found);
    if settings.policy != BucketPolicy::Update {
        return if differences.is_empty() {
            Ok(())
        } else {
            Err(mismatch(store, &differences))
        };
    }
    if store.kind == StoreKind::Kv && history_of(store) < found.max_messages_per_subject {
        return Err(StoreError::new(
            StoreErrorKind::BucketMismatch,
            format!(
                "lowering `max_history` of bucket `{}` from {} to {} would delete revisions: do it by hand with `nats stream \
                 edit KV_{}`",
                store.bucket,
                found.max_messages_per_subject,
                history_of(store),
                store.bucket
            ),
        ));
    }
    let is_as_declared = differences.is_empty() && is_described(store, &found);
    let gets_batches = settings.batches
        && !found.allow_batch_publish
        && found.mirror.is_none()
        && takes_batches(context, store).await;
    if is_as_declared && !gets_batches {
        return Ok(());
    }
    apply(store, &mut found);
    found.allow_batch_publish |= gets_batches;
    match context.update_stream(&found).await {
        Ok(_) => {}
        Err(error) if is_as_declared => {
            tracing::warn!(bucket = store.bucket, %error, "cannot allow batches: the bucket is written to one by one");
            return Ok(());
        }
        Err(error) => return Err(failed(store, "updated", error)),
    }
    tracing::info!(bucket = store.bucket, ?differences, "updated a bucket");
    Ok(())
}

/// The configuration of a new bucket.
fn config_of(store: &StoreDescriptor) -> Config {
    let bucket = store.bucket;
    let mut config = Config {
        name: store.kind.stream_name(bucket),
        discard: DiscardPolicy::New,
        allow_rollup: true,
        allow_direct: true,
        max_bytes: -1,
        num_replicas: 1,
        storage: StorageType::File,
        metadata: HashMap::new(),
        ..Config::default()
    };
    match store.kind {
        StoreKind::Kv => {
            config.subjects = vec![format!("$KV.{bucket}.>")];
            config.deny_delete = true;
            config.max_message_size = -1;
        }
        StoreKind::Object => {
            config.subjects = vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")];
        }
    }
    apply(store, &mut config);
    config
}

/// Writes what the service declares into a configuration, and leaves the rest as it is.
fn apply(store: &StoreDescriptor, config: &mut Config) {
    if store.kind == StoreKind::Kv {
        config.max_messages_per_subject = history_of(store);
    }
    config.max_age = store.ttl.unwrap_or_default();
    config.duplicate_window = match store.ttl {
        Some(ttl) => ttl.min(DUPLICATE_WINDOW),
        None => DUPLICATE_WINDOW,
    };
    if let Some(description) = store.description {
        config.description = Some(description.to_owned());
    }
    if let Some(storage) = store.storage {
        config.storage = storage_type(storage);
    }
    if let Some(replicas) = store.replicas {
        config.num_replicas = replicas;
    }
    if let Some(compression) = store.compression {
        config.compression = Some(if compression {
            Compression::S2
        } else {
            Compression::None
        });
    }
    if let Some(max_bytes) = store.max_bytes {
        config.max_bytes = max_bytes;
    }
    if let Some(max_value_size) = store.max_value_size {
        config.max_message_size = max_value_size;
    }
    // Never switched off: nats-server does not allow it.
    if needs_ttls(store) {
        config.allow_message_ttl = true;
    }
    if let Some(marker_ttl) = store.marker_ttl {
        config.subject_delete_marker_ttl = Some(marker_ttl);
    }
    for &(key, value) in store.metadata {
        config.metadata.insert(key.to_owned(), value.to_owned());
    }
}

/// An older server ignores TTLs in silence, so the level is asked for.
async fn check_api_level(context: &Context, store: &StoreDescriptor) -> Result<(), StoreError> {
    let level = api_level(context)
        .await
        .map_err(|error| failed(store, "read", error))?;
    if level >= LEVEL_OF_TTLS {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::Unsupported,
        format!(
            "bucket `{}` sets a TTL for single entries, for which nats-server must be 2.11 or newer",
            store.bucket
        ),
    ))
}

/// Whether the bucket can take writes in batches. Nothing depends on it but the speed, so an account that may not ask goes without.
async fn takes_batches(context: &Context, store: &StoreDescriptor) -> bool {
    store.kind == StoreKind::Kv
        && api_level(context)
            .await
            .is_ok_and(|level| level >= LEVEL_OF_BATCHES)
}

/// The level of JetStream, which in a cluster may be another than that of the server at the other end of the connection.
async fn api_level(context: &Context) -> Result<usize, AccountError> {
    Ok(context.query_account().await?.requests.level)
}

fn failed(
    store: &StoreDescriptor,
    what: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::new(
        StoreErrorKind::Nats,
        format!("{} `{}` cannot be {what}", store.kind.noun(), store.bucket),
    )
    .with_source(error)
}

pub(crate) fn needs_ttls(store: &StoreDescriptor) -> bool {
    store.key_ttl.is_some() || store.purge_ttl.is_some() || store.marker_ttl.is_some()
}

pub(crate) fn history_of(store: &StoreDescriptor) -> i64 {
    i64::from(store.max_history.unwrap_or(1))
}

pub(crate) fn storage_type(storage: Storage) -> StorageType {
    match storage {
        Storage::File => StorageType::File,
        Storage::Memory => StorageType::Memory,
    }
}
