//! The buckets of a service: created, compared and changed when it starts.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{Compression, Config, DiscardPolicy, StorageType};
use natsmicro::store::BucketPolicy;
use natsmicro::{Code, StartError, StartErrorKind, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};

#[natsmicro::service]
pub trait Full {
    #[kv_store(
        bucket = "full",
        key = "<key>",
        description = "All that can be set",
        max_history = 7,
        ttl = "1h",
        purge_ttl = "5m",
        marker_ttl = "10m",
        compression,
        storage = "memory",
        replicas = 1,
        max_bytes = "1MiB",
        max_value_size = "64KiB",
        max_consumers = 50,
        metadata(team = "platform", "cost-center" = "42")
    )]
    #[object_store(
        bucket = "full",
        key = "<key>",
        description = "Large ones",
        ttl = "30s",
        compression,
        storage = "memory",
        max_bytes = "2MiB",
        max_consumers = 2147483647
    )]
    async fn full(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Plain {
    #[kv_store(bucket = "plain", key = "<key>")]
    #[object_store(bucket = "plain", key = "<key>")]
    async fn plain(&self, request: Save) -> Result<Saved, Status>;
}

/// The bucket of `Plain` with a bound on its consumers.
#[natsmicro::service]
pub trait Bounded {
    #[kv_store(bucket = "plain", key = "<key>", max_consumers = 2)]
    async fn bounded(&self, request: Save) -> Result<Saved, Status>;
}

/// The bucket of `Plain` with texts for people.
#[natsmicro::service]
pub trait Described {
    #[kv_store(
        bucket = "plain",
        key = "<key>",
        description = "described",
        metadata(team = "platform")
    )]
    async fn described(&self, request: Save) -> Result<Saved, Status>;
}

/// The bucket of `Plain` with other settings.
#[natsmicro::service]
pub trait Other {
    #[kv_store(
        bucket = "plain",
        key = "<key>",
        max_history = 5,
        ttl = "1h",
        max_value_size = 1000,
        purge_ttl = "1m",
        description = "other"
    )]
    async fn other(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Full for Echo {
    async fn full(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Plain for Echo {
    async fn plain(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Bounded for Echo {
    async fn bounded(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Described for Echo {
    async fn described(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Other for Echo {
    async fn other(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

async fn start(server: natsmicro::Server) -> Result<(), StartError> {
    server.start().await?.stop().await.unwrap();
    Ok(())
}

async fn start_plain(nats: &Nats, policy: BucketPolicy) -> Result<(), StartError> {
    let server = nats.service().await.with_bucket_policy(policy);
    start(server.add_service(PlainServer::new(Echo))).await
}

async fn start_other(nats: &Nats, policy: BucketPolicy) -> Result<(), StartError> {
    let server = nats.service().await.with_bucket_policy(policy);
    start(server.add_service(OtherServer::new(Echo))).await
}

#[tokio::test]
async fn a_new_bucket_has_the_declared_settings() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.service().await.add_service(FullServer::new(Echo));
    start(server).await?;

    let kv = nats.stream_config("KV_full").await;
    assert_eq!(kv.subjects, ["$KV.full.>"]);
    assert_eq!(kv.description.as_deref(), Some("All that can be set"));
    assert_eq!(kv.max_messages_per_subject, 7);
    assert_eq!(kv.max_age, Duration::from_secs(3600));
    assert_eq!(kv.duplicate_window, Duration::from_secs(120));
    assert_eq!(kv.subject_delete_marker_ttl, Some(Duration::from_secs(600)));
    assert!(kv.allow_message_ttl);
    assert_eq!(kv.compression, Some(Compression::S2));
    assert_eq!(kv.storage, StorageType::Memory);
    assert_eq!(kv.num_replicas, 1);
    assert_eq!(kv.max_bytes, 1 << 20);
    assert_eq!(kv.max_message_size, 64 << 10);
    assert_eq!(kv.max_consumers, 50);
    assert_eq!(kv.metadata["team"], "platform");
    assert_eq!(kv.metadata["cost-center"], "42");
    assert_eq!(kv.discard, DiscardPolicy::New);
    assert!(kv.deny_delete && kv.allow_rollup && kv.allow_direct);

    let objects = nats.stream_config("OBJ_full").await;
    assert_eq!(objects.subjects, ["$O.full.C.>", "$O.full.M.>"]);
    assert_eq!(objects.description.as_deref(), Some("Large ones"));
    assert_eq!(objects.max_age, Duration::from_secs(30));
    assert_eq!(objects.duplicate_window, Duration::from_secs(30));
    assert_eq!(objects.compression, Some(Compression::S2));
    assert_eq!(objects.storage, StorageType::Memory);
    assert_eq!(objects.max_bytes, 2 << 20);
    assert_eq!(objects.max_consumers, i32::MAX);
    assert!(objects.allow_rollup && objects.allow_direct);
    // And once more, on what is there now.
    let server = nats.service().await.add_service(FullServer::new(Echo));
    start(server).await?;
    assert_eq!(nats.stream_config("KV_full").await, kv);
    Ok(())
}

#[tokio::test]
async fn a_bucket_without_settings_is_like_the_one_of_any_client() -> TestResult {
    let nats = Nats::start().await;
    start_plain(&nats, BucketPolicy::Create).await?;
    let normal = |mut config: Config| {
        config.name = String::new();
        config.subjects = Vec::new();
        // The level of the API that its settings need.
        config.metadata.clear();
        config
    };
    let ours = nats.stream_config("KV_plain").await;
    // An older nats-server, to which one may have to go back, can serve it.
    assert!(!ours.allow_batch_publish);
    let config = async_nats::jetstream::kv::Config {
        bucket: "by_client".into(),
        history: 1,
        ..Default::default()
    };
    nats.js.create_key_value(config.clone()).await?;
    let by_client = nats.stream_config("KV_by_client").await;
    assert_eq!(normal(ours), normal(by_client));

    // A bucket of a client is good for a service, too.
    let nats = Nats::start().await;
    let bucket = "plain".into();
    nats.js
        .create_key_value(async_nats::jetstream::kv::Config { bucket, ..config })
        .await?;
    start_plain(&nats, BucketPolicy::Create).await?;
    Ok(())
}

#[tokio::test]
async fn each_difference_is_named() -> TestResult {
    let nats = Nats::start().await;
    start_plain(&nats, BucketPolicy::Create).await?;
    let before = nats.stream_config("KV_plain").await;
    for policy in [BucketPolicy::Create, BucketPolicy::Never] {
        let error = start_other(&nats, policy).await.unwrap_err();
        assert_eq!(error.kind(), &StartErrorKind::BucketMismatch);
        let text = error.to_string();
        for part in [
            "Key-Value bucket `plain`",
            "`max_history` is 1 and not 5",
            "`ttl` is none and not 3600s",
            "`max_value_size` is -1 and not 1000",
            "`TTLs of single entries` is false and not true",
        ] {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
        for absent in ["storage", "replicas", "max_bytes", "compression"] {
            assert!(!text.contains(absent), "{absent} is not declared: {text}");
        }
    }
    assert_eq!(nats.stream_config("KV_plain").await, before);
    Ok(())
}

#[tokio::test]
async fn update_changes_what_is_different_and_nothing_else() -> TestResult {
    let nats = Nats::start().await;
    start_plain(&nats, BucketPolicy::Create).await?;
    let mut config = nats.stream_config("KV_plain").await;
    config.max_bytes = 5 << 20;
    config.metadata.insert("by".into(), "an operator".into());
    nats.js.update_stream(&config).await?;
    nats.bucket("plain").await.put("k", "kept".into()).await?;

    start_other(&nats, BucketPolicy::Update).await?;
    let config = nats.stream_config("KV_plain").await;
    assert_eq!(config.max_messages_per_subject, 5);
    assert_eq!(config.max_age, Duration::from_secs(3600));
    assert_eq!(config.max_message_size, 1000);
    assert!(config.allow_message_ttl);
    assert_eq!(config.description.as_deref(), Some("other"));
    assert_eq!(config.max_bytes, 5 << 20, "not declared, so not touched");
    assert_eq!(config.metadata["by"], "an operator");
    let kept = nats.bucket("plain").await.get("k").await?;
    assert_eq!(kept.unwrap(), "kept");
    // A missing one is created.
    start_plain(&Nats::start().await, BucketPolicy::Update).await?;
    Ok(())
}

#[tokio::test]
async fn consumers_are_bounded() -> TestResult {
    let bounded = async |nats: &Nats, policy| {
        let server = nats.service().await.with_bucket_policy(policy);
        start(server.add_service(BoundedServer::new(Echo))).await
    };
    let nats = Nats::start().await;
    bounded(&nats, BucketPolicy::Create).await?;
    let stream = nats.js.get_stream("KV_plain").await?;
    for _ in 0..2 {
        stream.create_consumer(pull::Config::default()).await?;
    }
    let third = stream.create_consumer(pull::Config::default()).await;
    assert!(third.is_err());

    let nats = Nats::start().await;
    start_plain(&nats, BucketPolicy::Create).await?;
    let before = nats.stream_config("KV_plain").await;
    let error = bounded(&nats, BucketPolicy::Create).await.unwrap_err();
    assert_eq!(error.kind(), &StartErrorKind::BucketMismatch);
    let text = error.to_string();
    assert!(text.contains("`max_consumers` is -1 and not 2"), "{text}");
    assert_eq!(nats.stream_config("KV_plain").await, before);
    bounded(&nats, BucketPolicy::Update).await?;
    assert_eq!(nats.stream_config("KV_plain").await.max_consumers, 2);
    Ok(())
}

/// They inform people, so a new text stops no start, and only `Update` writes it.
#[tokio::test]
async fn another_description_is_no_mismatch() -> TestResult {
    let nats = Nats::start().await;
    start_plain(&nats, BucketPolicy::Create).await?;
    let before = nats.stream_config("KV_plain").await;
    for policy in [BucketPolicy::Create, BucketPolicy::Never] {
        let server = nats.service().await.with_bucket_policy(policy);
        start(server.add_service(DescribedServer::new(Echo))).await?;
        assert_eq!(nats.stream_config("KV_plain").await, before);
    }
    let server = nats
        .service()
        .await
        .with_bucket_policy(BucketPolicy::Update);
    start(server.add_service(DescribedServer::new(Echo))).await?;
    let config = nats.stream_config("KV_plain").await;
    assert_eq!(config.description.as_deref(), Some("described"));
    assert_eq!(config.metadata["team"], "platform");
    Ok(())
}

/// Two services that differ in nothing but a text still contradict each other.
#[tokio::test]
async fn services_of_one_server_must_agree_on_texts_too() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.service().await.add_service(PlainServer::new(Echo));
    let error = start(server.add_service(DescribedServer::new(Echo)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &StartErrorKind::BucketMismatch);
    let text = error.to_string();
    assert!(
        text.ends_with(
            "`description` is not set and described, `metadata` is not set and team=platform"
        ),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn history_is_never_lowered() -> TestResult {
    let nats = Nats::start().await;
    start_other(&nats, BucketPolicy::Create).await?;
    let before = nats.stream_config("KV_plain").await;
    let error = start_plain(&nats, BucketPolicy::Update).await.unwrap_err();
    assert_eq!(error.kind(), &StartErrorKind::BucketMismatch);
    assert!(error.to_string().contains("from 5 to 1"), "{error}");
    assert_eq!(nats.stream_config("KV_plain").await, before);
    Ok(())
}

#[tokio::test]
async fn never_creates_nothing() -> TestResult {
    let nats = Nats::start().await;
    let error = start_plain(&nats, BucketPolicy::Never).await.unwrap_err();
    assert_eq!(error.kind(), &StartErrorKind::BucketNotFound);
    assert!(error.to_string().contains("`plain`"), "{error}");
    assert!(!nats.has_stream("KV_plain").await);
    start_plain(&nats, BucketPolicy::Create).await?;
    start_plain(&nats, BucketPolicy::Never).await?;
    Ok(())
}

#[tokio::test]
async fn services_of_one_server_must_agree() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.service().await.add_service(PlainServer::new(Echo));
    let error = start(server.add_service(OtherServer::new(Echo)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &StartErrorKind::BucketMismatch);
    assert_eq!(
        error.to_string(),
        "Key-Value bucket `plain` is declared with different settings by `Plain.plain` and `Other.other`: `max_history` is not \
         set and 5, `ttl` is not set and 3600s, `max_value_size` is not set and 1000, `purge_ttl` is not set and 60s, \
         `description` is not set and other"
    );
    assert!(!nats.has_stream("KV_plain").await, "nothing was created");
    Ok(())
}

#[tokio::test]
async fn nothing_runs_after_a_failed_start() -> TestResult {
    let nats = Nats::start().await;
    start_other(&nats, BucketPolicy::Create).await?;
    start_plain(&nats, BucketPolicy::Create).await.unwrap_err();
    let error = PlainClient::new(nats.client())
        .plain(Save::new("a", "b"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable);
    assert!(nats.nats.request("$SRV.PING", "".into()).await.is_err());
    Ok(())
}

#[tokio::test]
async fn five_servers_start_at_once() -> TestResult {
    let nats = Nats::start().await;
    let starts = (0..5).map(|_| start_plain(&nats, BucketPolicy::Create));
    for result in futures::future::join_all(starts).await {
        result?;
    }
    let starts = (0..5).map(|_| start_plain(&nats, BucketPolicy::Update));
    for result in futures::future::join_all(starts).await {
        result?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_without_jetstream_is_an_error() -> TestResult {
    let server = natsmicro::testing::NatsServer::builder().jetstream(false);
    let nats = Nats::of(server.start().await?).await;
    let error = start_plain(&nats, BucketPolicy::Create).await.unwrap_err();
    assert_eq!(error.kind(), &StartErrorKind::Nats);
    Ok(())
}
