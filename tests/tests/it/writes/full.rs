//! A bucket without room for more.

use bytes::Bytes;
use natsmicro::store::{StoreErrorKind, WatchEvent};
use natsmicro::{Code, RunningServer, Status};
use natsmicro_tests::persistence::watching::next;
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually, persistence};

#[natsmicro::service]
pub trait Full {
    #[kv_store(bucket = "full", key = "<key>", max_bytes = "16KiB")]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "full",
        key = "<key>",
        max_bytes = "16KiB",
        persist = "before_response"
    )]
    async fn before(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "spacious", key = "<key>")]
    async fn spacious(&self, request: Save) -> Result<Saved, Status>;

    #[object_store(
        bucket = "objects",
        key = "<key>",
        max_bytes = "16KiB",
        persist = "before_response"
    )]
    async fn object(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Full for Echo {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn spacious(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn object(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

fn large(key: impl Into<String>) -> Save {
    Save::new(key, "x".repeat(4 * 1024))
}

async fn start(nats: &Nats, with_batches: bool) -> (RunningServer, FullClient) {
    let server = nats.service().await.with_batches(with_batches);
    let server = server.add_service(FullServer::new(Echo)).start();
    (server.await.unwrap(), FullClient::new(nats.client()))
}

/// The persist timeout is longer than anybody waits here.
async fn writes_are_given_up(with_batches: bool) -> TestResult {
    const WRITES: u64 = 3_000;
    let nats = Nats::start().await;
    let (server, client) = start(&nats, with_batches).await;
    for n in 0..WRITES {
        client.after(large(n.to_string())).await?;
    }
    client.spacious(large("key")).await?;
    eventually("all writes are settled", || async {
        let stats = persistence(&server, "after");
        (stats.persist_pending == 0).then_some(())
    })
    .await;
    let stats = persistence(&server, "after");
    assert_eq!(stats.persisted + stats.persist_failed, WRITES);
    assert_eq!(
        nats.subjects("KV_full", ">").await.len() as u64,
        stats.persisted
    );
    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count() as u64, stats.persist_failed);
    for lost in error.lost_writes() {
        assert!(lost.cause.contains("maximum bytes"), "{lost}");
    }
    assert!(client.spacious_kv().get("key").await?.is_some());
    Ok(())
}

#[tokio::test]
async fn writes_to_a_full_bucket_are_given_up_one_by_one() -> TestResult {
    writes_are_given_up(false).await
}

#[tokio::test]
async fn writes_to_a_full_bucket_are_given_up_with_batches() -> TestResult {
    writes_are_given_up(true).await
}

#[tokio::test]
async fn a_reply_that_waits_for_a_full_bucket_is_unavailable() -> TestResult {
    let nats = Nats::start().await;
    let (server, client) = start(&nats, true).await;
    let mut failures = 0;
    for n in 0..8 {
        for result in [
            client.before(large(n.to_string())).await,
            client.object(large(n.to_string())).await,
        ] {
            if let Err(error) = result {
                assert_eq!(error.code(), &Code::Unavailable, "{error}");
                failures += 1;
            }
        }
    }
    assert!(failures > 0);
    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count(), failures);
    Ok(())
}

#[tokio::test]
async fn a_client_is_told_that_a_bucket_is_full() -> TestResult {
    let nats = Nats::start().await;
    let (server, client) = start(&nats, true).await;
    let value = large("").saved();
    let mut entries = 0;
    let error = loop {
        match client
            .after_kv()
            .put(format!("key.{entries}"), &value)
            .await
        {
            Ok(_) => entries += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(*error.kind(), StoreErrorKind::Full, "{error}");
    let error = client.after_kv().create("new", &value).await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::Full, "{error}");
    // What is there can be read, replaced by something shorter and deleted.
    assert!(client.after_kv().get("key.0").await?.is_some());

    let error = client
        .object_object_store()
        .put_from("large", &*Bytes::from(vec![0; 64 * 1024]))
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::Full, "{error}");
    server.stop().await?;
    Ok(())
}

/// Objects of any size can be deleted, although the mark of a deletion takes room itself.
#[tokio::test]
async fn objects_are_deleted_from_a_full_bucket() -> TestResult {
    let nats = Nats::start().await;
    let (server, client) = start(&nats, true).await;
    let objects = client.object_object_store();
    let mut large_objects = 0;
    while objects
        .put(format!("large.{large_objects}"), &large("").saved())
        .await
        .is_ok()
    {
        large_objects += 1;
    }
    assert!(large_objects > 1);
    let mut empty = 0;
    while objects
        .put_from(format!("empty.{empty}"), &b""[..])
        .await
        .is_ok()
    {
        empty += 1;
    }
    assert!(empty > 0);
    let mut watch = objects.watch().await?;
    while !matches!(next(&mut watch).await?, WatchEvent::EndOfInitial) {}
    for name in ["empty.0", "large.0"] {
        objects.delete(name).await?;
        assert!(objects.info(name).await?.is_none());
    }
    let mut deleted = Vec::new();
    while deleted.len() < 2 {
        if let WatchEvent::Entry(info) = next(&mut watch).await?
            && info.value.is_none()
        {
            deleted.push(info.key);
        }
    }
    assert_eq!(deleted, ["empty.0", "large.0"]);
    objects.put("large.again", &large("").saved()).await?;
    server.stop().await?;
    Ok(())
}
