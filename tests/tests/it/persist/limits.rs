//! TTLs, limits of size, and what becomes of a response that cannot be stored.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use natsmicro::store::{Operation, StoreErrorKind, WatchEvent};
use natsmicro::{Code, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually, persistence};

#[natsmicro::service]
pub trait Sessions {
    #[kv_store(bucket = "sessions", key = "<key>", key_ttl = "1s", purge_ttl = "1s")]
    async fn open(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "sessions",
        key = "c.<key>",
        key_ttl = "1s",
        write = "create",
        purge_ttl = "1s"
    )]
    async fn create(&self, request: Save) -> Result<Saved, Status>;
}

/// Two methods on one bucket, of which the second alone needs TTLs of single entries.
#[natsmicro::service]
pub trait Mixed {
    #[kv_store(bucket = "mixed", key = "a.<key>")]
    async fn forever(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "mixed", key = "b.<key>", key_ttl = "1s")]
    async fn for_a_while(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Marked {
    #[kv_store(bucket = "marked", key = "<key>", ttl = "1s", marker_ttl = "1h")]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Small {
    #[kv_store(bucket = "small", key = "<key>", max_value_size = 64)]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "small",
        key = "<key>",
        max_value_size = 64,
        persist = "before_response"
    )]
    async fn before(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Sessions for Echo {
    async fn open(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn create(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Mixed for Echo {
    async fn forever(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn for_a_while(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Marked for Echo {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Small for Echo {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

#[tokio::test]
async fn key_ttl_holds_for_every_write() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(SessionsServer::new(Echo))
        .start()
        .await?;
    let client = SessionsClient::new(nats.client());
    let store = client.open_kv();
    client.open(Save::new("once", "1")).await?;
    client.open(Save::new("twice", "1")).await?;
    client.open(Save::new("twice", "2")).await?;
    client.create(Save::new("new", "1")).await?;
    // Over a marker, where async-nats loses the TTL.
    let deleted = Save::new("x", "1").saved();
    store.put("c.again", &deleted).await?;
    store.delete("c.again").await?;
    client.create(Save::new("again", "2")).await?;
    store.put("by_client", &deleted).await?;
    let revision = store.put("updated", &deleted).await?;
    store.update("updated", &deleted, revision).await?;
    let written = Instant::now();
    server.stop().await?;

    let keys = ["once", "twice", "c.new", "c.again", "by_client", "updated"];
    for key in keys {
        let subject = format!("$KV.sessions.{key}");
        let ttl = nats.header("KV_sessions", &subject, "Nats-TTL").await;
        assert_eq!(ttl.as_deref(), Some("1"), "{key}");
        assert!(store.get(key).await?.is_some(), "{key} is there at first");
    }
    for key in keys {
        eventually(&format!("{key} expires"), || async {
            store.get(key).await.unwrap().is_none().then_some(())
        })
        .await;
    }
    assert!(written.elapsed() >= Duration::from_millis(900));
    assert!(written.elapsed() < Duration::from_secs(5));
    Ok(())
}

#[tokio::test]
async fn purge_ttl_removes_the_marker() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(SessionsServer::new(Echo))
        .start()
        .await?;
    let store = SessionsClient::new(nats.client()).open_kv();
    store.put("a", &Save::new("a", "1").saved()).await?;
    store.purge("a").await?;
    let marker = store.entry("a").await?.unwrap();
    assert_eq!((marker.operation, marker.value), (Operation::Purge, None));
    eventually("the marker expires", || async {
        store.entry("a").await.unwrap().is_none().then_some(())
    })
    .await;
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn marker_ttl_tells_watchers_of_an_expiry() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(MarkedServer::new(Echo))
        .start()
        .await?;
    let config = nats.stream_config("KV_marked").await;
    assert_eq!(
        config.subject_delete_marker_ttl,
        Some(Duration::from_secs(3600))
    );
    assert!(config.allow_message_ttl);
    let client = MarkedClient::new(nats.client());
    let mut watch = client.save_kv().watch(">").await?;
    assert_eq!(watch.next().await.unwrap()?, WatchEvent::EndOfInitial);
    client.save(Save::new("a", "1")).await?;
    let WatchEvent::Entry(put) = watch.next().await.unwrap()? else {
        panic!("the value")
    };
    assert_eq!(put.operation, Operation::Put);
    let expired = tokio::time::timeout(Duration::from_secs(10), watch.next()).await?;
    let WatchEvent::Entry(expired) = expired.unwrap()? else {
        panic!("the marker")
    };
    assert_eq!(
        (expired.key.as_str(), expired.operation),
        ("a", Operation::Purge)
    );
    assert_eq!(expired.value, None);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn one_of_two_methods_on_a_bucket_may_have_a_key_ttl() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .with_persist_timeout(Duration::from_secs(2))
        .add_service(MixedServer::new(Echo))
        .start()
        .await?;
    let client = MixedClient::new(nats.client());
    client.forever(Save::new("x", "1")).await?;
    client.for_a_while(Save::new("x", "1")).await?;
    server.stop().await?;
    let ttl = |key: &str| {
        let subject = format!("$KV.mixed.{key}");
        let nats = &nats;
        async move { nats.header("KV_mixed", &subject, "Nats-TTL").await }
    };
    assert_eq!(ttl("a.x").await, None);
    assert_eq!(ttl("b.x").await.as_deref(), Some("1"));
    Ok(())
}

#[tokio::test]
async fn a_response_that_is_too_large_for_the_bucket() -> TestResult {
    let nats = Nats::start().await;
    let lost = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lost);
    let server = nats
        .service()
        .await
        .on_lost_write(move |write| seen.lock().unwrap().push(write.clone()))
        .add_service(SmallServer::new(Echo))
        .start()
        .await?;
    let client = SmallClient::new(nats.client());
    let large = "x".repeat(100);
    let begun = Instant::now();
    let error = client.before(Save::new("b", &large)).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable);
    assert!(
        !error.message().contains("maximum"),
        "the cause is for the log: {error}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "what is refused is not tried again"
    );
    let saved = client.after(Save::new("a", &large)).await?;
    client.after(Save::new("a", "fits")).await?;
    eventually("the writes are settled", || async {
        (persistence(&server, "after").persist_pending == 0).then_some(())
    })
    .await;
    let stats = persistence(&server, "after");
    assert_eq!((stats.persisted, stats.persist_failed), (1, 1));

    let stats = nats.nats.request("$SRV.STATS.Small", "".into()).await?;
    let stats: serde_json::Value = serde_json::from_slice(&stats.payload)?;
    assert_eq!(stats["endpoints"][0]["data"]["persist_failed"], 1);
    assert_eq!(stats["endpoints"][1]["data"]["persist_failed"], 1);

    let error = client.put_after_to_kv("a", &saved).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::TooLarge);

    let error = server.stop().await.unwrap_err();
    let lost = lost.lock().unwrap().clone();
    assert_eq!(error.lost_writes(), lost.as_slice());
    assert_eq!(lost.len(), 2);
    let write = &lost[1];
    assert_eq!(
        (
            write.service.as_str(),
            write.endpoint.as_str(),
            write.bucket.as_str(),
            write.key.as_str()
        ),
        ("Small", "after", "small", "a")
    );
    assert!(
        write.cause.contains("size") || write.cause.contains("maximum"),
        "{write}"
    );
    assert_eq!(client.get_after_from_kv("a").await?.unwrap().text, "fits");
    Ok(())
}

#[tokio::test]
async fn a_panicking_callback_stops_nothing() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .on_lost_write(|_| panic!("as asked"))
        .add_service(SmallServer::new(Echo))
        .start()
        .await?;
    let client = SmallClient::new(nats.client());
    client.after(Save::new("a", "x".repeat(100))).await?;
    client.before(Save::new("b", "fits")).await?;
    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count(), 1);
    Ok(())
}
