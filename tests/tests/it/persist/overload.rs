//! More writes than there is room for.

use std::time::Duration;

use async_nats::jetstream;
use natsmicro::Status;
use natsmicro::testing::NatsServer;
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually, persistence};

#[natsmicro::service]
pub trait Flood {
    #[kv_store(bucket = "flood", key = "<key>", storage = "memory")]
    async fn one(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Flood for Echo {
    async fn one(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

/// nats-server takes a limited number of messages at once, and refuses the others.
#[tokio::test]
async fn a_refusal_for_now_is_tried_again() -> TestResult {
    let server = NatsServer::builder().config("jetstream { max_buffered_msgs: 32 }");
    let nats = Nats::of(server.start().await?).await;
    let server = nats
        .service()
        .await
        .add_service(FloodServer::new(Echo))
        .start()
        .await?;
    let client = FloodClient::new(nats.client());
    let calls = (0..600).map(|n| client.one(Save::number(n.to_string(), n)).into_future());
    let calls: Vec<_> = calls.collect();
    futures::future::try_join_all(calls).await?;
    server.stop().await?;
    assert_eq!(nats.subjects("KV_flood", ">").await.len(), 600);
    Ok(())
}

/// JetStream is on a server of its own, which stops to answer. What waits for room in the queue of writes is still told when its
/// time is over, and goes on when there is room again.
#[tokio::test]
async fn calls_that_wait_for_room_have_their_deadlines() -> TestResult {
    let (calls, stores) = (Nats::start().await, Nats::start().await);
    let context = jetstream::new(stores.server.connect().await?);
    let server = natsmicro::Server::new(calls.server.connect().await?)
        .with_jetstream(context)
        .add_service(FloodServer::new(Echo))
        .start()
        .await?;
    stores.server.pause()?;

    let client = FloodClient::new(calls.nats.clone());
    let large = |n: u64| {
        let request = Save::new(n.to_string(), "x".repeat(900_000));
        client.one(request).with_timeout(Duration::from_secs(60))
    };
    // More than the 64 MiB that are held.
    let flood: Vec<_> = (0..90)
        .map(|n| tokio::spawn(large(n).into_future()))
        .collect();
    eventually("the queue is full", || async {
        (persistence(&server, "one").persist_pending > 70).then_some(())
    })
    .await;
    let late = client.one(Save::new("late", ""));
    let late = late.with_timeout(Duration::from_millis(200)).await;
    assert!(late.is_err());
    eventually("the service has said so, too", || async {
        let stats = &server.stats()[0].endpoints[0];
        (stats.num_errors == 1).then_some(())
    })
    .await;

    stores.server.resume()?;
    for call in flood {
        call.await??;
    }
    server.stop().await?;
    assert_eq!(stores.subjects("KV_flood", ">").await.len(), 90);
    Ok(())
}
