//! `write = "create"` and `write = "update"`: what a response may be written over.

use std::sync::Arc;

use natsmicro::testing::NatsCluster;
use natsmicro::{Code, Status};
use natsmicro_tests::persistence::{Gate, Nats, Save, Saved, TestResult, persistence};

#[natsmicro::service]
pub trait Once {
    #[kv_store(bucket = "once", key = "after.<key>", write = "create")]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "once",
        key = "before.<key>",
        write = "create",
        persist = "before_response"
    )]
    async fn before(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Counter {
    #[kv_store(
        bucket = "counters",
        key = "<key>",
        write = "update",
        persist = "before_response"
    )]
    async fn before(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "counters", key = "<key>", write = "update")]
    async fn after(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Replicated {
    #[kv_store(bucket = "replicated", key = "<key>", replicas = 3, write = "update")]
    async fn update(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "replicated", key = "<key>", replicas = 3)]
    async fn put(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Replicated for Echo {
    async fn update(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn put(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Once for Echo {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

/// Answers what it is asked; the text `wait` waits at the gate.
struct Gated(Arc<Gate>);

impl Gated {
    async fn answer(&self, request: Save) -> Result<Saved, Status> {
        if request.text == "wait" {
            self.0.pass().await;
        }
        request.answer()
    }
}

impl Counter for Gated {
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        self.answer(request).await
    }
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        self.answer(request).await
    }
}

#[tokio::test]
async fn create_does_not_overwrite() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(OnceServer::new(Echo))
        .start()
        .await?;
    let client = OnceClient::new(nats.client());
    client.before(Save::new("a", "first")).await?;
    let error = client.before(Save::new("a", "second")).await.unwrap_err();
    assert_eq!(error.code(), &Code::AlreadyExists);
    assert!(error.message().contains("`once`"), "{error}");
    client.after(Save::new("a", "first")).await?;
    client.after(Save::new("a", "second")).await?;
    let (before, after) = (
        || persistence(&server, "before"),
        || persistence(&server, "after"),
    );
    assert_eq!((before().persisted, before().skipped), (1, 1));
    natsmicro_tests::persistence::eventually("both writes are settled", || async {
        (after().persist_pending == 0).then_some(())
    })
    .await;
    assert_eq!((after().persisted, after().skipped), (1, 1));
    assert_eq!(after().persist_failed + before().persist_failed, 0);
    // An entry that is kept is no loss.
    server.stop().await?;
    let first = Some(Save::new("a", "first").saved());
    assert_eq!(client.get_after_from_kv("after.a").await?, first);
    assert_eq!(client.get_before_from_kv("before.a").await?, first);
    Ok(())
}

#[tokio::test]
async fn create_works_again_after_delete_and_purge() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(OnceServer::new(Echo))
        .start()
        .await?;
    let client = OnceClient::new(nats.client());
    let store = client.before_kv();
    client.before(Save::new("a", "1")).await?;
    store.delete("before.a").await?;
    client.before(Save::new("a", "2")).await?;
    assert_eq!(store.get("before.a").await?.unwrap().text, "2");
    store.purge("before.a").await?;
    client.before(Save::new("a", "3")).await?;
    assert_eq!(store.get("before.a").await?.unwrap().text, "3");
    let error = client.before(Save::new("a", "4")).await.unwrap_err();
    assert_eq!(error.code(), &Code::AlreadyExists);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn of_concurrent_creates_one_wins() -> TestResult {
    let nats = Nats::start().await;
    let mut servers = Vec::new();
    for _ in 0..2 {
        let server = nats.service().await.add_service(OnceServer::new(Echo));
        servers.push(server.start().await?);
    }
    let client = OnceClient::new(nats.client());
    let calls = (0..50).map(|n| client.before(Save::number("a", n)).into_future());
    let results = futures::future::join_all(calls).await;
    let won: Vec<_> = results.iter().flatten().collect();
    assert_eq!(won.len(), 1, "{results:?}");
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(error.code(), &Code::AlreadyExists);
    }
    let stored = client.get_before_from_kv("before.a").await?;
    assert_eq!(stored.as_ref(), Some(won[0]));
    for server in servers {
        server.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn update_sees_a_concurrent_change() -> TestResult {
    let nats = Nats::start().await;
    let gate = Arc::new(Gate::default());
    let server = nats
        .service()
        .await
        .add_service(CounterServer::new(Gated(gate.clone())))
        .start()
        .await?;
    let client = CounterClient::new(nats.client());
    client.before(Save::new("a", "first")).await?;
    client.before(Save::new("a", "second")).await?;

    let waiting = [
        tokio::spawn(client.before(Save::new("a", "wait")).into_future()),
        tokio::spawn(client.after(Save::new("b", "wait")).into_future()),
    ];
    // Both have looked at their keys when their handlers run.
    gate.reached_by(2).await;
    client
        .before_kv()
        .put("a", &Save::new("a", "other").saved())
        .await?;
    client
        .before_kv()
        .put("b", &Save::new("b", "other").saved())
        .await?;
    gate.open();
    let [before, after] = waiting;
    let error = before.await?.unwrap_err();
    assert_eq!(error.code(), &Code::Aborted);
    after.await??;

    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count(), 2);
    for key in ["a", "b"] {
        let stored = client.get_before_from_kv(key).await?.unwrap();
        assert_eq!(stored.text, "other");
    }
    Ok(())
}

#[tokio::test]
async fn of_concurrent_updates_the_first_wins_and_none_is_lost_in_silence() -> TestResult {
    let nats = Nats::start().await;
    let gate = Arc::new(Gate::default());
    let server = nats
        .service()
        .await
        .add_service(CounterServer::new(Gated(gate)))
        .start()
        .await?;
    let client = CounterClient::new(nats.client());
    let calls = (0..50).map(|n| client.before(Save::number("a", n)).into_future());
    let results = futures::future::join_all(calls).await;
    let won = results.iter().flatten().count() as u64;
    assert!(won >= 1);
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(error.code(), &Code::Aborted);
    }
    let stats = persistence(&server, "before");
    assert_eq!((stats.persisted, stats.persist_failed), (won, 50 - won));
    let stream = nats.js.get_stream("KV_counters").await?;
    assert_eq!(stream.cached_info().state.last_sequence, won);
    server.stop().await.unwrap_err();
    Ok(())
}

/// Each call begins when the one before has been answered, so none of them is concurrent to another. In a cluster the write of
/// the one before takes its time.
#[tokio::test]
async fn update_after_the_response_does_not_conflict_with_itself() -> TestResult {
    let cluster = NatsCluster::start(3).await?;
    let nats = cluster.connect().await?;
    let js = async_nats::jetstream::new(nats.clone());
    let server = natsmicro::Server::new(nats.clone())
        .with_jetstream(js.clone())
        .add_service(ReplicatedServer::new(Echo))
        .start()
        .await?;
    let client = ReplicatedClient::new(natsmicro::Client::new(nats).with_jetstream(js));
    for n in 0..100 {
        // Of two methods, one of which compares.
        client.update(Save::number("a", 2 * n)).await?;
        client.put(Save::number("a", 2 * n + 1)).await?;
    }
    client.update(Save::number("a", 200)).await?;
    server.stop().await?;
    let entry = client.update_kv().entry("a").await?.unwrap();
    assert_eq!((entry.value.unwrap().n, entry.revision), (200, 201));
    Ok(())
}
