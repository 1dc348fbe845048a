//! A service and its callers on a hub and a leaf node.

use natsmicro::testing::NatsServer;
use natsmicro::{Client, Server, Status};
use natsmicro_tests::common::{Text, discover, soon, text};
use natsmicro_tests::linked::{across, hub_and_leaf, reached, streams_pass};

#[natsmicro::service(subject_prefix = "notes")]
trait Notes {
    #[kv_store(bucket = "notes", key = "<text>", persist = "before_response")]
    async fn keep(&self, request: Text) -> Result<Text, Status>;
}

struct Service;

impl Notes for Service {
    async fn keep(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
}

#[tokio::test]
async fn calls_streams_and_discovery_pass_both_ways() {
    for service_is_on_leaf in [false, true] {
        let builder = NatsServer::builder().jetstream(false);
        let (hub, leaf) = hub_and_leaf(builder.clone(), builder).await;
        let (service, caller) = if service_is_on_leaf {
            (leaf, hub)
        } else {
            (hub, leaf)
        };
        let connection = service.connect().await.unwrap();
        let mut fixture = across(service, connection, &caller).await;
        streams_pass(&mut fixture).await;
        let info = discover(&fixture.nats.caller, "$SRV.INFO.Streams", 1).await;
        assert_eq!(info[0]["endpoints"][0]["subject"], "s.count");
    }
}

/// The service runs on the leaf node, and stores on the hub. Its callers on the hub read there.
#[tokio::test]
async fn a_store_of_the_hub_is_used_through_its_domain() {
    for leaf in [
        NatsServer::builder().config("jetstream { domain: leaf }"),
        NatsServer::builder().jetstream(false),
    ] {
        let hub = NatsServer::builder().config("jetstream { domain: hub }");
        let (hub, leaf) = hub_and_leaf(hub, leaf).await;
        let (service, caller) = (leaf.connect().await.unwrap(), hub.connect().await.unwrap());
        let jetstream =
            |nats: &async_nats::Client| async_nats::jetstream::with_domain(nats.clone(), "hub");
        // The leaf node learns a moment after it has connected what the hub answers on.
        reached(async || {
            let account = jetstream(&service).query_account().await;
            account.map_err(|error| Status::unavailable(error.to_string()))
        })
        .await;
        let server = Server::new(service.clone()).with_jetstream(jetstream(&service));
        let server = server.add_service(NotesServer::new(Service));
        let server = soon(server.start()).await.unwrap();

        let client = Client::new(caller.clone()).with_jetstream(jetstream(&caller));
        let client = NotesClient::new(client);
        reached(async || client.keep(text("a")).await).await;
        let stored = soon(client.keep_kv().get("a")).await.unwrap();
        assert_eq!(stored, Some(text("a")));

        // The hub has the bucket, and the leaf node none.
        let (on_hub, on_leaf) = [caller, service].map(async_nats::jetstream::new).into();
        let bucket = on_hub.get_key_value("notes").await.unwrap();
        assert_eq!(bucket.get("a").await.unwrap(), Some(text("a").bytes()));
        on_leaf.get_key_value("notes").await.unwrap_err();
        soon(server.stop()).await.unwrap();
    }
}
