//! Deletions whose acknowledgement is late are tried again, and made once.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, kv};
use futures::TryStreamExt;
use natsmicro::Status;
use natsmicro_tests::persistence::{Gate, Nats, Save, Saved, TestResult, persistence};

#[natsmicro::service]
pub trait Profiles {
    #[kv_store(
        bucket = "profiles",
        key = "<key>",
        max_history = 9,
        purge_ttl = "1h",
        persist = "before_response"
    )]
    async fn save(&self, request: Save) -> Result<Saved, Status>;

    #[kv_delete(bucket = "profiles", key = "<key>")]
    async fn delete(&self, request: Save) -> Result<(), Status>;

    #[kv_delete(bucket = "profiles", key = "<key>", purge)]
    async fn purge(&self, request: Save) -> Result<(), Status>;
}

/// Deletes when the gate opens.
struct Gated(Arc<Gate>);

impl Profiles for Gated {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn delete(&self, _request: Save) -> Result<(), Status> {
        self.0.pass().await;
        Ok(())
    }
    async fn purge(&self, _request: Save) -> Result<(), Status> {
        self.0.pass().await;
        Ok(())
    }
}

#[tokio::test]
async fn a_late_acknowledgement() -> TestResult {
    let nats = Nats::start().await;
    let connection = nats.server.connect().await?;
    let mut impatient = jetstream::new(connection.clone());
    impatient.set_timeout(Duration::from_millis(100));
    let gate = Arc::new(Gate::default());
    let server = natsmicro::Server::new(connection)
        .with_jetstream(impatient)
        .add_service(ProfilesServer::new(Gated(gate.clone())))
        .start()
        .await?;
    let client = ProfilesClient::new(nats.client());
    for key in ["deleted", "purged", "purged"] {
        client.save(Save::new(key, "x")).await?;
    }
    let delete = tokio::spawn(client.delete(Save::new("deleted", "")).into_future());
    let purge = tokio::spawn(client.purge(Save::new("purged", "")).into_future());
    gate.reached_by(2).await;
    nats.server.pause()?;
    gate.open();
    // Several times as long as an acknowledgement is waited for.
    tokio::time::sleep(Duration::from_millis(500)).await;
    nats.server.resume()?;
    delete.await??;
    purge.await??;
    // Done behind the deletion of the same key.
    client.save(Save::new("deleted", "again")).await?;
    client.save(Save::new("purged", "again")).await?;
    for endpoint in ["delete", "purge"] {
        let stats = persistence(&server, endpoint);
        assert_eq!((stats.persisted, stats.persist_failed), (1, 0), "{stats:?}");
    }
    server.stop().await?;

    let bucket = nats.bucket("profiles").await;
    for (key, expected) in [
        (
            "deleted",
            &[
                kv::Operation::Put,
                kv::Operation::Delete,
                kv::Operation::Put,
            ][..],
        ),
        ("purged", &[kv::Operation::Purge, kv::Operation::Put]),
    ] {
        let entries: Vec<kv::Entry> = bucket.history(key).await?.try_collect().await?;
        let operations: Vec<_> = entries.iter().map(|entry| entry.operation).collect();
        assert_eq!(operations, expected, "{key}");
    }
    Ok(())
}
