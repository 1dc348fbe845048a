//! Creates the buckets that methods declare, or compares existing ones with their declaration and updates them.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};

use crate::descriptor::bucket::{BucketDescriptor, Difference, Effect, StoreKind};
use crate::descriptor::declared::DeclaredBucket;
use crate::error::chain;
use crate::log::warn_limited;
use crate::store::bucket::jetstream::JetStream;
use crate::store::bucket::shape::{check_is_bucket, check_is_writable, subjects};
use crate::store::error::{StoreError, StoreErrorKind};
use crate::transport::refused::unless_refused;

/// How a starting server provisions the buckets of its services.
///
/// A stream that has the name of a bucket and is none is never changed, and neither is a bucket that is sealed: the start fails, whatever
/// the policy is, and the error says why.
///
/// A bucket that it creates or updates on nats-server 2.14 or newer takes batches if
/// [`Server::with_batches`](crate::server::Server::with_batches) says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BucketPolicy {
    /// Creates missing buckets. A bucket with other settings is an error that names each difference.
    #[default]
    Create,
    /// Creates missing buckets, and changes settings that differ. A smaller `max_history` is refused, since it would delete
    /// revisions at once. A `ttl` that is new or shorter is applied, and the server then deletes older entries. Settings that the server
    /// does not take over are an error.
    Update,
    /// Creates and changes nothing, for accounts that may not. A missing bucket is an error, and so is one with other
    /// settings.
    Never,
}

/// The options of provisioning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProvisionOptions {
    pub(crate) policy: BucketPolicy,
    /// Whether the buckets are to take batches.
    pub(crate) batches: bool,
}

/// The API level from which a server supports TTLs per message (nats-server 2.11).
const MIN_LEVEL_FOR_TTLS: usize = 1;
/// The API level from which a server takes writes in batches (nats-server 2.14).
const MIN_LEVEL_FOR_BATCHES: usize = 4;

/// Creates or updates the bucket as declared, as far as the policy allows.
pub(crate) async fn provision(
    jetstream: &JetStream,
    declared: &DeclaredBucket,
    options: ProvisionOptions,
) -> Result<(), StoreError> {
    let bucket = &declared.bucket;
    if declared.needs_entry_ttls() {
        check_api_level(jetstream, bucket).await?;
    }
    // Twice, since another instance may create the bucket between the read and the attempt to create it.
    for _ in 0..2 {
        if let Some(found) = find(jetstream, bucket).await? {
            return reconcile(jetstream, declared, found, options).await;
        }
        if options.policy == BucketPolicy::Never {
            return Err(StoreError::new(
                StoreErrorKind::BucketNotFound,
                format!(
                    "there is no {} `{}`, and the bucket policy is not to create it",
                    bucket.kind.noun(),
                    bucket.name
                ),
            ));
        }
        let mut config = config_of(declared);
        config.allow_batch_publish = options.batches && takes_batches(jetstream, bucket).await;
        let request = format!("STREAM.CREATE.{}", config.name);
        let created = jetstream.context.create_stream(config);
        match unless_refused(&jetstream.gate, &request, created).await? {
            Ok(_) => return Ok(()),
            Err(error) => match error.kind() {
                CreateStreamErrorKind::JetStream(refused)
                    if refused.error_code() == ErrorCode::STREAM_NAME_EXIST => {}
                _ => return Err(failed(bucket, "created", error)),
            },
        }
    }
    Err(StoreError::new(
        StoreErrorKind::Nats,
        format!(
            "bucket `{}` is being created and deleted by others",
            bucket.name
        ),
    ))
}

async fn find(
    jetstream: &JetStream,
    bucket: &BucketDescriptor,
) -> Result<Option<Config>, StoreError> {
    let stream = bucket.kind.stream_name(bucket.name);
    let request = format!("STREAM.INFO.{stream}");
    let found = jetstream.context.get_stream(stream);
    match unless_refused(&jetstream.gate, &request, found).await? {
        Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(refused) if refused.code() == 404 => Ok(None),
            _ => Err(failed(bucket, "read", error)),
        },
    }
}

/// Compares an existing bucket with its declaration, and changes it if the policy allows that.
async fn reconcile(
    jetstream: &JetStream,
    declared: &DeclaredBucket,
    mut found: Config,
    options: ProvisionOptions,
) -> Result<(), StoreError> {
    let bucket = &declared.bucket;
    check_is_bucket(bucket.kind, bucket.name, &found)?;
    check_is_writable(bucket.kind, bucket.name, &found)?;
    let differences = declared.differences(&found);
    if options.policy != BucketPolicy::Update {
        let is_refused = |difference: &&Difference| difference.effect == Effect::Refused;
        let refused: Vec<_> = differences.iter().filter(is_refused).collect();
        return if refused.is_empty() {
            Ok(())
        } else {
            Err(mismatch(declared, &refused))
        };
    }
    let gets_batches = options.batches
        && !found.allow_batch_publish
        && found.mirror.is_none()
        && takes_batches(jetstream, bucket).await;
    if differences.is_empty() && !gets_batches {
        return Ok(());
    }
    let history = found.max_messages_per_subject;
    declared.apply(&mut found);
    check_history(bucket, history, found.max_messages_per_subject)?;
    found.allow_batch_publish |= gets_batches;
    let request = format!("STREAM.UPDATE.{}", found.name);
    let updated = jetstream.context.update_stream(&found);
    let updated = unless_refused(&jetstream.gate, &request, updated).await;
    let updated = updated.map_err(StoreError::from).and_then(|updated| {
        let failed = |error| failed(bucket, "updated", error);
        updated.map_err(failed)
    });
    match updated {
        Ok(updated) => check_taken_over(declared, &updated.config)?,
        Err(error) if differences.is_empty() => {
            let error = chain(&error);
            warn_limited!(
                bucket = bucket.name,
                error,
                "cannot allow batches: the bucket is written to one by one"
            );
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    tracing::info!(bucket = bucket.name, ?differences, "updated a bucket");
    Ok(())
}

/// Fails if a bucket that was updated still has other settings: nats-server leaves out in silence what it does not know or allow.
fn check_taken_over(declared: &DeclaredBucket, answered: &Config) -> Result<(), StoreError> {
    let differences = declared.differences(answered);
    if differences.is_empty() {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::BucketMismatch,
        format!(
            "{} `{}` was updated, and nats-server has not taken over all settings: {}",
            declared.bucket.kind.noun(),
            declared.bucket.name,
            listed(&differences)
        ),
    ))
}

/// Refuses to lower the history, which deletes revisions at once.
fn check_history(bucket: &BucketDescriptor, found: i64, declared: i64) -> Result<(), StoreError> {
    if declared >= found || bucket.kind != StoreKind::Kv {
        return Ok(());
    }
    let name = bucket.name;
    Err(StoreError::new(
        StoreErrorKind::BucketMismatch,
        format!(
            "lowering `max_history` of bucket `{name}` from {found} to {declared} would delete revisions: do it by hand with \
             `nats stream edit KV_{name}`"
        ),
    ))
}

fn mismatch(declared: &DeclaredBucket, differences: &[&Difference]) -> StoreError {
    let cure = if declared.is_client_only {
        "change the declaration or the bucket"
    } else {
        "change the declaration or the bucket, or let the service do it with `Server::with_bucket_policy`"
    };
    StoreError::new(
        StoreErrorKind::BucketMismatch,
        format!(
            "{} `{}` has other settings than the service declares: {}; {cure}",
            declared.bucket.kind.noun(),
            declared.bucket.name,
            listed(differences.iter().copied())
        ),
    )
}

fn listed<'a>(differences: impl IntoIterator<Item = &'a Difference>) -> String {
    let texts = differences.into_iter().map(|difference| {
        let Difference {
            setting,
            found,
            declared,
            ..
        } = difference;
        format!("`{setting}` is {found} and not {declared}")
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// The configuration of a new bucket.
fn config_of(declared: &DeclaredBucket) -> Config {
    let BucketDescriptor {
        kind, name: bucket, ..
    } = declared.bucket;
    let mut config = Config {
        name: kind.stream_name(bucket),
        subjects: subjects(kind, bucket),
        discard: DiscardPolicy::New,
        allow_rollup: true,
        allow_direct: true,
        max_bytes: -1,
        num_replicas: 1,
        storage: StorageType::File,
        ..Config::default()
    };
    if kind == StoreKind::Kv {
        config.deny_delete = true;
        config.max_message_size = -1;
    }
    declared.apply(&mut config);
    config
}

/// An older server silently ignores TTLs, so this reads its API level.
async fn check_api_level(
    jetstream: &JetStream,
    bucket: &BucketDescriptor,
) -> Result<(), StoreError> {
    let level = api_level(jetstream, bucket).await?;
    if level >= MIN_LEVEL_FOR_TTLS {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::Unsupported,
        format!(
            "bucket `{}` sets a TTL for single entries, for which nats-server must be 2.11 or newer",
            bucket.name
        ),
    ))
}

/// Whether the bucket can take writes in batches. Only the speed depends on it, so it is false if the account may not read the level.
async fn takes_batches(jetstream: &JetStream, bucket: &BucketDescriptor) -> bool {
    bucket.kind == StoreKind::Kv
        && api_level(jetstream, bucket)
            .await
            .is_ok_and(|level| level >= MIN_LEVEL_FOR_BATCHES)
}

/// The level of JetStream, which in a cluster may be another than that of the server at the other end of the connection.
async fn api_level(jetstream: &JetStream, bucket: &BucketDescriptor) -> Result<usize, StoreError> {
    let account = jetstream.context.query_account();
    let account = unless_refused(&jetstream.gate, "INFO", account).await?;
    let account = account.map_err(|error| failed(bucket, "read", error))?;
    Ok(account.requests.level)
}

fn failed(
    bucket: &BucketDescriptor,
    what: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::new(
        StoreErrorKind::Nats,
        format!("{} `{}` cannot be {what}", bucket.kind.noun(), bucket.name),
    )
    .with_source(error)
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Duration;

    use async_nats::jetstream;
    use futures::StreamExt;

    use super::*;
    use crate::testing::NatsServer;

    type TestResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

    /// Answers requests for the level with another one, behind a prefix.
    #[allow(clippy::disallowed_methods, reason = "the part of a server")]
    async fn with_level(nats: &async_nats::Client, level: u64) -> TestResult<JetStream> {
        let prefix = format!("LEVEL-{level}");
        let mut asked = nats.subscribe(format!("{prefix}.INFO")).await?;
        let context = jetstream::with_prefix(nats.clone(), &prefix);
        let nats = nats.clone();
        tokio::spawn(async move {
            while let Some(request) = asked.next().await {
                let answer = nats.request("$JS.API.INFO", "".into()).await?;
                let mut info: serde_json::Value = serde_json::from_slice(&answer.payload)?;
                info["api"]["level"] = level.into();
                let to = request.reply.ok_or("no request")?;
                nats.publish(to, info.to_string().into()).await?;
            }
            TestResult::Ok(())
        });
        Ok(JetStream::new(context, Duration::from_secs(5), None))
    }

    /// The levels are those that nats-server itself gives to buckets with these settings: 1 came with version 2.11, and 4 with 2.14.
    #[tokio::test]
    async fn older_servers_take_no_ttls_and_no_batches() {
        let server = NatsServer::start().await.unwrap();
        let nats = server.connect().await.unwrap();
        let context = jetstream::new(nats.clone());
        let bucket = BucketDescriptor::kv("b");
        let needed = async |name: &str, config: Config| {
            let config = Config {
                name: name.to_owned(),
                ..config
            };
            let stream = context.create_stream(config).await.unwrap();
            let metadata = &stream.cached_info().config.metadata;
            metadata["_nats.req.level"].parse::<u64>().unwrap()
        };
        let with_ttls = Config {
            allow_message_ttl: true,
            ..Config::default()
        };
        let with_batches = Config {
            allow_batch_publish: true,
            ..Config::default()
        };
        let ttls = needed("TTLS", with_ttls).await;
        let batches = needed("BATCHES", with_batches).await;
        for level in 0..=5 {
            let jetstream = with_level(&nats, level).await.unwrap();
            let allowed = check_api_level(&jetstream, &bucket).await;
            assert_eq!(allowed.is_ok(), level >= ttls, "{level}");
            let has_batches = takes_batches(&jetstream, &bucket).await;
            assert_eq!(has_batches, level >= batches, "{level}");
        }
        assert_eq!((ttls, batches), (1, 4));
    }

    /// nats-server takes zero for no bound, and says so only in its answer. No attribute declares zero.
    #[tokio::test]
    async fn an_update_of_which_the_server_leaves_out_a_setting_is_an_error() {
        let server = NatsServer::start().await.unwrap();
        let context = jetstream::new(server.connect().await.unwrap());
        let jetstream = JetStream::new(context, Duration::from_secs(5), None);
        let bucket = BucketDescriptor::kv("b");
        let provisioned = async |bucket| {
            let declared = DeclaredBucket {
                bucket,
                has_entry_ttls: false,
                is_client_only: false,
            };
            let options = ProvisionOptions {
                policy: BucketPolicy::Update,
                batches: false,
            };
            provision(&jetstream, &declared, options).await
        };
        provisioned(bucket).await.unwrap();
        for (bucket, difference) in [
            (bucket.max_bytes(0), "`max_bytes` is -1 and not 0"),
            (bucket.max_value_size(0), "`max_value_size` is -1 and not 0"),
            (bucket.max_consumers(0), "`max_consumers` is -1 and not 0"),
        ] {
            // What the server does take over is no reason.
            let bucket = bucket.ttl(Duration::from_secs(3600)).max_history(2);
            let error = provisioned(bucket).await.unwrap_err();
            assert_eq!(*error.kind(), StoreErrorKind::BucketMismatch);
            let text = error.to_string();
            let expected = format!("has not taken over all settings: {difference}");
            assert!(text.ends_with(&expected), "{text}");
        }
        provisioned(bucket.max_history(2)).await.unwrap();
    }
}
