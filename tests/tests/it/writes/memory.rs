//! Buckets in memory, which a restart of the server loses.

use natsmicro::store::{BucketPolicy, StoreErrorKind};
use natsmicro::{Code, RunningServer, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually, persistence};

#[natsmicro::service]
pub trait Volatile {
    #[kv_store(
        bucket = "volatile",
        key = "<key>",
        storage = "memory",
        max_history = 7
    )]
    async fn save(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "volatile",
        key = "<key>",
        storage = "memory",
        max_history = 7,
        persist = "before_response"
    )]
    async fn save_first(&self, request: Save) -> Result<Saved, Status>;

    #[object_store(
        bucket = "objects",
        key = "<key>",
        storage = "memory",
        persist = "before_response"
    )]
    async fn object(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Volatile for Echo {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn save_first(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn object(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

async fn start(nats: &Nats, policy: BucketPolicy) -> RunningServer {
    let server = nats.service().await.with_bucket_policy(policy);
    let server = server.add_service(VolatileServer::new(Echo)).start();
    server.await.unwrap()
}

/// A client needs the bucket before the service writes to it.
#[tokio::test]
async fn a_bucket_that_a_restart_has_lost_is_made_again() -> TestResult {
    let nats = Nats::start().await;
    let server = start(&nats, BucketPolicy::Create).await;
    let client = VolatileClient::new(nats.client());
    client.save_first(Save::new("key", "one")).await?;
    client.object(Save::new("key", "one")).await?;
    nats.server.restart().await?;

    eventually("both buckets are there again", || async {
        let are_there =
            nats.has_stream("KV_volatile").await && nats.has_stream("OBJ_objects").await;
        are_there.then_some(())
    })
    .await;
    assert_eq!(
        nats.stream_config("KV_volatile")
            .await
            .max_messages_per_subject,
        7
    );
    assert_eq!(client.save_kv().get("key").await?, None);
    client.save(Save::new("key", "two")).await?;
    client.save_first(Save::new("key", "three")).await?;
    client.object(Save::new("key", "two")).await?;
    assert!(client.object_object_store().get("key").await?.is_some());
    assert_eq!(client.save_kv().get("key").await?.unwrap().text, "three");
    for endpoint in ["save", "save_first", "object"] {
        eventually("it is counted", || async {
            (persistence(&server, endpoint).buckets_recreated == 1).then_some(())
        })
        .await;
    }
    server.stop().await?;
    Ok(())
}

/// The writes that find it missing make it again.
#[tokio::test]
async fn a_bucket_that_is_missing_is_made_again_by_a_write() -> TestResult {
    let nats = Nats::start().await;
    let server = start(&nats, BucketPolicy::Create).await;
    let client = VolatileClient::new(nats.client());
    nats.js.delete_stream("KV_volatile").await?;
    let calls = (0..100).map(|n| {
        client
            .save_first(Save::number(n.to_string(), n))
            .into_future()
    });
    futures::future::try_join_all(calls).await?;
    assert_eq!(nats.subjects("KV_volatile", ">").await.len(), 100);
    assert_eq!(persistence(&server, "save").buckets_recreated, 1);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_may_make_no_buckets_makes_none_again() -> TestResult {
    let nats = Nats::start().await;
    start(&nats, BucketPolicy::Create).await.stop().await?;
    let server = start(&nats, BucketPolicy::Never).await;
    let client = VolatileClient::new(nats.client());
    nats.server.restart().await?;
    // The first calls may find the service not connected yet, and are unavailable, too.
    eventually("a write is given up", || async {
        let call = client.save_first(Save::new("key", "one"));
        let error = call.await.unwrap_err();
        assert_eq!(error.code(), &Code::Unavailable, "{error}");
        (persistence(&server, "save_first").persist_failed > 0).then_some(())
    })
    .await;
    let error = client.save_kv().get("key").await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::BucketNotFound, "{error}");
    assert_eq!(persistence(&server, "save").buckets_recreated, 0);
    server.stop().await.unwrap_err();
    Ok(())
}
