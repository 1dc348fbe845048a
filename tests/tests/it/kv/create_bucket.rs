//! Buckets that clients make.

use std::error::Error as _;
use std::time::Duration;

use async_nats::jetstream::kv;
use async_nats::jetstream::stream::StorageType;
use natsmicro::Status;
use natsmicro::store::StoreErrorKind;
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};

/// Buckets that no service makes.
#[natsmicro::service]
pub trait Clients {
    #[kv_store(
        bucket = "sessions",
        key = "<key>",
        client_only,
        description = "Who is here",
        key_ttl = "1h",
        storage = "memory",
        max_bytes = "1MiB"
    )]
    #[object_store(bucket = "drafts", key = "<key>", client_only, ttl = "1h")]
    async fn keep(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "safe", key = "<key>", client_only, replicas = 3)]
    async fn keep_safe(&self, request: Save) -> Result<Saved, Status>;
}

/// A bucket that one method describes, and another one only reads.
#[natsmicro::service]
pub trait Shared {
    #[kv_store(bucket = "shared", key = "last", client_only)]
    async fn last(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "shared", key = "<key>", max_history = 1, ttl = "1h")]
    async fn save(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "shared", key = "recent.<key>", client_only, key_ttl = "1m")]
    #[object_store(bucket = "shared", key = "<key>", client_only, ttl = "2h")]
    async fn recent(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Shared for Echo {
    async fn last(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }

    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }

    async fn recent(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

async fn start_shared(nats: &Nats) -> TestResult {
    let server = nats.service().await.add_service(SharedServer::new(Echo));
    server.start().await?.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_client_makes_what_is_client_only() -> TestResult {
    let nats = Nats::start().await;
    let client = ClientsClient::new(nats.client());
    let (store, objects) = (client.keep_kv(), client.keep_object_store());
    let missing = store.get("a").await.unwrap_err();
    assert_eq!(missing.kind(), &StoreErrorKind::BucketNotFound);
    assert!(missing.to_string().contains("create_bucket"), "{missing}");
    store.create_bucket().await?;
    let config = nats.stream_config("KV_sessions").await;
    assert_eq!(config.description.as_deref(), Some("Who is here"));
    assert_eq!(config.storage, StorageType::Memory);
    assert_eq!(
        (config.max_bytes, config.max_age),
        (1 << 20, Duration::ZERO)
    );
    let value = Save::new("a", "b").saved();
    client.put_keep_to_kv("a", &value).await?;
    let ttl = nats
        .header("KV_sessions", "$KV.sessions.a", "Nats-TTL")
        .await;
    assert_eq!(ttl.as_deref(), Some("3600"));
    // One that is there is left as it is.
    store.create_bucket().await?;
    assert_eq!(nats.stream_config("KV_sessions").await, config);
    assert_eq!(store.get("a").await?.as_ref(), Some(&value));

    objects.create_bucket().await?;
    assert_eq!(
        nats.stream_config("OBJ_drafts").await.max_age,
        Duration::from_secs(3600)
    );
    objects.put("a", &value).await?;
    objects.create_bucket().await?;
    assert_eq!(objects.get("a").await?, Some(value));

    store.delete_bucket().await?;
    store.create_bucket().await?;
    assert_eq!(store.get("a").await?, None);
    Ok(())
}

#[tokio::test]
async fn each_method_makes_the_same_bucket() -> TestResult {
    let nats = Nats::start().await;
    let client = SharedClient::new(nats.client());
    client.last_kv().create_bucket().await?;
    let config = nats.stream_config("KV_shared").await;
    assert_eq!(config.max_age, Duration::from_secs(3600));
    assert!(config.allow_message_ttl);
    client.save_kv().create_bucket().await?;
    client.recent_kv().create_bucket().await?;
    start_shared(&nats).await?;
    assert_eq!(nats.stream_config("KV_shared").await, config);
    assert!(!nats.has_stream("OBJ_shared").await);
    // So does the service, for what its clients write too.
    client.last_kv().delete_bucket().await?;
    start_shared(&nats).await?;
    client.recent_kv().create_bucket().await?;
    let value = Save::new("a", "b").saved();
    client.put_recent_to_kv("recent.a", &value).await?;
    Ok(())
}

#[tokio::test]
async fn a_client_finds_other_settings() -> TestResult {
    let nats = Nats::start().await;
    let other = kv::Config {
        bucket: "sessions".to_owned(),
        history: 5,
        max_bytes: 2 << 20,
        ..kv::Config::default()
    };
    nats.js.create_key_value(other).await?;
    let before = nats.stream_config("KV_sessions").await;
    let store = ClientsClient::new(nats.client()).keep_kv();
    let error = store.create_bucket().await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::BucketMismatch);
    assert_eq!(
        error.to_string(),
        "Key-Value bucket `sessions` has other settings than the service declares: `max_history` is 5 and not 1, `storage` is \
         File and not Memory, `max_bytes` is 2097152 and not 1048576, `TTLs of single entries` is false and not true; change \
         the declaration or the bucket"
    );
    assert_eq!(nats.stream_config("KV_sessions").await, before);
    Ok(())
}

/// What keeps a bucket from being made is told, and not that there is none.
#[tokio::test]
async fn a_client_that_cannot_make_a_bucket() -> TestResult {
    let nats = Nats::start().await;
    let store = ClientsClient::new(nats.client()).keep_safe_kv();
    let error = store.create_bucket().await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::Nats);
    let cause = error.source().expect("a cause").to_string();
    assert!(cause.contains("replicas"), "{error}: {cause}");

    let client = natsmicro::Client::new(nats.nats.clone());
    let store = ClientsClient::new(client).keep_kv();
    let error = store.create_bucket().await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::JetStreamNotConfigured);
    Ok(())
}
