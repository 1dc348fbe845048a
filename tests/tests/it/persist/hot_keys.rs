//! Many responses to one key: where the bucket keeps one value per key, the newest is written in place of those that wait.

use futures::future::join_all;
use natsmicro::Status;
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, persistence};

#[natsmicro::service(timeout = "30s")]
pub trait Hot {
    #[endpoint(max_in_flight = 1)]
    #[kv_store(bucket = "hot", key = "<key>", max_value_size = 64)]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "hot",
        key = "<key>",
        max_value_size = 64,
        persist = "before_response"
    )]
    async fn before(&self, request: Save) -> Result<Saved, Status>;

    #[endpoint(max_in_flight = 1)]
    #[kv_store(bucket = "all", key = "<key>", max_history = 64)]
    async fn all(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Hot for Echo {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn all(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

const CALLS: u64 = 300;

async fn start(
    nats: &Nats,
) -> Result<(natsmicro::RunningServer, HotClient), natsmicro::StartError> {
    let server = nats.service().await.add_service(HotServer::new(Echo));
    Ok((server.start().await?, HotClient::new(nats.client())))
}

#[tokio::test]
async fn the_newest_is_there_and_all_are_counted() -> TestResult {
    let nats = Nats::start().await;
    let (server, client) = start(&nats).await?;
    let calls = (0..CALLS).map(|n| client.after(Save::number("a", n)).into_future());
    for answer in join_all(calls).await {
        answer?;
    }
    let calls = (0..CALLS).map(|n| client.before(Save::number("b", n)).into_future());
    for answer in join_all(calls).await {
        answer?;
    }
    // The reply to the only call that runs comes when its value is there.
    client.before(Save::number("b", CALLS)).await?;
    let stored = client.get_before_from_kv("b").await?.unwrap();
    assert_eq!(stored.n, CALLS);
    server.stop().await?;
    let stored = client.get_after_from_kv("a").await?.unwrap();
    assert_eq!(stored.n, CALLS - 1);
    let stream = nats.js.get_stream("KV_hot").await?;
    let writes = stream.cached_info().state.last_sequence;
    assert!(writes < CALLS, "{writes} writes");
    Ok(())
}

/// The store takes only small values. Those that the refused one would have replaced are written after all.
#[tokio::test]
async fn a_refused_write_does_not_take_others_with_it() -> TestResult {
    let nats = Nats::start().await;
    let (server, client) = start(&nats).await?;
    let calls = (0..CALLS).map(|n| {
        let request = Save::number("a", n);
        let request = if n == CALLS - 1 {
            Save::new("a", "x".repeat(100))
        } else {
            request
        };
        client.after(request).into_future()
    });
    for answer in join_all(calls).await {
        answer?;
    }
    natsmicro_tests::persistence::eventually("all are settled", || async {
        (persistence(&server, "after").persist_pending == 0).then_some(())
    })
    .await;
    let stats = persistence(&server, "after");
    assert_eq!((stats.persisted, stats.persist_failed), (CALLS - 1, 1));
    let stored = client.get_after_from_kv("a").await?.unwrap();
    assert_eq!(stored.n, CALLS - 2);
    server.stop().await.unwrap_err();
    Ok(())
}

/// Every value that a history would show is written.
#[tokio::test]
async fn a_history_misses_nothing() -> TestResult {
    let nats = Nats::start().await;
    let (server, client) = start(&nats).await?;
    let calls = (0..60).map(|n| client.all(Save::number("a", n)).into_future());
    for answer in join_all(calls).await {
        answer?;
    }
    server.stop().await?;
    assert_eq!(nats.revisions("all", "a").await.len(), 60);
    Ok(())
}
