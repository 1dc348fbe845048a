//! Connections without echo, with inbox prefixes of their own, and behind another prefix of the JetStream API.

use std::time::Duration;

use async_nats::{ConnectOptions, jetstream};
use futures::TryStreamExt;
use natsmicro::__private::permissions::{
    CALLER, Feature, KV_COMPARE, KV_CREATE_BUCKET, KV_READ, KV_WATCH, KV_WRITE, Names,
    OBJECT_CREATE_BUCKET, OBJECT_READ, OBJECT_WRITE, Permissions, Right, SERVICE, STREAMING_CALLER,
    STREAMING_SERVICE,
};
use natsmicro::store::StoreErrorKind;
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

const API: &str = "js.shop";

const NAMES: Names<'static> = Names {
    service: "",
    prefix: "",
    endpoints: &[],
    bucket: "mixed",
    inbox: "_INBOX_caller",
    peer_inbox: "",
    api: API,
};

/// An account with a bucket, and one that reaches it below [`API`]; its users lack one of the rights each, and the last one none.
fn importing_account(rights: &[&Right]) -> String {
    let user = |lacking: usize| {
        let others = rights.iter().filter(|right| {
            let lacking = rights.get(lacking);
            lacking.is_none_or(|lacking| lacking.subject != right.subject)
        });
        let permissions = Permissions::default().with(others.copied(), &NAMES);
        format!("{{ user: u{lacking}, password: x, permissions: {permissions} }}\n")
    };
    let users: String = (0..=rights.len()).map(user).collect();
    let import = |subject: &str, to: String| {
        format!("{{ service: {{ account: HUB, subject: \"{subject}\" }}, to: \"{to}\" }}\n")
    };
    let imports = [
        import("$JS.API.STREAM.>", format!("{API}.STREAM.>")),
        import("$JS.API.DIRECT.>", format!("{API}.DIRECT.>")),
        import("$KV.mixed.>", format!("{API}.$KV.mixed.>")),
    ];
    format!(
        "no_auth_user: admin\naccounts {{\n\
         HUB {{ jetstream: enabled, users: [{{ user: admin, password: x }}]\n\
         exports: [{{ service: \"$JS.API.>\" }}, {{ service: \"$KV.>\" }}] }}\n\
         SHOP {{ users: [\n{users}]\nimports: [\n{}] }}\n}}",
        imports.concat()
    )
}

#[tokio::test]
async fn another_prefix_of_the_jetstream_api() -> TestResult {
    let features = [KV_READ, KV_COMPARE];
    let rights: Vec<_> = features.iter().flat_map(|it| it.rights).collect();
    let config = importing_account(&rights);
    let server = NatsServer::builder().config(config).start().await?;
    let admin = server.connect().await?;
    let admin = Client::new(admin.clone()).with_jetstream(jetstream::new(admin));
    MixedClient::new(admin).save_kv().create_bucket().await?;
    for lacking in (0..=rights.len()).rev() {
        let (options, events) = as_user(&format!("u{lacking}"));
        let options = options.custom_inbox_prefix("_INBOX_caller");
        let nats = server.connect_with(options).await?;
        let client = Client::new(nats.clone())
            .with_jetstream(jetstream::with_prefix(nats, API))
            .with_connection_events(events)
            .with_timeout(Duration::from_secs(60));
        let store = MixedClient::new(client).save_kv();
        let used = soon(async {
            store.create("a", &text("a")).await?;
            assert_eq!(store.get("a").await?, Some(text("a")));
            store.delete("a").await?;
            store.create("a", &text("b")).await?;
            store.purge("a").await
        });
        let Some(lacking) = rights.get(lacking) else {
            used.await?;
            continue;
        };
        let error = used.await.unwrap_err();
        assert_eq!(*error.kind(), StoreErrorKind::PermissionDenied, "{error}");
        let subjects = NAMES.subjects(lacking);
        assert!(
            trial::names_match(&error.to_string(), &subjects[0]),
            "{lacking:?}: {error}"
        );
    }
    Ok(())
}
