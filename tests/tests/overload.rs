//! More writes than there is room for.

mod persist_common;

use natsmicro::Status;
use natsmicro::testing::NatsServer;
use persist_common::{Nats, Save, Saved, TestResult};

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
