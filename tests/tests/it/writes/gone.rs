//! A bucket that was deleted while a service writes to it.

use std::time::Duration;

use natsmicro::store::StoreErrorKind;
use natsmicro::{Code, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually, persistence};

#[natsmicro::service]
pub trait Gone {
    #[kv_store(bucket = "gone", key = "<key>", max_history = 2)]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "gone",
        key = "<key>",
        max_history = 2,
        persist = "before_response"
    )]
    async fn before(&self, request: Save) -> Result<Saved, Status>;

    #[kv_delete(bucket = "gone", key = "<key>", persist = "before_response")]
    async fn delete(&self, request: Save) -> Result<(), Status>;

    #[object_store(bucket = "objects", key = "<key>", persist = "before_response")]
    async fn object(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "kept", key = "<key>")]
    async fn kept(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Gone for Echo {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn delete(&self, _request: Save) -> Result<(), Status> {
        Ok(())
    }
    async fn object(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn kept(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

/// The persist timeout is longer than anybody waits here.
async fn writes_are_given_up(with_batches: bool) -> TestResult {
    const WRITES: u64 = 2_000;
    let nats = Nats::start().await;
    let server = nats.service().await.with_batches(with_batches);
    let server = server.add_service(GoneServer::new(Echo)).start().await?;
    let client = GoneClient::new(nats.client());
    client.before(Save::new("key", "")).await?;
    client.object(Save::new("key", "")).await?;
    nats.js.delete_stream("KV_gone").await?;
    nats.js.delete_stream("OBJ_objects").await?;

    for error in [
        client.before(Save::new("key", "")).await.unwrap_err(),
        client.object(Save::new("key", "")).await.unwrap_err(),
        client.delete(Save::new("key", "")).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), &Code::Unavailable, "{error}");
    }
    for n in 0..WRITES {
        client.after(Save::number(n.to_string(), n)).await?;
    }
    client.kept(Save::new("key", "")).await?;
    eventually("all writes are settled", || async {
        let stats = persistence(&server, "after");
        (stats.persist_pending == 0).then_some(())
    })
    .await;
    assert_eq!(persistence(&server, "after").persist_failed, WRITES);
    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count() as u64, WRITES + 3);
    // The first of them are listed, and all are counted.
    assert_eq!(error.lost_writes().len(), 1_000);
    for lost in error.lost_writes() {
        assert!(lost.cause.ends_with("is gone"), "{lost}");
    }
    // Nobody has asked for it.
    assert!(!nats.has_stream("KV_gone").await);
    let value = Save::new("", "").saved();
    let error = client.after_kv().put("key", &value).await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::BucketNotFound, "{error}");
    assert!(client.kept_kv().get("key").await?.is_some());
    Ok(())
}

#[tokio::test]
async fn writes_to_a_bucket_that_is_gone_are_given_up_one_by_one() -> TestResult {
    writes_are_given_up(false).await
}

#[tokio::test]
async fn writes_to_a_bucket_that_is_gone_are_given_up_with_batches() -> TestResult {
    writes_are_given_up(true).await
}

/// An operator takes the subjects of a bucket away. The write is given up, long before anybody's time is over.
#[tokio::test]
async fn a_bucket_that_is_none_any_more() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.service().await.add_service(GoneServer::new(Echo));
    let server = server.start().await?;
    let client = GoneClient::new(nats.client().with_timeout(Duration::from_secs(60)));
    client.before(Save::new("key", "")).await?;
    let mut config = nats.stream_config("KV_gone").await;
    config.subjects = vec!["others.>".to_owned()];
    nats.js.update_stream(config).await?;
    let error = client.before(Save::new("key", "")).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable, "{error}");
    let error = server.stop().await.unwrap_err();
    let cause = &error.lost_writes()[0].cause;
    assert!(cause.contains("bucket `gone` is gone"), "{cause}");
    Ok(())
}

/// The server acknowledges nothing, and the caller has no timeout of its own: it waits for ten seconds, of which the service does not hear.
#[tokio::test]
async fn a_call_without_a_timeout_is_told_in_time() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.service().await.add_service(GoneServer::new(Echo));
    let server = server.start().await?;
    let client = GoneClient::new(nats.client());
    let mut config = nats.stream_config("KV_gone").await;
    config.no_ack = true;
    nats.js.update_stream(config).await?;
    let error = client.delete(Save::new("key", "")).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable, "{error}");
    server.stop().await.unwrap_err();
    Ok(())
}
