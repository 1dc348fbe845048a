//! `$SRV.STATS` counts every outcome of a call, and what became of the responses that are stored.

use std::time::Duration;

use natsmicro::Status;
use natsmicro::discovery::EndpointStats;
use natsmicro::testing::NatsServer;
use natsmicro_tests::common::{Nats, TestResult, Text, discover, text};
use serde_json::{Value, json};

#[natsmicro::service(subject_prefix = "s")]
trait Counted {
    #[endpoint(timeout = "100ms")]
    async fn any(&self, request: Text) -> Result<Text, Status>;
    async fn idle(&self) -> Result<(), Status>;
    #[kv_store(bucket = "texts", key = "<text>")]
    async fn kept(&self, request: Text) -> Result<Text, Status>;
    #[kv_store(bucket = "texts", key = "<text>", client_only)]
    async fn client_only(&self, request: Text) -> Result<Text, Status>;
}

struct Service;

impl Counted for Service {
    async fn any(&self, request: Text) -> Result<Text, Status> {
        match request.text.as_str() {
            "error" => Err(Status::new("LOCKED", "come\nback")),
            "long error" => Err(Status::internal("x".repeat(2_000_000))),
            "panic" => panic!("secret"),
            "deadline" => std::future::pending().await,
            "large" => Ok(text("x".repeat(2_000_000))),
            _ => {
                tokio::time::sleep(Duration::from_millis(2)).await;
                Ok(request)
            }
        }
    }

    async fn idle(&self) -> Result<(), Status> {
        Ok(())
    }

    async fn kept(&self, request: Text) -> Result<Text, Status> {
        match request.text.as_str() {
            "error" => Err(Status::not_found("")),
            _ => Ok(request),
        }
    }

    async fn client_only(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
}

async fn stats(nats: &Nats) -> Value {
    discover(&nats.caller, "$SRV.STATS.Counted", 1)
        .await
        .remove(0)
}

#[tokio::test]
async fn every_outcome_is_counted() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.server().add_service(CountedServer::new(Service));
    let server = server.start().await?;
    let mut errors = 0;
    let mut last_error = String::new();
    let mut processing = 0;
    for (n, (payload, error)) in [
        ("ok", None),
        ("error", Some("LOCKED:come\nback")),
        (
            "panic",
            Some("INTERNAL:the service failed to handle the request"),
        ),
        ("ok", None),
        ("deadline", Some("DEADLINE_EXCEEDED:")),
        ("large", Some("RESOURCE_EXHAUSTED:the response has 20")),
        (
            "garbage",
            Some("INVALID_ARGUMENT:failed to decode request: "),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let payload = match payload {
            "garbage" => b"\xff"[..].into(),
            other => text(other).bytes(),
        };
        nats.ask("s.any", payload).await;
        errors += u64::from(error.is_some());
        if let Some(error) = error {
            error.clone_into(&mut last_error);
        }
        // Counted a moment after the answer is sent.
        let any = loop {
            let any = stats(&nats).await["endpoints"][0].take();
            if any["num_requests"] == n + 1 {
                break any;
            }
            assert_eq!(any["num_requests"], n, "{last_error}");
        };
        assert_eq!(any["num_errors"], errors, "{any}");
        let text = any["last_error"].as_str().unwrap();
        assert!(text.starts_with(&last_error), "{text}");
        let total = any["processing_time"].as_u64().unwrap();
        assert!(total > processing, "{any}");
        processing = total;
        assert_eq!(any["average_processing_time"], total / (n as u64 + 1));
    }
    // At least the sleeps of the two that succeeded and the deadline.
    assert!(processing > 100_000_000, "{processing}");

    let idle = &stats(&nats).await["endpoints"][1];
    assert_eq!(
        (&idle["num_requests"], &idle["last_error"]),
        (&json!(0), &json!(""))
    );
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn reset_begins_anew() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.persisting().add_service(CountedServer::new(Service));
    let server = server.start().await?;
    nats.ask("s.any", text("error").bytes()).await;
    nats.ask("s.kept", text("a").bytes()).await;
    let before = server.stats().remove(0);
    server.reset();
    let after = server.stats().remove(0);
    assert!(after.started > before.started);
    assert_eq!(after.id, before.id);
    let EndpointStats {
        num_requests,
        num_errors,
        last_error,
        processing_time,
        ..
    } = &after.endpoints[0];
    assert_eq!((*num_requests, *num_errors), (0, 0));
    assert_eq!(
        (last_error.as_str(), *processing_time),
        ("", Duration::ZERO)
    );
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn writes_are_counted_where_there_are_any() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.persisting().add_service(CountedServer::new(Service));
    let server = server.start().await?;
    for text in ["a", "b", "a", "error", "x y"].map(text) {
        nats.ask("s.kept", text.bytes()).await;
    }
    nats.ask("s.client_only", text("c").bytes()).await;
    let kept = loop {
        let stats = stats(&nats).await;
        for without in [0, 1, 3] {
            assert_eq!(stats["endpoints"][without].get("data"), None);
        }
        let kept = stats["endpoints"][2].clone();
        if kept["data"]["persist_pending"] == 0 && kept["num_requests"] == 5 {
            break kept;
        }
    };
    let data = json!({
        "persisted": 3,
        "skipped": 0,
        "persist_failed": 0,
        "persist_pending": 0,
        "buckets_recreated": 0,
    });
    assert_eq!(kept["data"], data);
    assert_eq!(kept["num_errors"], 2);

    let entry = nats
        .jetstream()
        .get_key_value("texts")
        .await?
        .get("c")
        .await?;
    assert_eq!(entry, None);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn without_jetstream_there_are_no_writes_to_count() -> TestResult {
    let nats = Nats::with(NatsServer::builder().jetstream(false)).await;
    let server = nats.server().add_service(CountedServer::new(Service));
    let server = server.start().await?;
    let client = CountedClient::new(nats.caller.clone());
    // No key is needed, so any text will do.
    assert_eq!(client.kept(text("x y")).await?, text("x y"));
    assert_eq!(stats(&nats).await["endpoints"][2].get("data"), None);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn the_last_error_is_short_enough_to_be_told() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.server().add_service(CountedServer::new(Service));
    let server = server.start().await?;
    nats.ask("s.any", text("long error").bytes()).await;
    let last = stats(&nats).await["endpoints"][0]["last_error"].take();
    assert!(last.as_str().unwrap().starts_with("INTERNAL:xxx"), "{last}");
    server.stop().await?;
    Ok(())
}
