//! Writes whose acknowledgement is lost are sent again: what they rely on, and what they may not undo.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::kv;
use async_nats::jetstream::message::PublishMessage;
use natsmicro::Status;
use natsmicro::store::{Operation, WatchEvent};
use natsmicro_tests::persistence::proxy::{Fault, Proxy};
use natsmicro_tests::persistence::watching::next;
use natsmicro_tests::persistence::{Gate, Nats, Save, Saved, TestResult, eventually};

/// nats-server compares revisions before it looks for duplicates, so a repetition of what it has stored is a conflict; the id in
/// the stored message tells it from an equal value of somebody else.
#[tokio::test]
async fn a_repetition_is_a_conflict_with_a_message_of_the_same_id() -> TestResult {
    let nats = Nats::start().await;
    let config = kv::Config {
        bucket: "b".to_owned(),
        ..kv::Config::default()
    };
    let store = nats.js.create_key_value(config).await?;
    for (id, expected) in [("one", 0), ("two", 1)] {
        let write = || {
            let message = PublishMessage::build()
                .payload("value".into())
                .expected_last_subject_sequence(expected)
                .message_id(id);
            nats.js.send_publish("$KV.b.key", message)
        };
        let stored = write().await?.await?;
        let error = write().await?.await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::WrongLastSequence);
        let newest = store
            .stream
            .get_last_raw_message_by_subject("$KV.b.key")
            .await?;
        assert_eq!(newest.sequence, stored.sequence);
        let header = newest.headers.get("Nats-Msg-Id").map(|id| id.as_str());
        assert_eq!(header, Some(id));
    }
    Ok(())
}

#[natsmicro::service]
pub trait Profiles {
    #[kv_store(bucket = "profiles", key = "<key>", max_history = 9)]
    async fn save(&self, request: Save) -> Result<Saved, Status>;

    #[kv_delete(bucket = "profiles", key = "<key>")]
    async fn delete(&self, request: Save) -> Result<(), Status>;

    #[kv_store(
        bucket = "brief",
        key = "<key>",
        ttl = "1s",
        marker_ttl = "1h",
        persist = "before_response"
    )]
    async fn brief(&self, request: Save) -> Result<Saved, Status>;
}

/// Answers when the gate is open.
struct Gated(Arc<Gate>);

impl Profiles for Gated {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        self.0.pass().await;
        request.answer()
    }
    async fn delete(&self, _request: Save) -> Result<(), Status> {
        self.0.pass().await;
        Ok(())
    }
    async fn brief(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

fn value(text: &str) -> Saved {
    Save::new("", text).saved()
}

/// A service stores or deletes something and does not hear of it. Others see it, and write to the key before the service can ask.
async fn nothing_is_undone(with_batches: bool) -> TestResult {
    let nats = Nats::start().await;
    let proxy = Proxy::start(&nats.server).await;
    let gate = Arc::<Gate>::default();
    let server = proxy
        .service()
        .await
        .with_batches(with_batches)
        .add_service(ProfilesServer::new(Gated(gate.clone())))
        .start()
        .await?;
    let client = ProfilesClient::new(nats.client());
    let store = client.save_kv();
    store.put("deleted", &value("old")).await?;
    let calls = [
        tokio::spawn(client.save(Save::new("purged", "x")).into_future()),
        tokio::spawn(client.save(Save::new("replaced", "x")).into_future()),
        tokio::spawn(client.save(Save::new("kept", "x")).into_future()),
    ];
    let delete = tokio::spawn(client.delete(Save::new("deleted", "")).into_future());
    gate.reached_by(4).await;
    proxy.mute();
    gate.open();
    for call in calls {
        call.await??;
    }
    delete.await??;
    let bucket = nats.bucket("profiles").await;
    for key in ["purged", "replaced", "kept", "deleted"] {
        eventually("the server has it", || async {
            let entry = bucket.entry(key).await.unwrap()?;
            let is_put = entry.operation == kv::Operation::Put;
            (is_put != (key == "deleted")).then_some(())
        })
        .await;
    }
    // More than the clocks may be apart, and the server may take to say what time it is.
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.purge("purged").await?;
    let replaced = store.put("replaced", &value("newer")).await?;
    let stored_again = store.put("deleted", &value("newer")).await?;
    proxy.cut();
    server.stop().await?;

    assert_eq!(store.get("purged").await?, None);
    assert_eq!(store.entry("replaced").await?.unwrap().revision, replaced);
    let entry = store.entry("deleted").await?.unwrap();
    assert_eq!(entry.revision, stored_again);
    // Nor is anything stored twice.
    assert_eq!(nats.revisions("profiles", "kept").await.len(), 1);
    Ok(())
}

#[tokio::test]
async fn nothing_is_undone_one_by_one() -> TestResult {
    nothing_is_undone(false).await
}

#[tokio::test]
async fn nothing_is_undone_by_batches() -> TestResult {
    nothing_is_undone(true).await
}

/// A write does not arrive, and before it is repeated, the value that was there expires: that is no write of somebody else.
async fn an_expiry_does_not_count(with_batches: bool) -> TestResult {
    let nats = Nats::start().await;
    let proxy = Proxy::start(&nats.server).await;
    let server = proxy
        .service()
        .await
        .with_batches(with_batches)
        .add_service(ProfilesServer::new(Gated(Arc::default())))
        .start()
        .await?;
    let client = ProfilesClient::new(nats.client());
    client.brief(Save::new("key", "first")).await?;
    proxy.fail("second", Fault::Swallowed);
    let second = client.brief(Save::new("key", "second"));
    let second = tokio::spawn(second.with_timeout(Duration::from_secs(30)).into_future());
    proxy.failed().await;
    let mut watch = client.brief_kv().watch("key").await?;
    let mut operations = Vec::new();
    while operations.len() < 3 {
        if let WatchEvent::Entry(entry) = next(&mut watch).await? {
            operations.push((entry.operation, entry.value.map(|value| value.text)));
        }
    }
    let put = |text: &str| (Operation::Put, Some(text.to_owned()));
    assert_eq!(operations[0], put("first"));
    assert_ne!(operations[1].0, Operation::Put);
    assert_eq!(operations[2], put("second"));
    second.await??;
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_expiry_does_not_count_one_by_one() -> TestResult {
    an_expiry_does_not_count(false).await
}

#[tokio::test]
async fn an_expiry_does_not_count_with_batches() -> TestResult {
    an_expiry_does_not_count(true).await
}
