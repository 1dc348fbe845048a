//! The servers of each way.

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::{self, Context};
use natsmicro::Status;
use natsmicro::testing::{NatsServer, NatsServerBuilder};
use natsmicro_tests::accounts::connect;
use natsmicro_tests::linked::{hub_and_leaf, reached};

use crate::ways::Way;

const HUB: &str = "jetstream { domain: hub }";

/// No detour.
pub async fn plain() -> Way {
    let server = NatsServer::start().await.unwrap();
    let nats = server.connect().await.unwrap();
    let context = jetstream::new(nats.clone());
    Way {
        home: context.clone(),
        nats,
        context,
        _servers: vec![server],
    }
}

/// The domain of the very server.
pub async fn own_domain() -> Way {
    let server = NatsServer::builder().config(HUB).start().await.unwrap();
    let nats = server.connect().await.unwrap();
    Way {
        context: jetstream::with_domain(nats.clone(), "hub"),
        home: jetstream::new(nats.clone()),
        nats,
        _servers: vec![server],
    }
}

/// The domain of the hub, from a leaf node that has JetStream too.
pub async fn leaf_with_jetstream() -> Way {
    from_leaf(NatsServer::builder().config("jetstream { domain: leaf }")).await
}

/// The domain of the hub, from a leaf node without JetStream.
pub async fn leaf_without_jetstream() -> Way {
    from_leaf(NatsServer::builder().jetstream(false)).await
}

async fn from_leaf(leaf: NatsServerBuilder) -> Way {
    between(NatsServer::builder().config(HUB), leaf).await
}

async fn between(hub: NatsServerBuilder, leaf: NatsServerBuilder) -> Way {
    let (hub, leaf) = hub_and_leaf(hub, leaf).await;
    let nats = leaf.connect().await.unwrap();
    let context = jetstream::with_domain(nats.clone(), "hub");
    answers(&context).await;
    Way {
        home: jetstream::new(hub.connect().await.unwrap()),
        nats,
        context,
        _servers: vec![hub, leaf],
    }
}

/// A hub and a leaf node with JetStream: connections to both.
pub async fn hub_beside_leaf(mapping: &str) -> (Way, async_nats::Client) {
    let hub = NatsServer::builder().config(format!("{HUB}\n{mapping}"));
    let way = between(
        hub,
        NatsServer::builder().config("jetstream { domain: leaf }"),
    )
    .await;
    let hub = way.home.client();
    (way, hub)
}

/// An account that imports the API of another one, and the subjects of its buckets, under a prefix.
pub async fn import() -> Way {
    import_of(&["$JS.API.>", "$KV.>", "$O.>"]).await
}

pub async fn import_of(imported: &[&str]) -> Way {
    imported_by(imported, "").await
}

/// An import for a user with these permissions.
pub async fn import_with(permissions: &str) -> Way {
    let permissions = format!("permissions {permissions}");
    imported_by(&["$JS.API.>", "$KV.>", "$O.>"], &permissions).await
}

async fn imported_by(imported: &[&str], permissions: &str) -> Way {
    let lines = |line: &dyn Fn(&str) -> String| {
        let lines: Vec<_> = imported.iter().map(|subject| line(subject)).collect();
        lines.join("\n")
    };
    let exports = lines(&|subject| format!("{{ service: \"{subject}\", response_type: stream }}"));
    let imports = lines(&|subject| {
        let to = match subject.strip_prefix("$JS.API.") {
            Some(rest) => format!("JS.home.{rest}"),
            None => format!("JS.home.{subject}"),
        };
        format!("{{ service: {{ account: HOME, subject: \"{subject}\" }}, to: \"{to}\" }}")
    });
    let accounts = format!(
        r#"
accounts {{
    HOME {{
        jetstream: enabled
        users: [{{ user: home, password: "" }}]
        exports: [ {exports} ]
    }}
    AWAY {{
        users: [{{ user: away, password: "", {permissions} }}]
        imports: [ {imports} ]
    }}
}}
"#
    );
    let server = NatsServer::builder().config(accounts);
    let server = server.start().await.unwrap();
    let nats = connect(&server, "away").await;
    let context = ContextBuilder::new()
        .api_prefix("JS.home")
        .build(nats.clone());
    Way {
        home: jetstream::new(connect(&server, "home").await),
        nats,
        context,
        _servers: vec![server],
    }
}

/// The domain of the very server, for a user with these permissions.
pub async fn own_domain_with(permissions: &str) -> Way {
    let server = NatsServer::builder().config(format!("{HUB}\n{}", users(permissions)));
    let server = server.start().await.unwrap();
    let nats = connect(&server, "away").await;
    Way {
        context: jetstream::with_domain(nats.clone(), "hub"),
        home: jetstream::new(connect(&server, "home").await),
        nats,
        _servers: vec![server],
    }
}

/// The domain of the hub, for a user of the leaf node with these permissions.
pub async fn leaf_with(permissions: &str) -> Way {
    let leaf = format!("jetstream {{ domain: leaf }}\n{}", users(permissions));
    let leaf = NatsServer::builder().config(leaf);
    let (hub, leaf) = hub_and_leaf(NatsServer::builder().config(HUB), leaf).await;
    let near = connect(&leaf, "home").await;
    answers(&jetstream::with_domain(near, "hub")).await;
    let nats = connect(&leaf, "away").await;
    Way {
        context: jetstream::with_domain(nats.clone(), "hub"),
        home: jetstream::new(hub.connect().await.unwrap()),
        nats,
        _servers: vec![hub, leaf],
    }
}

fn users(permissions: &str) -> String {
    format!(
        "authorization {{ users: [\n\
         {{ user: home, password: \"\" }}\n\
         {{ user: away, password: \"\", permissions {permissions} }}\n\
         ] }}"
    )
}

/// A leaf node learns a moment after it has connected what the hub answers on.
pub async fn answers(context: &Context) {
    reached(async || {
        let account = context.query_account().await;
        account.map_err(|error| Status::unavailable(error.to_string()))
    })
    .await;
}
