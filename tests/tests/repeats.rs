//! What the writes of `write = "create"` and `"update"` rely on when an acknowledgement is lost and they are sent again.

mod persist_common;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::kv;
use async_nats::jetstream::message::PublishMessage;
use persist_common::{Nats, TestResult};

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
