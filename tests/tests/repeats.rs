//! What the writes of `write = "create"` and `"update"` rely on when an acknowledgement is lost and they are sent again.

mod persist_common;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::kv;
use async_nats::jetstream::message::PublishMessage;
use persist_common::{Nats, TestResult};

/// nats-server knows a repetition by its id before it compares revisions: the one that was stored is acknowledged again, and
/// an equal value of somebody else is a conflict.
#[tokio::test]
async fn the_server_knows_a_repetition_before_it_compares_revisions() -> TestResult {
    let nats = Nats::start().await;
    let config = kv::Config {
        bucket: "b".to_owned(),
        ..kv::Config::default()
    };
    nats.js.create_key_value(config).await?;
    let write = |id: &str, expected| {
        let message = PublishMessage::build()
            .payload("value".into())
            .expected_last_subject_sequence(expected)
            .message_id(id);
        nats.js.send_publish("$KV.b.key", message)
    };

    let created = write("one", 0).await?.await?;
    assert!(!created.duplicate);
    let repeated = write("one", 0).await?.await?;
    assert!(repeated.duplicate);
    assert_eq!(repeated.sequence, created.sequence);
    let error = write("two", 0).await?.await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::WrongLastSequence);

    let updated = write("three", created.sequence).await?.await?;
    let repeated = write("three", created.sequence).await?.await?;
    assert_eq!(repeated.sequence, updated.sequence);
    let error = write("four", created.sequence).await?.await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::WrongLastSequence);
    Ok(())
}
