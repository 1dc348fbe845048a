//! Four ways to test, from the fastest to the most real. In a project each function below is a `#[tokio::test]`.
//!
//! | way | what it passes | what it needs |
//! | --- | --- | --- |
//! | the handler as a value | the handler | nothing |
//! | a fake in place of the client | the caller's code | nothing |
//! | `Client::in_process()` | codecs, validation, layers, deadlines, streams | the feature `testing` |
//! | a real nats-server | everything: subjects, discovery, stores, the network | the feature `testing` |

use natsmicro::middleware::{Next, Reply, Request, from_fn};
use natsmicro::testing::NatsServer;
use natsmicro::{Client, Code, Context, Server, Status};
use serde::{Deserialize, Serialize};

type TestResult = Result<(), Box<dyn std::error::Error>>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    pub item: String,
    pub cents: u64,
}

#[natsmicro::service(codec = "json")]
pub trait Prices {
    /// What an item costs the caller.
    #[endpoint(validate = is_named)]
    async fn price(&self, cx: &Context, item: String) -> Result<Price, Status>;
    /// Sets a price, and stores it.
    #[kv_store(bucket = "prices", key = "<item>", persist = "before_response")]
    async fn set_price(&self, price: Price) -> Result<Price, Status>;
}

#[expect(clippy::ptr_arg, reason = "the request is a `String`")]
fn is_named(item: &String) -> Result<(), Status> {
    if item.is_empty() {
        return Err(Status::invalid_argument("the item has no name"));
    }
    Ok(())
}

// What is tested: the handlers, a layer, and code that calls the service.

struct Shop;

/// Set by the layer `with_member`.
#[derive(Clone)]
struct Member;

impl Prices for Shop {
    async fn price(&self, cx: &Context, item: String) -> Result<Price, Status> {
        let cents = match item.as_str() {
            "apple" => 30,
            "pear" => 50,
            _ => return Err(Status::not_found(format!("there is no {item}"))),
        };
        let is_member = cx.extensions().get::<Member>().is_some();
        let cents = if is_member { cents / 2 } else { cents };
        Ok(Price { item, cents })
    }

    async fn set_price(&self, price: Price) -> Result<Price, Status> {
        Ok(price)
    }
}

async fn with_member(mut request: Request, next: Next) -> Result<Reply, Status> {
    if request.header("member") == Some("yes") {
        request.extensions_mut().insert(Member);
    }
    next.run(request).await
}

/// Code that calls the service. It takes whatever implements the trait, as `PricesClient` does.
async fn total(prices: &impl Prices, items: &[&str]) -> Result<u64, Status> {
    let mut total = 0;
    for item in items {
        let price = prices.price(&Context::new(), (*item).to_owned()).await;
        total += match price {
            Ok(price) => price.cents,
            // What the shop does not have costs nothing.
            Err(status) if *status.code() == Code::NotFound => 0,
            Err(status) => return Err(status),
        };
    }
    Ok(total)
}

/// 1. An implementation is a value, and a handler is its method. The context holds what the test puts into it.
async fn the_handler_as_a_value() -> TestResult {
    let price = Shop.price(&Context::new(), "apple".to_owned()).await?;
    assert_eq!(price.cents, 30);

    let member = Context::new().with_extension(Member);
    let price = Shop.price(&member, "apple".to_owned()).await?;
    assert_eq!(price.cents, 15);
    Ok(())
}

/// 2. A fake is another implementation of the trait: here one that fails as a service does that nobody runs.
async fn a_fake_in_place_of_the_client() -> TestResult {
    struct Nobody;

    impl Prices for Nobody {
        async fn price(&self, _cx: &Context, _item: String) -> Result<Price, Status> {
            Err(Status::unavailable("nobody answers"))
        }

        async fn set_price(&self, _price: Price) -> Result<Price, Status> {
            Err(Status::unimplemented("`total` sets no price"))
        }
    }

    assert_eq!(total(&Shop, &["apple", "plum", "pear"]).await?, 80);
    let failed = total(&Nobody, &["apple"]).await.unwrap_err();
    assert_eq!(failed.code(), &Code::Unavailable);
    Ok(())
}

/// 3. The same client as in production, and what is around the handler, without NATS: nothing is stored.
async fn a_client_in_process() -> TestResult {
    let client = Client::in_process()
        .add_service(PricesServer::new(Shop))
        .layer(from_fn(with_member))
        .build();
    let prices = PricesClient::new(client);

    let call = prices.price("apple".to_owned());
    let price = call.with_header("member", "yes").await?;
    assert_eq!(price.cents, 15);

    let refused = prices.price(String::new()).await.unwrap_err();
    assert_eq!(refused.code(), &Code::InvalidArgument);

    assert_eq!(total(&prices, &["apple", "plum", "pear"]).await?, 80);
    Ok(())
}

/// 4. A nats-server of its own for each test, with JetStream: it starts in some 10 ms, and ends with the test.
async fn a_real_nats_server() -> TestResult {
    let nats_server = NatsServer::start().await?;
    let nats = nats_server.connect().await?;
    let jetstream = async_nats::jetstream::new(nats.clone());
    let server = Server::new(nats.clone())
        .with_jetstream(jetstream.clone())
        .layer(from_fn(with_member))
        .add_service(PricesServer::new(Shop))
        .start()
        .await?;

    let prices = PricesClient::new(Client::new(nats).with_jetstream(jetstream));
    let apple = Price {
        item: "apple".to_owned(),
        cents: 40,
    };
    prices.set_price(apple.clone()).await?;
    let stored = prices.get_set_price_from_kv("apple").await?;
    assert_eq!(stored, Some(apple));

    server.stop().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> TestResult {
    the_handler_as_a_value().await?;
    println!("1. the handler as a value: passed");
    a_fake_in_place_of_the_client().await?;
    println!("2. a fake in place of the client: passed");
    a_client_in_process().await?;
    println!("3. a client of services in this process: passed");
    a_real_nats_server().await?;
    println!("4. a real nats-server: passed");
    Ok(())
}
