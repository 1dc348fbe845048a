//! `#[endpoint(validate = ..)]`: what is refused before keys, handler and stores.

use std::num::TryFromIntError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::jetstream::kv;
use futures::StreamExt;
use natsmicro::{Code, RunningServer, ServiceError, Status, Streaming};
use natsmicro_tests::common::{Nats, TestResult, error_of, soon};
use prost::Message as _;

/// The limits of `garde` and `validator` are the same: a name of 1 to 3 bytes, and at most 9 pieces.
#[derive(Clone, PartialEq, prost::Message, garde::Validate, validator::Validate)]
struct Order {
    #[prost(string, tag = "1")]
    #[garde(length(min = 1, max = 3))]
    #[validate(length(min = 1, max = 3, message = "1 to 3 letters"))]
    name: String,
    #[prost(uint64, tag = "2")]
    #[garde(range(max = 9))]
    #[validate(range(max = 9, message = "at most 9"))]
    pieces: u64,
}

#[derive(Debug, PartialEq, thiserror::Error, ServiceError)]
enum OrderError {
    #[error("{pieces} pieces are too many")]
    #[code("TOO_MANY")]
    TooMany { pieces: u64 },
    #[error(transparent)]
    Other(#[from] Status),
}

fn order(name: &str, pieces: u64) -> Order {
    let name = name.to_owned();
    Order { name, pieces }
}

fn own_error(order: &Order) -> Result<(), OrderError> {
    let pieces = order.pieces;
    if pieces > 9 {
        return Err(OrderError::TooMany { pieces });
    }
    Ok(())
}

fn other_error(order: &Order) -> Result<(), TryFromIntError> {
    u8::try_from(order.pieces).map(drop)
}

fn panics(order: &Order) -> Result<(), Status> {
    assert!(order.pieces < 9, "a secret of the service");
    Ok(())
}

/// How often a request of `counted` was validated in this process, which has the client and the service.
static VALIDATED: AtomicUsize = AtomicUsize::new(0);

fn counted(_: &Order) -> Result<(), Status> {
    VALIDATED.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

impl Order {
    fn check(&self) -> Result<(), Status> {
        if self.pieces > 9 {
            return Err(Status::new("SOLD_OUT", "none left").with_details("details"));
        }
        Ok(())
    }
}

#[natsmicro::service(subject_prefix = "orders")]
trait Orders {
    #[endpoint(validate = own_error)]
    async fn own(&self, request: Order) -> Result<Order, OrderError>;
    #[endpoint(validate = Order::check)]
    async fn status(&self, request: Order) -> Result<Order, OrderError>;
    #[endpoint(validate = self::other_error)]
    async fn other(&self, request: Order) -> Result<Order, OrderError>;
    #[endpoint(validate = panics)]
    async fn panics(&self, request: Order) -> Result<Order, OrderError>;
    #[endpoint(validate = counted)]
    async fn counted(&self, request: Order) -> Result<Order, OrderError>;
    #[endpoint(validate = garde::Validate::validate)]
    async fn garde(&self, request: Order) -> Result<Order, OrderError>;
    #[endpoint(validate = <Order as validator::Validate>::validate)]
    async fn validator(&self, request: Order) -> Result<Order, OrderError>;
    #[endpoint(validate = own_error)]
    #[kv_store(bucket = "orders", key = "<name>", persist = "before_response")]
    #[kv_delete(bucket = "stale", key = "<name>", persist = "before_response")]
    async fn stored(&self, request: Order) -> Result<Order, OrderError>;

    #[endpoint(validate = own_error)]
    async fn deliver(&self, request: Order) -> Result<Streaming<Order>, OrderError>;
    #[endpoint(validate = own_error)]
    async fn sum(&self, requests: Streaming<Order>) -> Result<Order, OrderError>;
    #[endpoint(validate = own_error)]
    async fn repeat(&self, requests: Streaming<Order>) -> Result<Streaming<Order>, OrderError>;
    #[endpoint(validate = own_error)]
    async fn read_all(&self, requests: Streaming<Order>) -> Result<Order, OrderError>;
    #[endpoint(validate = panics)]
    async fn read_in_a_task(&self, requests: Streaming<Order>) -> Result<Order, OrderError>;
}

/// Keeps the names of the methods whose handlers have run, and what `read_all` has read.
#[derive(Clone, Default)]
struct Shop {
    ran: Arc<Mutex<Vec<&'static str>>>,
    read: Arc<Mutex<Vec<Result<u64, Code>>>>,
}

impl Shop {
    fn ran(&self, method: &'static str) {
        self.ran.lock().unwrap().push(method);
    }

    fn take_ran(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.ran.lock().unwrap())
    }
}

async fn sum(mut orders: Streaming<Order>) -> Result<Order, Status> {
    let mut pieces = 0;
    while let Some(order) = orders.message().await? {
        pieces += order.pieces;
    }
    Ok(order("sum", pieces))
}

impl Orders for Shop {
    async fn own(&self, request: Order) -> Result<Order, OrderError> {
        self.ran("own");
        Ok(request)
    }
    async fn status(&self, request: Order) -> Result<Order, OrderError> {
        self.ran("status");
        Ok(request)
    }
    async fn other(&self, request: Order) -> Result<Order, OrderError> {
        self.ran("other");
        Ok(request)
    }
    async fn panics(&self, request: Order) -> Result<Order, OrderError> {
        self.ran("panics");
        Ok(request)
    }
    async fn counted(&self, request: Order) -> Result<Order, OrderError> {
        self.ran("counted");
        Ok(request)
    }
    async fn garde(&self, request: Order) -> Result<Order, OrderError> {
        self.ran("garde");
        Ok(request)
    }
    async fn validator(&self, request: Order) -> Result<Order, OrderError> {
        self.ran("validator");
        Ok(request)
    }
    async fn stored(&self, request: Order) -> Result<Order, OrderError> {
        self.ran("stored");
        Ok(request)
    }
    async fn deliver(&self, request: Order) -> Result<Streaming<Order>, OrderError> {
        self.ran("deliver");
        Ok(Streaming::iter((0..request.pieces).map(|_| order("a", 1))))
    }
    async fn sum(&self, requests: Streaming<Order>) -> Result<Order, OrderError> {
        self.ran("sum");
        Ok(sum(requests).await?)
    }
    async fn repeat(&self, requests: Streaming<Order>) -> Result<Streaming<Order>, OrderError> {
        self.ran("repeat");
        Ok(requests)
    }
    async fn read_all(&self, requests: Streaming<Order>) -> Result<Order, OrderError> {
        let items: Vec<_> = requests.collect().await;
        let pieces = items.len() as u64;
        let item = |item: Result<Order, Status>| match item {
            Ok(order) => Ok(order.pieces),
            Err(status) => Err(status.code().clone()),
        };
        *self.read.lock().unwrap() = items.into_iter().map(item).collect();
        Ok(order("all", pieces))
    }
    async fn read_in_a_task(&self, requests: Streaming<Order>) -> Result<Order, OrderError> {
        Ok(tokio::spawn(sum(requests)).await.unwrap()?)
    }
}

struct Fixture {
    nats: Nats,
    shop: Shop,
    client: OrdersClient,
    _server: RunningServer,
}

impl Fixture {
    async fn start() -> Self {
        let nats = Nats::start().await;
        let bucket = "stale".to_owned();
        let stale = kv::Config {
            bucket,
            ..Default::default()
        };
        nats.jetstream().create_key_value(stale).await.unwrap();
        let shop = Shop::default();
        let service = OrdersServer::new(shop.clone());
        let server = nats.persisting().add_service(service);
        Self {
            client: OrdersClient::new(nats.caller.clone()),
            _server: server.start().await.unwrap(),
            nats,
            shop,
        }
    }
}

fn too_many(pieces: u64) -> OrderError {
    OrderError::TooMany { pieces }
}

fn status_of<T: std::fmt::Debug>(result: Result<T, OrderError>) -> Status {
    match result {
        Err(OrderError::Other(status)) => status,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_valid_reaches_the_handler() -> TestResult {
    let fixture = Fixture::start().await;
    let Fixture { client, shop, .. } = &fixture;
    let request = order("abc", 8);
    assert_eq!(client.own(request.clone()).await?, request);
    assert_eq!(client.status(request.clone()).await?, request);
    assert_eq!(client.other(request.clone()).await?, request);
    assert_eq!(client.panics(request.clone()).await?, request);
    assert_eq!(client.garde(request.clone()).await?, request);
    assert_eq!(client.validator(request.clone()).await?, request);
    let expected = ["own", "status", "other", "panics", "garde", "validator"];
    assert_eq!(shop.take_ran(), expected);
    Ok(())
}

#[tokio::test]
async fn the_error_of_the_method_keeps_its_code_and_fields() -> TestResult {
    let fixture = Fixture::start().await;
    let refused = fixture.client.own(order("a", 10)).await;
    assert_eq!(refused, Err(too_many(10)));
    let reply = fixture
        .nats
        .ask("orders.own", order("a", 10).encode_to_vec());
    let reply = reply.await;
    assert_eq!(
        error_of(&reply),
        Some(("TOO_MANY", "10 pieces are too many"))
    );
    assert_eq!(reply.payload, r#"{"pieces":10}"#);
    assert_eq!(fixture.shop.take_ran(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_status_goes_as_it_is_and_any_other_error_as_its_text() {
    let fixture = Fixture::start().await;
    let Fixture { client, shop, .. } = &fixture;
    let status = status_of(client.status(order("a", 10)).await);
    let expected = Status::new("SOLD_OUT", "none left").with_details("details");
    assert_eq!(status, expected);
    let status = status_of(client.other(order("a", 256)).await);
    let text = u8::try_from(256_u64).unwrap_err().to_string();
    assert_eq!(status, Status::invalid_argument(text));
    assert_eq!(shop.take_ran(), [""; 0]);
}

#[tokio::test]
async fn garde_and_validator() {
    let fixture = Fixture::start().await;
    let Fixture { client, shop, .. } = &fixture;
    for request in [order("", 0), order("abcd", 0), order("a", 10)] {
        let report = garde::Validate::validate(&request).unwrap_err();
        let status = status_of(client.garde(request.clone()).await);
        assert_eq!(
            status,
            Status::invalid_argument(report.to_string().trim_end())
        );
        let errors = validator::Validate::validate(&request).unwrap_err();
        let status = status_of(client.validator(request).await);
        assert_eq!(status, Status::invalid_argument(errors.to_string()));
    }
    assert_eq!(shop.take_ran(), [""; 0]);
}

#[tokio::test]
async fn a_panic_is_an_internal_error() {
    let fixture = Fixture::start().await;
    let Fixture { client, shop, .. } = &fixture;
    let status = status_of(client.panics(order("a", 9)).await);
    assert_eq!(status.code(), &Code::Internal);
    assert!(!status.message().contains("secret"), "{status}");
    assert_eq!(shop.take_ran(), [""; 0]);
    client.panics(order("a", 8)).await.unwrap();
}

#[tokio::test]
async fn the_client_does_not_validate() -> TestResult {
    let fixture = Fixture::start().await;
    let Fixture { client, .. } = &fixture;
    client.counted(order("a", 1)).await?;
    assert_eq!(VALIDATED.load(Ordering::SeqCst), 1);
    Ok(())
}

#[tokio::test]
async fn nothing_is_stored_or_deleted_for_a_refused_request() -> TestResult {
    let fixture = Fixture::start().await;
    let js = fixture.nats.jetstream();
    let (orders, stale) = (js.get_key_value("orders").await?, js.get_key_value("stale"));
    let stale = stale.await?;
    stale.put("a", "old".into()).await?;
    let refused = fixture.client.stored(order("a", 10)).await;
    assert_eq!(refused, Err(too_many(10)));
    // Keys are made of what is valid: this one cannot be a key, and is not told so.
    let refused = fixture.client.stored(order("a b", 11)).await;
    assert_eq!(refused, Err(too_many(11)));
    assert_eq!(orders.get("a").await?, None);
    assert_eq!(stale.get("a").await?.unwrap(), "old");
    assert_eq!(orders.status().await?.values(), 0);
    assert_eq!(fixture.shop.take_ran(), [""; 0]);

    fixture.client.stored(order("a", 9)).await?;
    assert_eq!(
        orders.get("a").await?.unwrap(),
        order("a", 9).encode_to_vec()
    );
    assert_eq!(stale.get("a").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_stream_of_responses_is_not_begun() -> TestResult {
    let fixture = Fixture::start().await;
    let Fixture { client, shop, .. } = &fixture;
    let refused = soon(client.deliver(order("a", 10)).into_future()).await;
    assert_eq!(refused.unwrap_err(), too_many(10));
    assert_eq!(shop.take_ran(), [""; 0]);
    let delivered = client.deliver(order("a", 3)).await?;
    assert_eq!(delivered.collect::<Vec<_>>().await.len(), 3);
    Ok(())
}

fn orders(pieces: impl IntoIterator<Item = u64>) -> Streaming<Order> {
    let orders: Vec<_> = pieces.into_iter().map(|n| order("a", n)).collect();
    Streaming::iter(orders)
}

#[tokio::test]
async fn each_message_of_a_stream_is_validated() -> TestResult {
    let fixture = Fixture::start().await;
    let Fixture { client, shop, .. } = &fixture;
    let total = soon(client.sum(orders([1, 9, 2])).into_future()).await?;
    assert_eq!(total.pieces, 12);
    let refused = soon(client.sum(orders([1, 10, 11])).into_future()).await;
    assert_eq!(refused, Err(too_many(10)));

    let mut repeated = client.repeat(orders([1, 2, 10, 3])).await?;
    assert_eq!(soon(repeated.message()).await?, Some(order("a", 1)));
    assert_eq!(soon(repeated.message()).await?, Some(order("a", 2)));
    let refused = soon(repeated.message()).await.unwrap_err();
    assert_eq!(OrderError::from_status(refused), too_many(10));
    assert!(soon(repeated.next()).await.is_none());
    assert_eq!(shop.take_ran(), ["sum", "sum", "repeat"]);
    Ok(())
}

#[tokio::test]
async fn a_refused_message_is_the_last_that_the_handler_reads() -> TestResult {
    let fixture = Fixture::start().await;
    let Fixture { client, shop, .. } = &fixture;
    let (sender, requests) = Streaming::channel(1);
    let call = tokio::spawn(client.read_all(requests).into_future());
    for pieces in [1, 10] {
        soon(sender.send(order("a", pieces))).await?;
    }
    // The sender is not dropped: the handler sees the end of the stream, and the caller the end of the reader.
    assert_eq!(soon(call).await??.pieces, 2);
    let read = shop.read.lock().unwrap().clone();
    assert_eq!(read, [Ok(1), Err(Code::from("TOO_MANY"))]);
    soon(sender.closed()).await;
    Ok(())
}

#[tokio::test]
async fn a_panic_ends_a_stream_that_a_task_reads() -> TestResult {
    let fixture = Fixture::start().await;
    let Fixture { client, .. } = &fixture;
    let call = client.read_in_a_task(orders([1, 9, 2]));
    let status = status_of(soon(call.into_future()).await);
    assert_eq!(status.code(), &Code::Internal);
    assert!(!status.message().contains("secret"), "{status}");
    let total = soon(client.read_in_a_task(orders([1, 2])).into_future()).await?;
    assert_eq!(total.pieces, 3);
    Ok(())
}
