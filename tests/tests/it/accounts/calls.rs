//! Calls without streams between two accounts, and discovery.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use natsmicro::testing::NatsServer;
use natsmicro::{Code, Context, RunningServer, Status};
use natsmicro_tests::accounts::{accounts, nats, on};
use natsmicro_tests::common::{
    Nats, OnDrop, Text, code_of, discover, error_of, soon, synced, text,
};
use tokio::sync::mpsc;

#[natsmicro::service(subject_prefix = "calls", name = "Calls")]
trait Calls {
    /// Answers with the milliseconds that are left of the call.
    async fn remaining(&self, cx: &Context, request: Text) -> Result<Text, Status>;
    async fn fail(&self, request: Text) -> Result<Text, Status>;
    /// Never answers.
    async fn hang(&self, request: Text) -> Result<Text, Status>;
}

struct Service(mpsc::UnboundedSender<()>);

impl Calls for Service {
    async fn remaining(&self, cx: &Context, _request: Text) -> Result<Text, Status> {
        if let Some(value) = cx.header("X-Req") {
            cx.insert_response_header("X-Resp", value)?;
        }
        let remaining = cx.remaining().map_or(0, |left| left.as_millis());
        Ok(text(remaining.to_string()))
    }

    async fn fail(&self, request: Text) -> Result<Text, Status> {
        Err(Status::new("NOT_TODAY", request.text).with_details("details"))
    }

    async fn hang(&self, _request: Text) -> Result<Text, Status> {
        let _on_drop = OnDrop(self.0.clone());
        std::future::pending().await
    }
}

struct Env {
    nats: Nats,
    _server: RunningServer,
    client: CallsClient,
    dropped: mpsc::UnboundedReceiver<()>,
}

async fn env(nats: Nats) -> Env {
    let (sender, dropped) = mpsc::unbounded_channel();
    let server = nats.server().add_service(CallsServer::new(Service(sender)));
    let client = CallsClient::new(nats.caller.clone());
    Env {
        _server: server.start().await.unwrap(),
        // As the import maps it.
        client: client.with_subject_prefix("remote.calls"),
        nats,
        dropped,
    }
}

#[tokio::test]
async fn a_call_passes_with_its_headers_and_its_deadline() {
    for response_type in ["singleton", "stream", "chunked"] {
        let mut env = env(nats(response_type).await).await;
        let call = env.client.remaining(text("")).with_header("X-Req", "x");
        let call = call.with_timeout(Duration::from_secs(100));
        let response = soon(call.response()).await.unwrap();
        assert_eq!(response.headers().get("X-Resp").unwrap().as_str(), "x");
        let remaining: u64 = response.get_ref().text.parse().unwrap();
        assert!((90_000..=100_000).contains(&remaining), "{remaining}");

        let hanging = env.client.hang(text(""));
        let hanging = hanging.with_timeout(Duration::from_millis(200));
        assert_eq!(code_of(soon(hanging).await), "DEADLINE_EXCEEDED");
        soon(env.dropped.recv()).await;
    }
}

#[tokio::test]
async fn an_error_passes_with_its_details() {
    let env = env(nats("singleton").await).await;
    let error = soon(env.client.fail(text("no"))).await.unwrap_err();
    assert_eq!(error.code(), &Code::from("NOT_TODAY"));
    assert_eq!(error.message(), "no");
    assert_eq!(&error.details()[..], b"details");
    let undecodable = env.nats.ask("remote.calls.fail", "\u{1}").await;
    assert_eq!(error_of(&undecodable).unwrap().0, "INVALID_ARGUMENT");
}

#[tokio::test]
async fn a_call_of_a_service_that_does_not_run_fails_at_once() {
    let nats = nats("singleton").await;
    let client = CallsClient::new(nats.caller.clone()).with_subject_prefix("remote.calls");
    let since = Instant::now();
    assert_eq!(code_of(soon(client.fail(text(""))).await), "UNAVAILABLE");
    assert!(since.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn discovery_passes() {
    let env = env(nats("singleton").await).await;
    let (sender, _receiver) = mpsc::unbounded_channel();
    let second = env.nats.server();
    let second = second.add_service(CallsServer::new(Service(sender)));
    let _second = second.start().await.unwrap();
    soon(env.client.remaining(text(""))).await.unwrap();

    let ids = discover(&env.nats.caller, "$SRV.PING", 2).await;
    assert_ne!(ids[0]["id"], ids[1]["id"]);
    for id in ids {
        let id = id["id"].as_str().unwrap();
        let info = discover(&env.nats.caller, &format!("$SRV.INFO.Calls.{id}"), 1).await;
        assert_eq!(info[0]["endpoints"][0]["subject"], "calls.remaining");
    }
    let stats = discover(&env.nats.caller, "$SRV.STATS.Calls", 2).await;
    let requests = stats.iter().map(|it| &it["endpoints"][0]["num_requests"]);
    assert_eq!(requests.map(|it| it.as_u64().unwrap()).sum::<u64>(), 1);
}

/// What an export of discovery needs its response type for.
#[tokio::test]
async fn discovery_by_single_replies_finds_one_instance() {
    let config = accounts("singleton").replace("response_type: stream", "response_type: singleton");
    let nats = on(NatsServer::builder().config(config)).await;
    let env = env(nats).await;
    let (sender, _receiver) = mpsc::unbounded_channel();
    let second = env.nats.server();
    let second = second.add_service(CallsServer::new(Service(sender)));
    let _second = second.start().await.unwrap();

    let caller = &env.nats.caller;
    let inbox = caller.new_inbox();
    let mut answers = caller.subscribe(inbox.clone()).await.unwrap();
    let ping =
        caller.publish_with_reply_and_headers("$SRV.PING", inbox, HeaderMap::new(), Bytes::new());
    ping.await.unwrap();
    soon(answers.next()).await.unwrap();
    // What the service has sent before has arrived, if it does.
    synced(&env.nats.service).await;
    soon(env.client.remaining(text(""))).await.unwrap();
    synced(caller).await;
    assert!(answers.next().now_or_never().is_none());
}
