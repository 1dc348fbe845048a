//! What cannot be written through a JetStream domain is refused, as what it is.

use std::time::Duration;

use async_nats::jetstream;
use natsmicro::store::StoreErrorKind;
use natsmicro::testing::NatsServer;
use natsmicro::{StartErrorKind, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};

#[natsmicro::service]
pub trait Creating {
    #[kv_store(bucket = "created", key = "<key>", write = "create")]
    async fn create(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Updating {
    #[kv_store(bucket = "updated", key = "<key>", write = "update")]
    async fn update(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Putting {
    #[kv_store(bucket = "put", key = "<key>", persist = "before_response")]
    async fn put(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "brief", key = "<key>", marker_ttl = "1h", client_only)]
    async fn brief(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Creating for Echo {
    async fn create(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Updating for Echo {
    async fn update(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Putting for Echo {
    async fn put(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn brief(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

async fn hub() -> Nats {
    let server = NatsServer::builder().config("jetstream { domain: hub }");
    Nats::of(server.start().await.unwrap()).await
}

fn through_domain(nats: &Nats) -> natsmicro::Server {
    natsmicro::Server::new(nats.nats.clone())
        .with_jetstream(jetstream::with_domain(nats.nats.clone(), "hub"))
}

/// A repetition would take its own entry for that of somebody else.
#[tokio::test]
async fn a_service_that_writes_with_a_condition_does_not_start() -> TestResult {
    let nats = hub().await;
    for server in [
        through_domain(&nats).add_service(CreatingServer::new(Echo)),
        through_domain(&nats).add_service(UpdatingServer::new(Echo)),
    ] {
        let error = server.start().await.unwrap_err();
        assert_eq!(*error.kind(), StartErrorKind::Unsupported, "{error}");
    }
    let server = through_domain(&nats).add_service(PuttingServer::new(Echo));
    let server = server.start().await?;
    let client = PuttingClient::new(nats.client());
    client.put(Save::new("key", "value")).await?;
    assert!(client.put_kv().get("key").await?.is_some());
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_client_is_told_that_no_ttl_can_be_written() -> TestResult {
    let nats = hub().await;
    PuttingClient::new(nats.client())
        .brief_kv()
        .create_bucket()
        .await?;
    let context = jetstream::with_domain(nats.nats.clone(), "hub");
    let client = natsmicro::Client::new(nats.nats.clone()).with_jetstream(context);
    let store = PuttingClient::new(client)
        .brief_kv()
        .with_key_ttl(Duration::from_secs(60));
    let value = Save::new("", "value").saved();
    for error in [
        store.put("key", &value).await.unwrap_err(),
        store.create("key", &value).await.unwrap_err(),
        store.update("key", &value, 0).await.unwrap_err(),
    ] {
        assert_eq!(*error.kind(), StoreErrorKind::Unsupported, "{error}");
    }
    Ok(())
}
