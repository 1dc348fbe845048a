//! A client of services in the same process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use natsmicro::middleware::from_fn;
use natsmicro::store::StoreErrorKind;
use natsmicro::{Client, Code, Context, Status, Streaming};
use natsmicro_tests::common::soon;

use super::shop::{
    Audit, Impl, Order, Shop, ShopClient, ShopServer, authenticate, code, codes, order,
};

fn client() -> ShopClient {
    ShopClient::new(
        Client::in_process()
            .add_service(ShopServer::new(Impl))
            .build(),
    )
}

#[tokio::test]
async fn calls_of_all_kinds() {
    let client = client();
    let fine = soon(client.order(order("1")).response()).await.unwrap();
    assert_eq!(fine.get_ref(), &order("1"));
    assert_eq!(fine.headers().get("X-Handler").unwrap().as_str(), "yes");
    let followed = soon(client.follow(order("1")).response()).await.unwrap();
    assert_eq!(followed.headers().get("X-Handler").unwrap().as_str(), "yes");
    assert_eq!(followed.into_inner().collect::<Vec<_>>().await.len(), 2);
    let orders = || Streaming::iter([order("1"), order("2")]);
    assert_eq!(soon(client.collect(orders())).await.unwrap().id, "2");
    let traded = soon(client.trade(orders())).await.unwrap();
    assert_eq!(traded.collect::<Vec<_>>().await.len(), 2);
    let traded = soon(client.trade(orders()).response()).await.unwrap();
    assert_eq!(traded.into_inner().collect::<Vec<_>>().await.len(), 2);
}

#[tokio::test]
async fn codes_are_those_of_calls_over_nats() {
    let client = client();
    let others = [
        ("invalid", "OUT_OF_RANGE"),
        ("panic", "INTERNAL"),
        ("slow", "DEADLINE_EXCEEDED"),
        // There is no largest message.
        ("large", "OK"),
    ];
    let others = others.map(|(id, code)| (id.to_owned(), code.to_owned()));
    let codes = codes()
        .into_iter()
        .map(|code| (format!("code {code}"), code));
    for (id, expected) in codes.chain(others) {
        assert_eq!(
            code(&soon(client.order(order(&id))).await),
            expected,
            "{id}"
        );
        let opened = soon(client.follow(order(&id))).await;
        assert_eq!(code(&opened), expected, "{id}");
        let orders = || Streaming::iter([order("1"), order(&id)]);
        let collected = soon(client.collect(orders())).await;
        assert_eq!(code(&collected), expected, "{id}");
        let mut traded = soon(client.trade(orders())).await.unwrap();
        soon(traded.next()).await.unwrap().unwrap();
        let last = soon(traded.next()).await.unwrap();
        let got = last.map_or_else(|status| status.code().to_string(), |_| "OK".to_owned());
        assert_eq!(got, expected, "{id}");
    }
}

#[tokio::test]
async fn a_conversation_goes_on_while_its_caller_writes() {
    let client = client();
    let (sender, orders) = Streaming::channel(1);
    let mut traded = soon(client.trade(orders)).await.unwrap();
    // More than the channel holds, before the first response is read.
    for n in 0..100 {
        let order = Order {
            id: String::new(),
            n,
        };
        soon(sender.send(order)).await.unwrap();
    }
    drop(sender);
    for n in 0..100 {
        assert_eq!(soon(traded.next()).await.unwrap().unwrap().n, n);
    }
    assert!(soon(traded.next()).await.is_none());
}

#[tokio::test]
async fn layers_of_both_sides() {
    let (served, called) = (Audit::default(), Audit::default());
    let service = ShopServer::new(Impl).layer(from_fn(authenticate));
    let client = Client::in_process()
        .layer(served.layer())
        .add_service(service)
        .build()
        .layer(called.layer());
    let client = ShopClient::new(client);
    let ada = client.whoami().with_header("authorization", "Bearer ada");
    assert_eq!(soon(ada).await.unwrap(), "ada");
    let seen = ("whoami", "OK".to_owned());
    assert_eq!(served.next().await, seen);
    assert_eq!(called.next().await, seen);
    let refused = soon(client.trade(Streaming::iter([order("1")]))).await;
    assert_eq!(code(&refused), "UNAUTHENTICATED");
    let seen = ("trade", "UNAUTHENTICATED".to_owned());
    assert_eq!(served.next().await, seen);
    assert_eq!(called.next().await, seen);
}

#[tokio::test]
async fn stores_are_not_there() {
    let client = client();
    // Stored before the reply elsewhere.
    assert_eq!(soon(client.keep(order("1"))).await.unwrap(), order("1"));
    assert_eq!(soon(client.keep(order("1"))).await.unwrap(), order("1"));
    let error = client.get_keep_from_kv("order.1").await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::JetStreamNotConfigured);
    let no_key = soon(client.keep(order("no key"))).await;
    assert_eq!(
        no_key.unwrap(),
        order("no key"),
        "there is no store to make a key for"
    );
}

#[natsmicro::service(codec = "json", subject_prefix = "waiting")]
trait Waiting {
    #[endpoint(max_in_flight = 2)]
    async fn wait(&self, cx: &Context) -> Result<bool, Status>;
    #[endpoint(max_in_flight = 1)]
    async fn stream(&self) -> Result<Streaming<u64>, Status>;
}

#[derive(Clone, Default)]
struct Waits {
    running: Arc<AtomicUsize>,
    is_dropped: Arc<AtomicBool>,
}

/// Counts what runs.
struct Runs(Waits);

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.is_dropped.store(true, Ordering::SeqCst);
    }
}

impl Waits {
    fn run(&self) -> Runs {
        self.running.fetch_add(1, Ordering::SeqCst);
        Runs(self.clone())
    }
}

impl Waiting for Waits {
    async fn wait(&self, cx: &Context) -> Result<bool, Status> {
        let _runs = self.run();
        if cx.header("wait").is_some() {
            std::future::pending::<()>().await;
        }
        Ok(cx.deadline().is_some())
    }
    async fn stream(&self) -> Result<Streaming<u64>, Status> {
        let runs = self.run();
        Ok(Streaming::new(futures::stream::pending().chain(
            futures::stream::once(async move {
                drop(runs);
                Ok(1)
            }),
        )))
    }
}

#[tokio::test]
async fn deadlines_limits_and_cancellation_hold() {
    let waits = Waits::default();
    let client = Client::in_process().add_service(WaitingServer::new(waits.clone()));
    let client = WaitingClient::new(client.build());
    let waiting = |millis| {
        let call = client.wait().with_header("wait", "1");
        call.with_timeout(Duration::from_millis(millis))
            .into_future()
    };
    // The deadline is known to the handler, and drops it.
    let with_timeout = client.wait().with_timeout(Duration::from_secs(5));
    assert!(soon(with_timeout).await.unwrap());
    assert!(!soon(client.wait()).await.unwrap());
    let late = soon(waiting(20)).await.unwrap_err();
    assert_eq!(late.code(), &Code::DeadlineExceeded);
    assert_eq!(waits.running.load(Ordering::SeqCst), 0);

    // Two calls run, the third waits.
    let two = [tokio::spawn(waiting(60_000)), tokio::spawn(waiting(60_000))];
    let runs = async {
        while waits.running.load(Ordering::SeqCst) != 2 {
            tokio::task::yield_now().await;
        }
    };
    soon(runs).await;
    let third = soon(waiting(20)).await.unwrap_err();
    assert_eq!(third.code(), &Code::DeadlineExceeded);
    assert_eq!(waits.running.load(Ordering::SeqCst), 2);
    // A call that is dropped drops its handler.
    for call in two {
        call.abort();
        let _ = call.await;
    }
    assert_eq!(waits.running.load(Ordering::SeqCst), 0);

    // So does a stream. Streams do not wait.
    waits.is_dropped.store(false, Ordering::SeqCst);
    let open = soon(client.stream()).await.unwrap();
    let refused = soon(client.stream()).await.unwrap_err();
    assert_eq!(refused.code(), &Code::ResourceExhausted);
    drop(open);
    let dropped = async {
        while !waits.is_dropped.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    };
    soon(dropped).await;
    drop(soon(client.stream()).await.unwrap());
}

#[tokio::test]
async fn services_that_are_not_there_and_wrong_settings() {
    let nothing = WaitingClient::new(Client::in_process().build());
    let nobody = soon(nothing.wait()).await.unwrap_err();
    assert_eq!(nobody.code(), &Code::Unavailable);
    assert!(nobody.message().contains("waiting.wait"), "{nobody}");
    let service = || WaitingServer::new(Waits::default());
    let twice = Client::in_process().add_service(service());
    let twice = twice.add_service(service().with_name("Other")).build();
    let twice = soon(WaitingClient::new(twice).wait()).await.unwrap_err();
    assert_eq!(twice.code(), &Code::FailedPrecondition);
    assert!(twice.message().contains("both answer"), "{twice}");
    let other = service().with_subject_prefix("other");
    let other = Client::in_process().add_service(other).build();
    let other = WaitingClient::new(other).with_subject_prefix("other");
    soon(other.wait()).await.unwrap();
}

/// Code that takes any implementation: a fake, or a client.
async fn ask<S: Shop>(shop: &S) -> Result<Order, super::shop::OrderError> {
    shop.order(&Context::new(), order("1")).await
}

#[tokio::test]
async fn the_client_and_the_implementation_are_interchangeable() {
    assert_eq!(ask(&Impl).await.unwrap(), ask(&client()).await.unwrap());
}
