//! Servers that are connected: as a cluster, by gateways, and as leaf nodes.

use std::time::Duration;

use natsmicro::testing::{NatsServer, NatsServerBuilder};
use natsmicro::{Code, Status};

use crate::common::{Nats, soon};
use crate::streams::{Fixture, all, numbers, range};

/// A cluster of two servers. It starts faster than one with JetStream.
pub async fn cluster(builder: &NatsServerBuilder) -> (NatsServer, NatsServer) {
    let one = builder
        .clone()
        .config("server_name: one\ncluster { name: two-servers, listen: \"127.0.0.1:-1\" }");
    let one = one.start().await.unwrap();
    let port = port_in_log(&one, "route connections on 127.0.0.1:").await;
    let two = builder.clone().config(format!(
        "server_name: two\ncluster {{ name: two-servers, listen: \"127.0.0.1:-1\", \
         routes: [\"nats://127.0.0.1:{port}\"] }}"
    ));
    let two = two.start().await.unwrap();
    for server in [&one, &two] {
        in_log(server, "Route connection created").await;
    }
    (one, two)
}

/// A hub and a leaf node of it.
pub async fn hub_and_leaf(
    hub: NatsServerBuilder,
    leaf: NatsServerBuilder,
) -> (NatsServer, NatsServer) {
    let hub = hub.config("server_name: hub\nleafnodes { listen: \"127.0.0.1:-1\" }");
    let hub = hub.start().await.unwrap();
    let port = port_in_log(&hub, "leafnode connections on 127.0.0.1:").await;
    let leaf = leaf.config(format!(
        "server_name: leaf\nleafnodes {{ remotes: [{{ url: \"nats-leaf://127.0.0.1:{port}\" }}] }}"
    ));
    let leaf = leaf.start().await.unwrap();
    for server in [&hub, &leaf] {
        in_log(server, "Leafnode connection created").await;
    }
    (hub, leaf)
}

/// Two clusters of one server each.
pub async fn gateways(builder: &NatsServerBuilder) -> (NatsServer, NatsServer) {
    let east = builder
        .clone()
        .config("server_name: east\ngateway { name: east, listen: \"127.0.0.1:-1\" }");
    let east = east.start().await.unwrap();
    let port = port_in_log(&east, "gateways connections on 127.0.0.1:").await;
    let west = builder.clone().config(format!(
        "server_name: west\ngateway {{ name: west, listen: \"127.0.0.1:-1\", \
         gateways: [{{ name: east, url: \"nats://127.0.0.1:{port}\" }}] }}"
    ));
    let west = west.start().await.unwrap();
    for server in [&east, &west] {
        for direction in ["Outbound gateway", "Inbound gateway"] {
            in_log(server, direction).await;
        }
    }
    (east, west)
}

/// Waits until the log of a server has this text, in a line that is whole; gives the rest of the line.
async fn in_log(server: &NatsServer, text: &str) -> String {
    let found = async {
        loop {
            let log = server.log();
            if let Some((_, after)) = log.split_once(text)
                && let Some((rest, _)) = after.split_once('\n')
            {
                return rest.trim().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(found).await
}

async fn port_in_log(server: &NatsServer, before: &str) -> u16 {
    in_log(server, before).await.parse().unwrap()
}

/// The service on a connection to one server, and its callers on one to another. The calls reach it.
pub async fn across(
    server: NatsServer,
    service: async_nats::Client,
    caller: &NatsServer,
) -> Fixture {
    let fixture = Fixture::on(Nats {
        service,
        caller: caller.connect().await.unwrap(),
        server,
    });
    let fixture = fixture.await;
    reached(async || fixture.client.ping(range(0, 0)).await).await;
    fixture
}

/// Repeats a call until it succeeds: the servers need a moment to tell each other of a subscription.
pub async fn reached<T>(call: impl AsyncFn() -> Result<T, Status>) {
    let success = async {
        while let Err(status) = call().await {
            assert_eq!(status.code(), &Code::Unavailable, "{status}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(success).await;
}

/// Streams of each kind pass, and one that is dropped by its reader ends at the service.
pub async fn streams_pass(fixture: &mut Fixture) {
    let client = &fixture.client;
    // Each stream has a new inbox, of which the other servers have to learn.
    for _ in 0..20 {
        let counted = soon(client.count(range(0, 100))).await.unwrap();
        assert_eq!(all(counted).await, (0..100).collect::<Vec<_>>());
        assert_eq!(soon(client.sum(numbers(0..100))).await.unwrap().n, 4_950);
        let doubled = soon(client.double(numbers(0..100))).await.unwrap();
        let expected: Vec<_> = (0..100).map(|n| 2 * n).collect();
        assert_eq!(all(doubled).await, expected);
    }
    let mut ticks = soon(client.tick(range(0, 0))).await.unwrap();
    soon(ticks.message()).await.unwrap();
    drop(ticks);
    soon(fixture.dropped.recv()).await;
}
