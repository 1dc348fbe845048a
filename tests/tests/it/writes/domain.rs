//! What is written through a JetStream domain has the guarantees of what is written without one.

use std::sync::Arc;

use async_nats::jetstream;
use natsmicro::Status;
use natsmicro::testing::NatsServer;
use natsmicro_tests::persistence::proxy::Proxy;
use natsmicro_tests::persistence::{Gate, Nats, Save, Saved, TestResult, eventually};

#[natsmicro::service]
pub trait Conditional {
    #[kv_store(
        bucket = "conditional",
        key = "<key>",
        write = "create",
        persist = "before_response"
    )]
    async fn create(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "conditional",
        key = "<key>",
        write = "update",
        persist = "before_response"
    )]
    async fn update(&self, request: Save) -> Result<Saved, Status>;
}

/// Answers when the gate is open.
struct Gated(Arc<Gate>);

impl Conditional for Gated {
    async fn create(&self, request: Save) -> Result<Saved, Status> {
        self.0.pass().await;
        request.answer()
    }
    async fn update(&self, request: Save) -> Result<Saved, Status> {
        self.0.pass().await;
        request.answer()
    }
}

/// The acknowledgements are lost. A repetition finds the entry of its first attempt, and does not take it for that of somebody else.
#[tokio::test]
async fn a_repetition_recognises_its_own_entry() -> TestResult {
    let server = NatsServer::builder().config("jetstream { domain: hub }");
    let nats = Nats::of(server.start().await?).await;
    let proxy = Proxy::start(&nats.server).await;
    let connection = proxy.connect().await;
    let gate = Arc::<Gate>::default();
    let server = natsmicro::Server::new(nats.server.connect().await?)
        .with_jetstream(jetstream::with_domain(connection, "hub"))
        .add_service(ConditionalServer::new(Gated(gate.clone())))
        .start()
        .await?;
    let client = ConditionalClient::new(nats.client());
    let store = client.create_kv();
    store.put("updated", &Save::new("", "old").saved()).await?;
    let created = tokio::spawn(client.create(Save::new("created", "new")).into_future());
    let updated = tokio::spawn(client.update(Save::new("updated", "new")).into_future());
    gate.reached_by(2).await;
    proxy.mute();
    gate.open();
    for key in ["created", "updated"] {
        eventually("the server has it", || async {
            let value = store.get(key).await.unwrap()?;
            (value.text == "new").then_some(())
        })
        .await;
    }
    proxy.cut();
    created.await??;
    updated.await??;
    server.stop().await?;
    Ok(())
}
