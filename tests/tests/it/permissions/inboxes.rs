//! Connections without echo, with inbox prefixes of their own, and behind another prefix of the JetStream API.

use async_nats::{ConnectOptions, jetstream};
use futures::TryStreamExt;
use natsmicro::__private::permissions::{
    CALLER, Feature, KV_CREATE_BUCKET, KV_READ, KV_WATCH, KV_WRITE, Names, OBJECT_CREATE_BUCKET,
    OBJECT_READ, OBJECT_WRITE, Permissions, SERVICE, STREAMING_CALLER, STREAMING_SERVICE,
};
use natsmicro::testing::NatsServer;
use natsmicro::{Client, ConnectionEvents, Server, Status, Streaming};
use natsmicro_tests::common::{TestResult, Text, soon, text};

use super::trial;

#[natsmicro::service(subject_prefix = "mixed.v1")]
trait Mixed {
    #[kv_store(bucket = "mixed", key = "<text>", persist = "before_response")]
    async fn save(&self, request: Text) -> Result<Text, Status>;
    #[object_store(bucket = "mixed", key = "<text>")]
    async fn report(&self, request: Text) -> Result<Text, Status>;
    async fn back(&self, texts: Streaming<Text>) -> Result<Streaming<Text>, Status>;
}

/// Answers with more than fits into a reply.
const LARGE: usize = 2 << 20;

struct Impl;

impl Mixed for Impl {
    async fn save(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
    async fn report(&self, _request: Text) -> Result<Text, Status> {
        Ok(text("x".repeat(LARGE)))
    }
    async fn back(&self, texts: Streaming<Text>) -> Result<Streaming<Text>, Status> {
        Ok(texts)
    }
}

const SERVES: [Feature; 6] = [
    SERVICE,
    STREAMING_SERVICE,
    KV_WRITE,
    KV_CREATE_BUCKET,
    OBJECT_WRITE,
    OBJECT_CREATE_BUCKET,
];
const CALLS: [Feature; 5] = [CALLER, STREAMING_CALLER, KV_READ, KV_WATCH, OBJECT_READ];

/// A nats-server with a user for each side, whose inboxes have these prefixes.
async fn server(service_inbox: &str, caller_inbox: &str) -> NatsServer {
    let names = Names {
        service: "Mixed",
        prefix: "mixed.v1",
        endpoints: &["save", "report", "back"],
        bucket: "mixed",
        inbox: service_inbox,
        peer_inbox: caller_inbox,
        ..Names::default()
    };
    let rights = |features: &'static [Feature]| features.iter().flat_map(|it| it.rights);
    let service = Permissions::default().with(rights(&SERVES), &names);
    let names = Names {
        inbox: caller_inbox,
        peer_inbox: service_inbox,
        ..names
    };
    let caller = Permissions::default().with(rights(&CALLS), &names);
    let config = format!(
        "authorization {{ users: [\n{{ user: service, password: x, permissions: {service} }}\n\
         {{ user: caller, password: x, permissions: {caller} }}\n] }}"
    );
    NatsServer::builder().config(config).start().await.unwrap()
}

fn as_user(name: &str) -> (ConnectOptions, ConnectionEvents) {
    let events = ConnectionEvents::new();
    let options = ConnectOptions::with_user_and_password(name.into(), "x".into());
    (options.event_callback(events.callback()), events)
}

/// Everything works: calls, streams, what is stored, and what is too large for a reply.
async fn works(
    server: &NatsServer,
    service: impl FnOnce(ConnectOptions) -> ConnectOptions,
    caller: impl FnOnce(ConnectOptions) -> ConnectOptions,
) -> TestResult {
    let (options, events) = as_user("service");
    let nats = server.connect_with(service(options)).await?;
    let running = Server::new(nats.clone())
        .with_jetstream(jetstream::new(nats))
        .with_connection_events(events)
        .add_service(MixedServer::new(Impl))
        .start();
    let running = soon(running).await?;
    let (options, events) = as_user("caller");
    let nats = server.connect_with(caller(options)).await?;
    let client = Client::new(nats.clone())
        .with_jetstream(jetstream::new(nats))
        .with_connection_events(events);
    let client = MixedClient::new(client);
    assert_eq!(soon(client.save(text("small"))).await?, text("small"));
    assert_eq!(soon(client.report(text("large"))).await?.text.len(), LARGE);
    let texts = Streaming::iter((0..5_000).map(|_| text("a")));
    let back = soon(client.back(texts)).await?;
    let back: Vec<_> = soon(back.try_collect()).await?;
    assert_eq!(back.len(), 5_000);
    let stored = soon(client.get_save_from_kv("small")).await?;
    assert_eq!(stored, Some(text("small")));
    let keys = soon(client.save_kv().keys(">")).await?;
    let keys: Vec<_> = soon(keys.try_collect()).await?;
    assert_eq!(keys, ["small"]);
    soon(running.stop()).await.map_err(trial::text)?;
    Ok(())
}

#[tokio::test]
async fn custom_inboxes_on_both_sides() -> TestResult {
    let server = server("_INBOX_service", "_INBOX_caller").await;
    works(
        &server,
        |options| options.custom_inbox_prefix("_INBOX_service"),
        |options| options.custom_inbox_prefix("_INBOX_caller"),
    )
    .await
}

#[tokio::test]
async fn connections_without_echo() -> TestResult {
    let server = server("_INBOX", "_INBOX").await;
    works(&server, ConnectOptions::no_echo, ConnectOptions::no_echo).await
}
