//! The buckets that a service deletes from, when its server starts.

use async_nats::jetstream::kv;
use natsmicro::store::BucketPolicy;
use natsmicro::{StartErrorKind, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, persistence};

#[natsmicro::service]
pub trait Owner {
    #[kv_store(bucket = "shared", key = "user.<key>", purge_ttl = "1h")]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Eraser {
    #[kv_delete(bucket = "shared", key = "user.<key>", persist = "before_response")]
    async fn erase(&self, request: Save) -> Result<(), Status>;

    #[kv_delete(
        bucket = "shared",
        key = "user.<key>",
        persist = "before_response",
        purge
    )]
    async fn purge(&self, request: Save) -> Result<(), Status>;
}

#[natsmicro::service]
pub trait Later {
    #[kv_delete(bucket = "shared", key = "user.<key>")]
    async fn erase(&self, request: Save) -> Result<(), Status>;
}

/// The client reads what the service only deletes.
#[natsmicro::service]
pub trait Reader {
    #[kv_store(bucket = "shared", key = "user.<key>", client_only)]
    #[kv_delete(bucket = "shared", key = "user.<key>", persist = "before_response")]
    async fn refresh(&self, request: Save) -> Result<Saved, Status>;
}

struct Service;

impl Owner for Service {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Eraser for Service {
    async fn erase(&self, request: Save) -> Result<(), Status> {
        request.answer().map(drop)
    }
    async fn purge(&self, request: Save) -> Result<(), Status> {
        request.answer().map(drop)
    }
}

impl Later for Service {
    async fn erase(&self, request: Save) -> Result<(), Status> {
        request.answer().map(drop)
    }
}

impl Reader for Service {
    async fn refresh(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

#[tokio::test]
async fn a_bucket_that_nobody_made_is_an_error() -> TestResult {
    let nats = Nats::start().await;
    for policy in [
        BucketPolicy::Create,
        BucketPolicy::Update,
        BucketPolicy::Never,
    ] {
        let server = nats.service().await.with_bucket_policy(policy);
        let server = server.add_service(EraserServer::new(Service));
        let error = server.start().await.unwrap_err();
        assert_eq!(error.kind(), &StartErrorKind::BucketNotFound, "{policy:?}");
        assert!(error.to_string().contains("`shared`"), "{error}");
        assert!(error.to_string().contains("`Eraser.erase`"), "{error}");
    }
    let server = nats.service().await.add_service(ReaderServer::new(Service));
    let error = server.start().await.unwrap_err();
    assert_eq!(error.kind(), &StartErrorKind::BucketNotFound);
    assert!(!nats.has_stream("KV_shared").await);
    Ok(())
}

#[tokio::test]
async fn a_bucket_of_somebody_else_is_left_as_it_is() -> TestResult {
    let nats = Nats::start().await;
    let theirs = kv::Config {
        bucket: "shared".into(),
        history: 7,
        description: "theirs".into(),
        ..kv::Config::default()
    };
    let theirs = nats.js.create_key_value(theirs).await?;
    theirs.put("user.ada", "Ada".into()).await?;
    let before = nats.stream_config("KV_shared").await;
    let server = nats.service().await;
    let server = server
        .with_bucket_policy(BucketPolicy::Update)
        .add_service(EraserServer::new(Service))
        .add_service(ReaderServer::new(Service))
        .start()
        .await?;
    assert_eq!(nats.stream_config("KV_shared").await, before);
    let client = EraserClient::new(nats.client());
    client.erase(Save::new("ada", "")).await?;
    let entry = theirs.entry("user.ada").await?.ok_or("a marker")?;
    assert_eq!(entry.operation, kv::Operation::Delete);
    client.purge(Save::new("ada", "")).await?;
    assert_eq!(nats.revisions("shared", "user.ada").await.len(), 1);

    let reader = ReaderClient::new(nats.client());
    theirs.put("user.ada", "Ada".into()).await?;
    reader.refresh(Save::new("ada", "")).await?;
    assert_eq!(reader.get_refresh_from_kv("user.ada").await?, None);
    assert_eq!(persistence(&server, "refresh").persisted, 1);
    server.stop().await?;
    Ok(())
}

/// Declared by one service of the server, deleted from by another one.
#[tokio::test]
async fn the_services_of_a_server_share_a_bucket() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(EraserServer::new(Service))
        .add_service(OwnerServer::new(Service))
        .start()
        .await?;
    let owner = OwnerClient::new(nats.client());
    let eraser = EraserClient::new(nats.client());
    // The save is not waited for, but the deletion comes after it.
    owner.save(Save::new("ada", "Ada")).await?;
    eraser.erase(Save::new("ada", "")).await?;
    assert_eq!(owner.get_save_from_kv("user.ada").await?, None);
    let subject = "$KV.shared.user.ada";
    assert_eq!(nats.header("KV_shared", subject, "Nats-TTL").await, None);
    // Its marker stays for as long as the one who stores says.
    eraser.purge(Save::new("ada", "")).await?;
    let ttl = nats.header("KV_shared", subject, "Nats-TTL").await;
    assert_eq!(ttl.as_deref(), Some("3600"));
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn without_jetstream_nothing_is_deleted() -> TestResult {
    let nats = Nats::start().await;
    let server = natsmicro::Server::new(nats.nats.clone())
        .add_service(LaterServer::new(Service))
        .start()
        .await?;
    LaterClient::new(nats.client())
        .erase(Save::new("not a key", ""))
        .await?;
    assert!(server.stats()[0].endpoints[0].persistence.is_none());
    server.stop().await?;

    let error = natsmicro::Server::new(nats.nats.clone())
        .add_service(EraserServer::new(Service))
        .start()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &StartErrorKind::JetStreamRequired);
    assert!(error.to_string().contains("`Eraser.erase`"), "{error}");
    Ok(())
}
