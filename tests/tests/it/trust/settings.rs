//! What the owner of a server allows and bounds.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use natsmicro::{Server, StartErrorKind, Status, Streaming};
use natsmicro_tests::common::{Nats, Text, soon, synced, text};
use natsmicro_tests::streams::{PlainCaller, data, end};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[natsmicro::service(subject_prefix = "bounded")]
trait Bounded {
    async fn echo(&self, request: Text) -> Result<Text, Status>;
    /// Never answers.
    #[endpoint(max_in_flight = 1)]
    async fn hang(&self, request: Text) -> Result<Text, Status>;
    /// Reads when the gate is closed.
    async fn count(&self, requests: Streaming<Text>) -> Result<Text, Status>;
}

struct Service(Arc<Semaphore>);

impl Bounded for Service {
    async fn echo(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }

    async fn hang(&self, _request: Text) -> Result<Text, Status> {
        std::future::pending().await
    }

    async fn count(&self, mut requests: Streaming<Text>) -> Result<Text, Status> {
        let _closed = self.0.acquire().await;
        let mut count = 0;
        while requests.message().await?.is_some() {
            count += 1;
        }
        Ok(text(count.to_string()))
    }
}

fn server(nats: &Nats) -> Server {
    server_with(nats, Arc::new(Semaphore::new(0)))
}

fn server_with(nats: &Nats, gate: Arc<Semaphore>) -> Server {
    let server = nats.server().with_drain_timeout(Duration::from_millis(100));
    server.add_service(BoundedServer::new(Service(gate)))
}

#[tokio::test]
async fn replies_go_to_what_the_owner_allows() {
    let nats = Nats::start().await;
    let server = server(&nats)
        .with_reply_subjects("billing.results.>")
        .with_reply_subjects("old.*");
    let _running = server.start().await.unwrap();
    let mut all = nats.caller.subscribe(">").await.unwrap();
    synced(&nats.caller).await;
    for reply in ["billing.charge", "old.a.b", "old.a", "billing.results.a"] {
        let request = text(reply).bytes();
        let sent = nats
            .caller
            .publish_with_reply("bounded.echo", reply, request);
        sent.await.unwrap();
    }
    let mut answered = Vec::new();
    while answered
        .last()
        .is_none_or(|last| last != "billing.results.a")
    {
        let message = soon(all.next()).await.unwrap();
        if message.subject.starts_with("old.") || message.subject.starts_with("billing.") {
            answered.push(message.subject.to_string());
        }
    }
    assert_eq!(answered, ["old.a", "billing.results.a"]);
}

#[tokio::test]
async fn a_pattern_of_reply_subjects_matches_neither_nats_nor_an_endpoint() {
    let nats = Nats::start().await;
    for pattern in [
        "$JS.API.>",
        "$KV.b.k",
        ">",
        "*",
        "bounded.>",
        "bounded.*",
        "bounded.echo",
        "a..b",
    ] {
        let started = server(&nats).with_reply_subjects(pattern).start().await;
        let error = started.unwrap_err();
        assert_eq!(error.kind(), &StartErrorKind::InvalidSettings, "{pattern}");
        assert!(error.to_string().contains(pattern), "{error}");
    }
}

/// A connection whose inboxes have a prefix without `_` needs the owner's permission.
#[tokio::test]
async fn callers_with_another_inbox_prefix_are_answered_if_they_are_allowed() {
    let nats = Nats::start().await;
    let options = async_nats::ConnectOptions::new().custom_inbox_prefix("replies.ada");
    let connection = nats.server.connect_with(options).await.unwrap();
    let client = BoundedClient::new(connection);

    let running = server(&nats).start().await.unwrap();
    let call = client
        .echo(text("a"))
        .with_timeout(Duration::from_millis(300));
    let error = call.await.unwrap_err();
    assert_eq!(error.code().as_str(), "DEADLINE_EXCEEDED");
    assert!(error.message().contains("`replies.ada`"), "{error}");
    let stats = running.stats();
    let echo = &stats[0].endpoints[0];
    assert_eq!((echo.num_requests, echo.num_errors), (1, 1));
    assert!(
        echo.last_error.contains("replies.ada"),
        "{}",
        echo.last_error
    );
    running.stop().await.unwrap();

    let allowed = server(&nats).with_reply_subjects("replies.ada.>");
    let _running = allowed.start().await.unwrap();
    assert_eq!(
        soon(client.echo(text("a")).into_future()).await,
        Ok(text("a"))
    );
}

/// The memory of what waits is that of the server, and not of each endpoint.
#[tokio::test]
async fn requests_without_memory_are_refused() {
    const KIB: usize = 1024;
    let nats = Nats::start().await;
    let running = server(&nats)
        .with_waiting_memory(64 * KIB)
        .start()
        .await
        .unwrap();
    let client = BoundedClient::new(nats.caller.clone());
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        calls.spawn(async move { client.hang(text("x".repeat(10 * KIB))).await });
    }
    // One runs, and six fit.
    let mut refused = 0;
    while refused < 13 {
        let ended = soon(calls.join_next()).await.unwrap().unwrap();
        assert_eq!(ended.unwrap_err().code().as_str(), "RESOURCE_EXHAUSTED");
        refused += 1;
    }
    assert_eq!(calls.len(), 7);
    assert_eq!(client.echo(text("a")).await, Ok(text("a")));
    calls.shutdown().await;
    assert!(running.stop().await.is_err(), "what hangs is dropped");
}

#[tokio::test]
async fn plain_streams_without_memory_end() {
    let nats = Nats::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let server = server_with(&nats, Arc::clone(&gate)).with_plain_stream_memory(10_000);
    let _running = server.start().await.unwrap();
    let mut callers = [
        PlainCaller::new(&nats.caller).await,
        PlainCaller::new(&nats.caller).await,
    ];
    // The first takes what there is.
    for (caller, messages) in callers.iter().zip([2, 1]) {
        let inbox = caller.handshake("bounded.count").await;
        for number in 1..=messages {
            let payload = text("x".repeat(4_000)).bytes();
            caller.send(&inbox, data(number, payload)).await;
        }
        caller.send(&inbox, end()).await;
        synced(&nats.caller).await;
    }
    // What was sent before has arrived.
    synced(&nats.service).await;
    gate.close();
    let [first, second] = &mut callers;
    let (headers, payload) = first.next().await;
    assert_eq!((headers, payload), (vec![], text("2").bytes()));
    let (headers, _) = second.next().await;
    let code = headers
        .iter()
        .find(|(name, _)| name == "Nats-Service-Error-Code");
    assert_eq!(
        code.map(|(_, code)| code.as_str()),
        Some("RESOURCE_EXHAUSTED")
    );
}
