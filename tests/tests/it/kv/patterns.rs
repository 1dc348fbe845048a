//! Patterns of a method's keys, with fields left open.

use futures::{StreamExt, TryStreamExt};
use natsmicro::store::{Any, InvalidKeyKind, Pattern, WatchEvent};
use natsmicro::{Key, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};

#[natsmicro::service]
pub trait Orders {
    #[kv_store(bucket = "orders", key = "order.<key>.<n>")]
    async fn place(&self, request: Save) -> Result<Saved, Status>;

    /// A token of its own, and a part of one.
    #[kv_store(bucket = "orders", key = "<key>.no-<n>.<response.text>")]
    async fn number(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "orders", key = "<key>.twice.<key>")]
    #[object_store(bucket = "orders", key = "<key>")]
    async fn twice(&self, request: Save) -> Result<Saved, Status>;

    #[object_store(bucket = "orders", key = "<key>")]
    async fn object(&self, request: Save) -> Result<Saved, Status>;
}

struct Service;

impl Orders for Service {
    async fn place(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn number(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn twice(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn object(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

#[test]
fn as_text() -> TestResult {
    assert_eq!(
        OrdersClient::place_pattern("eu", Any)?.as_str(),
        "order.eu.*"
    );
    assert_eq!(OrdersClient::place_pattern(Any, 7)?.as_str(), "order.*.7");
    assert_eq!(OrdersClient::place_pattern(Any, Any)?.as_str(), "order.*.*");
    let closed = OrdersClient::place_pattern("eu", 7)?;
    let key = OrdersClient::place_key("eu", 7)?;
    assert_eq!(closed, Pattern::from(key.clone()));
    assert!(closed.matches(&key));
    let open = OrdersClient::number_pattern(Any, 7, Any)?;
    assert_eq!(open.to_string(), "*.no-7.*");
    let twice = OrdersClient::twice_kv_pattern(Any)?;
    assert_eq!(String::from(twice), "*.twice.*");
    let eu = OrdersClient::place_pattern("eu".to_owned(), Any)?;
    assert!(eu.matches(&key));
    assert!(!eu.matches(&"order.us.7".parse::<Key>()?));
    Ok(())
}

#[test]
fn values_that_are_no_token() {
    for (value, kind) in [
        ("*", InvalidKeyKind::Character('*')),
        (">", InvalidKeyKind::Character('>')),
        ("a.b", InvalidKeyKind::Character('.')),
        ("a b", InvalidKeyKind::Character(' ')),
        ("a\r\nPUB x 0", InvalidKeyKind::Character('\r')),
        ("", InvalidKeyKind::Empty),
    ] {
        let error = OrdersClient::place_pattern(value, Any).unwrap_err();
        assert_eq!((error.field(), error.kind()), (Some("key"), &kind));
    }
    let error = OrdersClient::twice_kv_pattern("_kv").unwrap_err();
    assert_eq!(error.kind(), &InvalidKeyKind::Reserved);
    for bad in ["", "a*", ">.a", "a..b", "_kv.*"] {
        assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        assert!(Pattern::try_from(bad.to_owned()).is_err(), "{bad}");
    }
    assert!("a.*.>".parse::<Pattern>().is_ok());
}

#[tokio::test]
async fn in_place_of_strings() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.service().await;
    let _server = server
        .add_service(OrdersServer::new(Service))
        .start()
        .await?;
    let client = OrdersClient::new(nats.client());
    let store = client.place_kv();
    for (region, n) in [("eu", 1), ("us", 1), ("eu", 2)] {
        let order = Save::number(region, n).saved();
        store
            .put(OrdersClient::place_key(region, n)?, &order)
            .await?;
    }
    let european = OrdersClient::place_pattern("eu", Any)?;
    let keys: Vec<String> = store.keys(&european).await?.try_collect().await?;
    assert_eq!(keys, ["order.eu.1", "order.eu.2"]);

    let first = OrdersClient::place_pattern(Any, 1)?;
    let cache = store.cached().with_pattern(&first).await?;
    assert_eq!(cache.status().entries, 2);

    let american = OrdersClient::place_pattern("us", Any)?;
    let mut watch = store
        .watch(&european)
        .with_additional_pattern(&american)
        .await?;
    let mut seen = Vec::new();
    while let WatchEvent::Entry(entry) = watch.next().await.unwrap()? {
        seen.push(entry.key);
    }
    assert_eq!(seen, ["order.eu.1", "order.us.1", "order.eu.2"]);
    client.place(Save::number("asia", 1)).await?;
    client.place(Save::number("us", 2)).await?;
    let WatchEvent::Entry(entry) = watch.next().await.unwrap()? else {
        panic!("no change")
    };
    assert_eq!(entry.key, "order.us.2");
    Ok(())
}
