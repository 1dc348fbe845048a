//! The complete example of the guide, on a nats-server that is started with it.

use std::sync::{Arc, Mutex};

use async_nats::{ConnectOptions, Event, jetstream};
use futures::StreamExt;
use natsmicro::store::WatchEvent;
use natsmicro::testing::NatsServer;
use natsmicro::{Client, ConnectionEvents, Server, Status, Streaming};
use natsmicro_tests::common::{TestResult, Text, soon, text};

const PAGE: &str = include_str!("../../../../core/src/contract/permissions.md");

#[natsmicro::service(subject_prefix = "shop.v1")]
trait Orders {
    #[kv_store(bucket = "orders", key = "order.<text>", persist = "before_response")]
    async fn place(&self, request: Text) -> Result<Text, Status>;
    async fn follow(&self, request: Text) -> Result<Streaming<Text>, Status>;
}

struct Shop;

impl Orders for Shop {
    async fn place(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
    async fn follow(&self, request: Text) -> Result<Streaming<Text>, Status> {
        Ok(Streaming::iter(std::iter::repeat_n(request, 10_000)))
    }
}

/// A user of the example, and what NATS refuses to it.
struct User {
    nats: async_nats::Client,
    events: ConnectionEvents,
    refused: Arc<Mutex<Vec<String>>>,
}

impl User {
    async fn of(server: &NatsServer, name: &str) -> Self {
        let events = ConnectionEvents::new();
        let refused = Arc::<Mutex<Vec<String>>>::default();
        let (recorded, reported) = (events.clone(), Arc::clone(&refused));
        let options = ConnectOptions::with_user_and_password(name.into(), "change-me".into())
            .custom_inbox_prefix(format!("_INBOX_{name}"))
            .event_callback(move |event| {
                recorded.record(&event);
                if let Event::ServerError(error) = event {
                    reported.lock().unwrap().push(error.to_string());
                }
                async {}
            });
        let nats = server.connect_with(options).await.unwrap();
        Self {
            nats,
            events,
            refused,
        }
    }

    fn client(&self) -> OrdersClient {
        let client = Client::new(self.nats.clone())
            .with_jetstream(jetstream::new(self.nats.clone()))
            .with_connection_events(self.events.clone());
        OrdersClient::new(client)
    }
}

#[tokio::test]
async fn the_example_of_the_guide() -> TestResult {
    let (_, example) = PAGE.split_once("```text\n").unwrap();
    let (config, _) = example.split_once("```").unwrap();
    // The testing module turns JetStream on itself.
    let config = config.replace("jetstream: enabled\n", "");
    let server = NatsServer::builder().config(config).start().await?;
    let orders = User::of(&server, "orders").await;
    let running = Server::new(orders.nats.clone())
        .with_jetstream(jetstream::new(orders.nats.clone()))
        .with_connection_events(orders.events.clone())
        .add_service(OrdersServer::new(Shop))
        .start();
    let running = soon(running).await?;
    let web = User::of(&server, "web").await;
    assert_eq!(soon(web.client().place(text("1"))).await?, text("1"));
    let followed = soon(web.client().follow(text("1"))).await?;
    assert_eq!(soon(followed.count()).await, 10_000);
    let report = User::of(&server, "report").await;
    let reader = report.client();
    let stored = reader.get_place_from_kv("order.1");
    assert_eq!(soon(stored).await?, Some(text("1")));
    let mut watch = soon(reader.place_kv().watch_all()).await?;
    let first = soon(watch.next()).await.unwrap()?;
    assert!(matches!(first, WatchEvent::Entry(entry) if entry.key == "order.1"));
    drop(watch);
    running.stop().await?;
    for user in [&orders, &web, &report] {
        assert_eq!(*user.refused.lock().unwrap(), [""; 0]);
    }
    // What is not listed is forbidden.
    let error = soon(web.client().get_place_from_kv("order.1"))
        .await
        .unwrap_err();
    let subject = "`$JS.API.STREAM.INFO.KV_orders`";
    assert!(error.to_string().contains(subject), "{error}");
    Ok(())
}
