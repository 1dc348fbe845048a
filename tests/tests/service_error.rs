//! `#[derive(ServiceError)]`, from the handler of one program to the caller in another.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Nats, TestResult, Text, error_of, text};
use natsmicro::{Code, ServiceError, Status};
use serde_json::{Value, json};

#[derive(Debug, PartialEq, thiserror::Error, ServiceError)]
enum OrderError {
    #[error("order {id} expired {ago:?} ago")]
    #[code("ORDER_EXPIRED")]
    Expired {
        id: String,
        ago: Option<u64>,
        r#type: Kind,
    },
    #[error("no order {0} of {1:?}")]
    #[code("NOT_FOUND")]
    Missing(u64, Vec<String>),
    #[error("closed")]
    #[code("CLOSED")]
    Closed,
    #[error("")]
    #[code("EMPTY")]
    Empty(),
    #[error("maybe")]
    #[code("MAYBE")]
    Maybe { note: Option<String> },
    #[error("out of range")]
    #[code("OUT_OF_RANGE")]
    OutOfRange {
        largest: u128,
        smallest: i128,
        nested: Vec<Option<Wide>>,
    },
    #[error("no room")]
    #[code("NO_ROOM")]
    NoRoom(
        BTreeMap<u64, u128>,
        BTreeMap<bool, i128>,
        BTreeMap<Option<i8>, String>,
        BTreeMap<Shelf, char>,
    ),
    #[error("no JSON")]
    #[code("NO_JSON")]
    NoJson { map: BTreeMap<Vec<u8>, u8> },
    #[error(transparent)]
    Other(#[from] Status),
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Kind {
    Web { page: u8 },
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Wide {
    wide: u128,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
enum Shelf {
    Top,
}

/// What a peer of another version knows.
#[derive(Debug, PartialEq, thiserror::Error, ServiceError)]
enum Newer {
    #[error("order {id} expired")]
    #[code("ORDER_EXPIRED")]
    Expired { id: String, since: Option<String> },
    #[error("no order")]
    #[code("NOT_FOUND")]
    Missing { id: u64 },
    #[error("closed")]
    #[code("CLOSED")]
    Closed { until: String },
    #[error("else")]
    Else(Status),
}

#[natsmicro::service(subject_prefix = "orders")]
trait Orders {
    async fn find(&self, request: Text) -> Result<Text, OrderError>;
    #[kv_store(bucket = "orders", key = "<text>")]
    #[allow(deprecated)] // Stores nothing.
    async fn keyed(&self, request: Text) -> Result<(), OrderError>;
}

#[natsmicro::service(subject_prefix = "orders")]
trait NewerOrders {
    async fn find(&self, request: Text) -> Result<Text, Newer>;
}

struct Service;

fn expired(ago: Option<u64>) -> OrderError {
    OrderError::Expired {
        id: "o-1".into(),
        ago,
        r#type: Kind::Web { page: 7 },
    }
}

fn outcome(what: &str) -> Result<Text, OrderError> {
    Err(match what {
        "expired" => expired(Some(u64::MAX)),
        "expired now" => expired(None),
        "missing" => OrderError::Missing(7, vec!["a\r\nb".into()]),
        "closed" => OrderError::Closed,
        "empty" => OrderError::Empty(),
        "maybe" => OrderError::Maybe { note: None },
        "out of range" => OrderError::OutOfRange {
            largest: u128::MAX,
            smallest: i128::MIN,
            nested: vec![None, Some(Wide { wide: 1 << 64 })],
        },
        "no room" => OrderError::NoRoom(
            [(u64::MAX, u128::MAX)].into(),
            [(true, i128::MIN), (false, 0)].into(),
            [(Some(-7), "\u{0}\"".into())].into(),
            [(Shelf::Top, '\\')].into(),
        ),
        "no json" => OrderError::NoJson {
            map: [(vec![1], 2)].into(),
        },
        "other" => Status::new("BUSY", "later").with_details("{").into(),
        "reused code" => Status::not_found("something else").into(),
        _ => return Ok(text("found")),
    })
}

impl Orders for Service {
    async fn find(&self, request: Text) -> Result<Text, OrderError> {
        outcome(&request.text)
    }

    async fn keyed(&self, request: Text) -> Result<(), OrderError> {
        outcome(&request.text).map(drop)
    }
}

async fn serve(nats: &Nats) -> natsmicro::RunningServer {
    let server = nats.persisting().add_service(OrdersServer::new(Service));
    server.start().await.unwrap()
}

#[tokio::test]
async fn the_caller_gets_the_same_variant() -> TestResult {
    let nats = Nats::start().await;
    let _server = serve(&nats).await;
    let client = OrdersClient::new(nats.caller.clone());
    for what in [
        "expired",
        "expired now",
        "missing",
        "closed",
        "empty",
        "maybe",
        "out of range",
        "no room",
        "other",
        "",
    ] {
        assert_eq!(client.find(text(what)).await, outcome(what), "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn fields_travel_as_a_json_object() -> TestResult {
    let nats = Nats::start().await;
    let _server = serve(&nats).await;
    for (what, code, message, body) in [
        (
            "expired now",
            "ORDER_EXPIRED",
            "order o-1 expired None ago",
            json!({"id": "o-1", "ago": null, "type": {"Web": {"page": 7}}}),
        ),
        (
            "missing",
            "NOT_FOUND",
            r#"no order 7 of ["a\r\nb"]"#,
            json!({"0": 7, "1": ["a\r\nb"]}),
        ),
        ("closed", "CLOSED", "closed", Value::Null),
        ("empty", "EMPTY", "EMPTY", Value::Null),
        ("no json", "NO_JSON", "no JSON", Value::Null),
    ] {
        let reply = nats.ask("orders.find", text(what).bytes()).await;
        assert_eq!(error_of(&reply), Some((code, message)));
        assert_eq!(reply.headers.unwrap().len(), 2);
        let details = serde_json::from_slice(&reply.payload).unwrap_or(Value::Null);
        assert_eq!(details, body, "{what}");
        assert_eq!(reply.payload.is_empty(), body.is_null(), "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_fit_is_kept_as_the_status() -> TestResult {
    let nats = Nats::start().await;
    let _server = serve(&nats).await;
    let client = OrdersClient::new(nats.caller.clone());
    let other = |error| match error {
        OrderError::Other(status) => status,
        error => panic!("{error:?}"),
    };
    let status = other(client.find(text("no json")).await.unwrap_err());
    assert_eq!(status, Status::new("NO_JSON", "no JSON"));
    let status = other(client.find(text("reused code")).await.unwrap_err());
    assert_eq!(status, Status::not_found("something else"));
    let status = other(client.keyed(text("a b")).await.unwrap_err());
    assert_eq!(status.code(), &Code::InvalidArgument);
    Ok(())
}

#[tokio::test]
async fn a_client_of_another_version_gets_what_it_knows() -> TestResult {
    let nats = Nats::start().await;
    let _server = serve(&nats).await;
    let client = NewerOrdersClient::new(nats.caller.clone());
    // A field that it does not know is ignored, one that is not sent is none.
    let error = client.find(text("expired")).await.unwrap_err();
    let (id, since) = ("o-1".to_owned(), None);
    assert_eq!(error, Newer::Expired { id, since });
    for (what, code) in [
        ("missing", "NOT_FOUND"),
        ("closed", "CLOSED"),
        ("maybe", "MAYBE"),
    ] {
        let Newer::Else(status) = client.find(text(what)).await.unwrap_err() else {
            panic!("{what} fits");
        };
        assert_eq!(status.code().as_str(), code);
    }
    let Newer::Else(status) = client.find(text("missing")).await.unwrap_err() else {
        panic!("it fits");
    };
    assert_eq!(serde_json::from_slice::<Value>(status.details())?["0"], 7);
    Ok(())
}

#[tokio::test]
async fn failures_of_the_client_are_statuses() -> TestResult {
    let nats = Nats::start().await;
    let client = OrdersClient::new(nats.caller.clone());
    let OrderError::Other(status) = client.find(text("")).await.unwrap_err() else {
        panic!("nobody answers");
    };
    assert_eq!(status.code(), &Code::Unavailable);

    let mut silent = nats.peer("orders.find").await;
    let call = client
        .find(text(""))
        .with_timeout(Duration::from_millis(20));
    let OrderError::Other(status) = call.await.unwrap_err() else {
        panic!("nobody answers");
    };
    assert_eq!(status.code(), &Code::DeadlineExceeded);
    silent.unsubscribe().await?;

    let call = client.find(text("")).with_header("a b", "c");
    let OrderError::Other(status) = call.await.unwrap_err() else {
        panic!("it cannot be sent");
    };
    assert_eq!(status.code(), &Code::InvalidArgument);
    Ok(())
}
