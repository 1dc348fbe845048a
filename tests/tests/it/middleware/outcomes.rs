//! A layer sees what the caller gets: every code, for methods of all four kinds, on both sides.

use async_nats::jetstream;
use futures::StreamExt;
use natsmicro::{Client, RunningServer, ServiceError as _, Status, Streaming};
use natsmicro_tests::common::{Nats, soon};

use super::shop::{Audit, Impl, OrderError, ShopClient, ShopServer, code, codes, order};

struct Env {
    nats: Nats,
    server: RunningServer,
    client: ShopClient,
    /// What a layer of the server has seen.
    served: Audit,
    /// What a layer of the client has seen.
    called: Audit,
}

async fn env() -> Env {
    let nats = Nats::start().await;
    let (served, called) = (Audit::default(), Audit::default());
    let server = nats.persisting().layer(served.layer());
    let server = server.add_service(ShopServer::new(Impl)).start();
    Env {
        server: server.await.unwrap(),
        client: ShopClient::new(
            Client::new(nats.caller.clone())
                .with_jetstream(jetstream::new(nats.caller.clone()))
                .layer(called.layer()),
        ),
        nats,
        served,
        called,
    }
}

impl Env {
    /// Both layers have seen this outcome of the call, and nothing else.
    async fn saw(&self, method: &'static str, code: &str) {
        let expected = (method, code.to_owned());
        assert_eq!(self.served.next().await, expected, "on the server");
        assert_eq!(self.called.next().await, expected, "on the client");
        assert!(self.served.is_empty() && self.called.is_empty());
    }
}

/// What handlers do: each code, and what the pipeline makes of a panic, of a passed deadline, and of a response that is too large.
fn orders() -> Vec<(String, String)> {
    let fails_with = |code: String| (format!("code {code}"), code);
    let others = [
        ("fine", "OK"),
        ("sold out", "SOLD_OUT"),
        ("panic", "INTERNAL"),
        ("slow", "DEADLINE_EXCEEDED"),
        ("large", "RESOURCE_EXHAUSTED"),
    ];
    let others = others.map(|(id, code)| (id.to_owned(), code.to_owned()));
    codes()
        .into_iter()
        .map(fails_with)
        .chain(others)
        .chain([("invalid".to_owned(), "OUT_OF_RANGE".to_owned())])
        .collect()
}

/// The outcome of a stream that was opened.
async fn read_to_end<T>(opened: Result<Streaming<T>, OrderError>) -> Result<(), OrderError> {
    let mut messages = opened?;
    while let Some(message) = soon(messages.next()).await {
        message.map_err(OrderError::from_status)?;
    }
    Ok(())
}

#[tokio::test]
async fn of_unary_calls() {
    let env = env().await;
    for (id, expected) in orders() {
        let got = soon(env.client.order(order(&id))).await;
        assert_eq!(code(&got), expected, "{id}");
        env.saw("order", &expected).await;
    }
}

#[tokio::test]
async fn of_streams_of_responses() {
    let env = env().await;
    for (id, expected) in orders() {
        // At once, and after the first message.
        for id in [id.clone(), format!("late {id}")] {
            let expected = match id.as_str() {
                // Only the request is validated.
                "late invalid" => "OK",
                _ => &expected,
            };
            let opened = soon(env.client.follow(order(&id))).await;
            let got = read_to_end(opened).await;
            assert_eq!(code(&got), expected, "{id}");
            env.saw("follow", expected).await;
        }
    }
}

#[tokio::test]
async fn of_streams_of_requests() {
    let env = env().await;
    for (id, expected) in orders() {
        let orders = Streaming::iter([order("fine"), order(&id)]);
        let got = soon(env.client.collect(orders)).await;
        assert_eq!(code(&got), expected, "{id}");
        env.saw("collect", &expected).await;
    }
}

#[tokio::test]
async fn of_streams_both_ways() {
    let env = env().await;
    for (id, expected) in orders() {
        let orders = Streaming::iter([order("fine"), order(&id)]);
        let opened = soon(env.client.trade(orders)).await;
        let got = read_to_end(opened).await;
        assert_eq!(code(&got), expected, "{id}");
        env.saw("trade", &expected).await;
    }
}

#[tokio::test]
async fn of_requests_that_no_handler_gets() {
    let env = env().await;
    for subject in ["shop.order", "shop.keep", "shop.follow"] {
        let reply = env.nats.ask(subject, "no json").await;
        let (code, _) = natsmicro_tests::common::error_of(&reply).unwrap();
        assert_eq!(code, "INVALID_ARGUMENT");
        let method = subject.trim_start_matches("shop.");
        let served = env.served.next().await;
        assert_eq!(served, (method, "INVALID_ARGUMENT".to_owned()));
    }
    // No key of a store can be made.
    let got = soon(env.client.keep(order("no key"))).await;
    assert_eq!(got.unwrap_err().code().as_str(), "INVALID_ARGUMENT");
    env.saw("keep", "INVALID_ARGUMENT").await;
}

#[tokio::test]
async fn of_writes_before_the_reply() {
    let env = env().await;
    let keep = |id: &str| env.client.keep(order(id)).into_future();
    soon(keep("1")).await.unwrap();
    env.saw("keep", "OK").await;
    // The handler has returned its response, and then the write fails.
    let exists = soon(keep("1")).await.unwrap_err();
    assert_eq!(exists.code().as_str(), "ALREADY_EXISTS");
    env.saw("keep", "ALREADY_EXISTS").await;
    let jetstream = jetstream::new(env.nats.caller.clone());
    jetstream.delete_key_value("orders").await.unwrap();
    let failed = soon(keep("2")).await.unwrap_err();
    env.saw("keep", failed.code().as_str()).await;
    assert!(env.server.health().live);
}

#[tokio::test]
async fn of_callers_that_leave() {
    let env = env().await;
    let mut messages = soon(env.client.follow(order("late slow"))).await.unwrap();
    soon(messages.next()).await.unwrap().unwrap();
    drop(messages);
    env.saw("follow", "CANCELLED").await;
}

#[tokio::test]
async fn of_calls_that_a_stop_cuts_off() {
    let nats = Nats::start().await;
    let served = Audit::default();
    let server = nats
        .server()
        .with_drain_timeout(std::time::Duration::from_millis(50));
    let server = server.add_service(Endless::server(&served)).start();
    let server = server.await.unwrap();
    let client = EndlessClient::new(nats.caller.clone());
    let mut messages = soon(client.endless()).await.unwrap();
    soon(messages.next()).await.unwrap().unwrap();
    let inbox = nats.caller.new_inbox();
    let mut replies = nats.caller.subscribe(inbox.clone()).await.unwrap();
    let request = nats
        .caller
        .publish_with_reply("endless.wait", inbox, "".into());
    request.await.unwrap();
    natsmicro_tests::common::synced(&nats.caller).await;
    let lost = soon(server.stop()).await.unwrap_err();
    let calls: usize = lost.unfinished_calls().iter().map(|it| it.calls).sum();
    assert_eq!(calls, 2);
    let end = soon(messages.next()).await.unwrap().unwrap_err();
    assert_eq!(end.code().as_str(), "UNAVAILABLE");
    let reply = soon(replies.next()).await.unwrap();
    let (code, _) = natsmicro_tests::common::error_of(&reply).unwrap();
    assert_eq!(code, "UNAVAILABLE");
    let headers = reply.headers.unwrap();
    assert_eq!(headers.get("Natsmicro-Stopping").unwrap().as_str(), "1");
    let mut seen = [served.next().await, served.next().await];
    seen.sort();
    let unavailable = |method| (method, "UNAVAILABLE".to_owned());
    assert_eq!(seen, [unavailable("endless"), unavailable("wait")]);
}

#[natsmicro::service(codec = "json", subject_prefix = "endless")]
trait Stream {
    async fn endless(&self) -> Result<Streaming<u64>, Status>;
    async fn wait(&self) -> Result<(), Status>;
}

type EndlessClient = StreamClient;

struct Endless;

impl Endless {
    fn server(audit: &Audit) -> StreamServer<Self> {
        StreamServer::new(Self).layer(audit.layer())
    }
}

impl Stream for Endless {
    async fn endless(&self) -> Result<Streaming<u64>, Status> {
        let one = futures::stream::iter([Ok(1)]);
        Ok(Streaming::new(one.chain(futures::stream::pending())))
    }

    async fn wait(&self) -> Result<(), Status> {
        std::future::pending().await
    }
}
