//! Streams of each kind, with both sides on trial, and plain peers.

use futures::StreamExt;
use natsmicro::__private::permissions::{
    Feature, Names, SERVICE, STREAMING_CALLER, STREAMING_SERVICE,
};
use natsmicro::{Client, Status, Streaming};
use natsmicro_tests::common::{Text, text};
use natsmicro_tests::streams::{PlainCaller, data, end};

use super::trial::{self, Outcome, Run, Trial, both};

#[natsmicro::service(subject_prefix = "streams.v1")]
trait Down {
    async fn repeat(&self, request: Text) -> Result<Streaming<Text>, Status>;
}

#[natsmicro::service(subject_prefix = "streams.v1")]
trait Up {
    async fn join(&self, texts: Streaming<Text>) -> Result<Text, Status>;
}

#[natsmicro::service(subject_prefix = "streams.v1")]
trait Both {
    async fn back(&self, texts: Streaming<Text>) -> Result<Streaming<Text>, Status>;
}

struct Impl;

const SERVES: [Feature; 2] = [SERVICE, STREAMING_SERVICE];

/// More than a window.
const MANY: usize = 20_000;

impl Down for Impl {
    async fn repeat(&self, request: Text) -> Result<Streaming<Text>, Status> {
        Ok(Streaming::iter(std::iter::repeat_n(request, MANY)))
    }
}

impl Up for Impl {
    async fn join(&self, mut texts: Streaming<Text>) -> Result<Text, Status> {
        let mut joined = String::new();
        while let Some(text) = texts.message().await? {
            joined.push_str(&text.text);
        }
        Ok(text(joined))
    }
}

impl Both for Impl {
    async fn back(&self, texts: Streaming<Text>) -> Result<Streaming<Text>, Status> {
        Ok(texts)
    }
}

fn names(service: &'static str, endpoints: &'static [&'static str]) -> Names<'static> {
    Names {
        service,
        prefix: "streams.v1",
        endpoints,
        bucket: "",
        inbox: "",
        peer_inbox: "_INBOX",
        api: "$JS.API",
    }
}

async fn count(mut texts: Streaming<Text>) -> Result<usize, String> {
    let mut count = 0;
    while let Some(text) = texts.next().await {
        text.map_err(trial::text)?;
        count += 1;
    }
    Ok(count)
}

fn many() -> Streaming<Text> {
    Streaming::iter(std::iter::repeat_n(text("a"), MANY))
}

async fn down(client: Client) -> Outcome {
    let opened = DownClient::new(client).repeat(text("a")).await;
    assert_eq!(count(opened.map_err(trial::text)?).await?, MANY);
    Ok(())
}

async fn up(client: Client) -> Outcome {
    let joined = UpClient::new(client).join(many()).await;
    assert_eq!(joined.map_err(trial::text)?.text.len(), MANY);
    Ok(())
}

async fn back(client: Client) -> Outcome {
    let opened = BothClient::new(client).back(many()).await;
    assert_eq!(count(opened.map_err(trial::text)?).await?, MANY);
    Ok(())
}

/// Serves one service on the connection on trial, to a client and, if that succeeds, to a plain peer.
async fn serves<S, D>(
    run: &Run,
    service: natsmicro::ServiceServer<S, D>,
    call: impl AsyncFn(Client) -> Outcome,
    plain: impl AsyncFn(&async_nats::Client),
) -> Outcome
where
    S: Send + Sync + 'static,
    D: natsmicro::Dispatch<S>,
{
    let starting = run.server().add_service(service).start();
    let running = starting.await.map_err(trial::text)?;
    let called = call(run.other_client()).await;
    if called.is_ok() {
        plain(&run.other).await;
    }
    let losses = run.losses(&running.handle());
    let stopped = running.stop().await.map_err(trial::text);
    both(both(called, losses), stopped)
}

#[tokio::test]
async fn a_service_that_streams_responses() {
    let trial = Trial::without_responses(&SERVES, names("Down", &["repeat"])).await;
    trial
        .run(async |run| {
            serves(run, DownServer::new(Impl), down, async |nats| {
                let mut peer = PlainCaller::new(nats).await;
                peer.open("streams.v1.repeat", text("a").bytes()).await;
                for number in 1..=MANY as u64 {
                    assert_eq!(peer.next().await, data(number, text("a").bytes()));
                }
                assert_eq!(peer.next().await, end());
            })
            .await
        })
        .await;
}

#[tokio::test]
async fn a_service_that_receives_streams() {
    let trial = Trial::without_responses(&SERVES, names("Up", &["join"])).await;
    trial
        .run(async |run| {
            serves(run, UpServer::new(Impl), up, async |nats| {
                let mut peer = PlainCaller::new(nats).await;
                let to = peer.handshake("streams.v1.join").await;
                for number in 1..=100 {
                    peer.send(&to, data(number, text("a").bytes())).await;
                }
                peer.send(&to, end()).await;
                let (headers, joined) = peer.next().await;
                assert_eq!(
                    (headers, joined),
                    (Vec::new(), text("a".repeat(100)).bytes())
                );
            })
            .await
        })
        .await;
}

#[tokio::test]
async fn a_service_that_streams_both_ways() {
    let trial = Trial::without_responses(&SERVES, names("Both", &["back"])).await;
    trial
        .run(async |run| {
            serves(run, BothServer::new(Impl), back, async |nats| {
                let mut peer = PlainCaller::new(nats).await;
                let to = peer.handshake("streams.v1.back").await;
                for number in 1..=100 {
                    peer.send(&to, data(number, text("a").bytes())).await;
                    assert_eq!(peer.next().await, data(number, text("a").bytes()));
                }
                peer.send(&to, end()).await;
                assert_eq!(peer.next().await, end());
            })
            .await
        })
        .await;
}

async fn calls(
    names: Names<'static>,
    add: impl FnOnce(natsmicro::Server) -> natsmicro::Server,
    call: impl AsyncFn(Client) -> Outcome,
) {
    let trial = Trial::of(&[STREAMING_CALLER], names).await;
    let server = natsmicro::Server::new(trial.admin().await);
    let running = add(server).start().await.unwrap();
    let call = async |run: &Run| call(run.client()).await;
    trial.run(call).await;
    trial.run_untold("<prefix>.<endpoint>", call).await;
    drop(running);
}

#[tokio::test]
async fn a_caller_that_receives_a_stream() {
    let add = |server: natsmicro::Server| server.add_service(DownServer::new(Impl));
    calls(names("Down", &["repeat"]), add, down).await;
}

#[tokio::test]
async fn a_caller_that_sends_a_stream() {
    let add = |server: natsmicro::Server| server.add_service(UpServer::new(Impl));
    calls(names("Up", &["join"]), add, up).await;
}

#[tokio::test]
async fn a_caller_that_streams_both_ways() {
    let add = |server: natsmicro::Server| server.add_service(BothServer::new(Impl));
    calls(names("Both", &["back"]), add, back).await;
}
