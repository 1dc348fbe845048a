//! A handler that does not want its response stored.

use natsmicro::{Code, Context, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, persistence};

#[natsmicro::service]
pub trait Choosy {
    #[kv_store(bucket = "after", key = "<key>")]
    async fn after(&self, cx: &Context, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "before", key = "<key>", persist = "before_response")]
    async fn before(&self, cx: &Context, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "both", key = "<key>", persist = "before_response")]
    #[object_store(bucket = "both", key = "<key>", persist = "before_response")]
    async fn both(&self, cx: &Context, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "after", key = "named.<response.text>")]
    async fn named(&self, cx: &Context, request: Save) -> Result<Saved, Status>;

    async fn nowhere(&self, cx: &Context, request: Save) -> Result<Saved, Status>;
}

/// Stores what has a number.
struct Service;

fn answer(cx: &Context, mut request: Save) -> Result<Saved, Status> {
    if request.n == 0 {
        cx.do_not_store();
        assert!(!cx.stores_response());
    }
    if request.text == "large" {
        request.text = "x".repeat(2 * 1024 * 1024);
    }
    request.answer()
}

impl Choosy for Service {
    async fn after(&self, cx: &Context, request: Save) -> Result<Saved, Status> {
        answer(cx, request)
    }
    async fn before(&self, cx: &Context, request: Save) -> Result<Saved, Status> {
        answer(cx, request)
    }
    async fn both(&self, cx: &Context, request: Save) -> Result<Saved, Status> {
        answer(cx, request)
    }
    async fn named(&self, cx: &Context, request: Save) -> Result<Saved, Status> {
        answer(cx, request)
    }
    async fn nowhere(&self, cx: &Context, request: Save) -> Result<Saved, Status> {
        answer(cx, request)
    }
}

#[tokio::test]
async fn one_call_is_left_out_and_the_next_is_stored() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(ChoosyServer::new(Service))
        .start()
        .await?;
    let client = ChoosyClient::new(nats.client());
    for n in [0, 1, 0] {
        let request = Save::number("ada", n);
        assert_eq!(client.after(request.clone()).await?.n, n);
        assert_eq!(client.before(request.clone()).await?.n, n);
        assert_eq!(client.both(request.clone()).await?.n, n);
        assert_eq!(client.nowhere(request).await?.n, n);
    }
    for (endpoint, stores) in [("before", 1), ("both", 2)] {
        let stats = persistence(&server, endpoint);
        assert_eq!(stats.persisted, stores, "{endpoint}: {stats:?}");
        assert_eq!(stats.skipped, 2 * stores, "{endpoint}: {stats:?}");
        assert_eq!((stats.persist_failed, stats.persist_pending), (0, 0));
    }
    server.stop().await?;

    let stored = Some(Save::number("ada", 1).saved());
    assert_eq!(client.get_after_from_kv("ada").await?, stored);
    assert_eq!(client.get_before_from_kv("ada").await?, stored);
    assert_eq!(client.get_both_from_kv("ada").await?, stored);
    assert_eq!(client.get_both_from_object_store("ada").await?, stored);
    for bucket in ["after", "before", "both"] {
        let stream = nats.js.get_stream(format!("KV_{bucket}")).await?;
        assert_eq!(stream.cached_info().state.last_sequence, 1, "{bucket}");
    }
    Ok(())
}

#[tokio::test]
async fn the_reply_waits_for_no_store() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .with_persist_timeout(std::time::Duration::from_millis(100))
        .add_service(ChoosyServer::new(Service))
        .start()
        .await?;
    nats.js.delete_key_value("before").await?;
    let client = ChoosyClient::new(nats.client());
    client.before(Save::number("ada", 0)).await?;
    let error = client.before(Save::number("ada", 1)).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable);
    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count(), 1, "{error}");
    Ok(())
}

/// The request is refused before the handler can say anything; a response that makes no key is none of the store's business.
#[tokio::test]
async fn only_the_key_of_the_request_must_be_right() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(ChoosyServer::new(Service))
        .start()
        .await?;
    let client = ChoosyClient::new(nats.client());
    let error = client.after(Save::number("not a key", 0)).await;
    assert_eq!(error.unwrap_err().code(), &Code::InvalidArgument);
    client.named(Save::new("ada", "no key")).await?;
    let stats = persistence(&server, "named");
    assert_eq!((stats.skipped, stats.persist_failed), (1, 0), "{stats:?}");
    server.stop().await?;
    Ok(())
}

/// Without the object there is nothing that a caller could fetch in place of the reply.
#[tokio::test]
async fn a_response_that_is_too_large_is_lost() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(ChoosyServer::new(Service))
        .start()
        .await?;
    let client = ChoosyClient::new(nats.client());
    let result = client.both(Save::new("ada", "large")).await;
    let error = result.err().ok_or("a reply that is too large")?;
    assert_eq!(error.code(), &Code::ResourceExhausted);
    assert!(!error.message().contains("object"), "{error}");
    assert_eq!(persistence(&server, "both").skipped, 2);
    server.stop().await?;
    Ok(())
}
