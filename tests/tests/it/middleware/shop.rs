//! The service of these tests, with a method of each kind, and a layer that records what it sees.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use natsmicro::middleware::{CallLayer, Next, Reply, Request, from_fn};
use natsmicro::{Code, Context, ServiceError, Status, Streaming};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq)]
pub struct User(pub String);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// A part of the key, or what goes wrong: see [`Shop::outcome`].
    pub id: String,
    pub n: u64,
}

#[derive(Debug, PartialEq, thiserror::Error, ServiceError)]
pub enum OrderError {
    #[error("sold out")]
    #[code("SOLD_OUT")]
    SoldOut,
    #[error(transparent)]
    Other(#[from] Status),
}

fn validate(order: &Order) -> Result<(), Status> {
    if order.id == "invalid" {
        return Err(Status::out_of_range("an order of the test"));
    }
    Ok(())
}

#[natsmicro::service(codec = "json", subject_prefix = "shop")]
pub trait Shop {
    #[endpoint(validate = validate, timeout = "1s")]
    async fn order(&self, cx: &Context, order: Order) -> Result<Order, OrderError>;

    #[endpoint(validate = validate, timeout = "1s")]
    async fn follow(&self, cx: &Context, order: Order) -> Result<Streaming<Order>, OrderError>;

    #[endpoint(validate = validate, timeout = "1s")]
    async fn collect(&self, cx: &Context, orders: Streaming<Order>) -> Result<Order, OrderError>;

    #[endpoint(validate = validate, timeout = "1s")]
    async fn trade(
        &self,
        cx: &Context,
        orders: Streaming<Order>,
    ) -> Result<Streaming<Order>, OrderError>;

    #[endpoint(timeout = "3s")]
    #[kv_store(
        bucket = "orders",
        key = "order.<id>",
        write = "create",
        persist = "before_response"
    )]
    async fn keep(&self, order: Order) -> Result<Order, Status>;

    /// Who calls, as the layer `authenticate` says.
    async fn whoami(&self, cx: &Context) -> Result<String, Status>;

    /// The same, once when the stream is read.
    async fn whoami_stream(&self, cx: &Context) -> Result<Streaming<String>, Status>;
}

/// A handler does what the order says.
#[derive(Clone, Default)]
pub struct Impl;

fn user(cx: &Context) -> Result<String, Status> {
    let user = cx.extensions().get::<User>();
    user.map(|user| user.0.clone())
        .ok_or_else(|| Status::unauthenticated("nobody"))
}

/// Sets a response header.
fn sign(cx: &Context) -> Result<(), Status> {
    Ok(cx.insert_response_header("X-Handler", "yes")?)
}

/// What an order asks the handler for.
async fn outcome(order: Order) -> Result<Order, OrderError> {
    match order.id.as_str() {
        "sold out" => Err(OrderError::SoldOut),
        "panic" => panic!("a handler of the test"),
        "slow" => std::future::pending().await,
        "large" => Ok(Order {
            id: "x".repeat((1 << 20) + 1),
            n: order.n,
        }),
        id => match id.strip_prefix("code ") {
            Some(code) => Err(OrderError::Other(Status::new(code, "as ordered"))),
            None => Ok(order),
        },
    }
}

impl Shop for Impl {
    async fn order(&self, cx: &Context, order: Order) -> Result<Order, OrderError> {
        sign(cx)?;
        outcome(order).await
    }

    async fn follow(&self, cx: &Context, order: Order) -> Result<Streaming<Order>, OrderError> {
        sign(cx)?;
        if let Some(late) = order.id.strip_prefix("late ") {
            let order = Order {
                id: late.to_owned(),
                n: 2,
            };
            return Ok(late_failure(order));
        }
        let first = outcome(order).await?;
        Ok(Streaming::iter([first.clone(), first]))
    }

    async fn collect(
        &self,
        cx: &Context,
        mut orders: Streaming<Order>,
    ) -> Result<Order, OrderError> {
        sign(cx)?;
        let mut last = Order::default();
        while let Some(order) = orders.message().await? {
            last = outcome(order).await?;
        }
        Ok(last)
    }

    async fn trade(
        &self,
        cx: &Context,
        orders: Streaming<Order>,
    ) -> Result<Streaming<Order>, OrderError> {
        sign(cx)?;
        Ok(Streaming::new(orders.then(|order| async {
            let outcome = outcome(order?).await;
            outcome.map_err(ServiceError::into_status)
        })))
    }

    async fn keep(&self, order: Order) -> Result<Order, Status> {
        Ok(order)
    }

    async fn whoami(&self, cx: &Context) -> Result<String, Status> {
        user(cx)
    }

    async fn whoami_stream(&self, cx: &Context) -> Result<Streaming<String>, Status> {
        let cx = cx.clone();
        Ok(Streaming::new(futures::stream::once(async move {
            tokio::task::yield_now().await;
            user(&cx)
        })))
    }
}

/// Sends one order, and then does what `order` says.
fn late_failure(order: Order) -> Streaming<Order> {
    let first = futures::stream::iter([Ok(Order::default())]);
    let then = futures::stream::once(async move {
        let outcome = outcome(order).await;
        outcome.map_err(ServiceError::into_status)
    });
    Streaming::new(first.chain(then))
}

/// Tells the handler who calls.
pub async fn authenticate(mut request: Request, next: Next) -> Result<Reply, Status> {
    let user = match request.header("authorization") {
        Some(token) => User(token.trim_start_matches("Bearer ").to_owned()),
        None => return Err(Status::unauthenticated("no token")),
    };
    request.extensions_mut().insert(user);
    next.run(request).await
}

/// The codes that a layer has seen, `OK` for successes, and when it expects no more.
#[derive(Clone, Default)]
pub struct Audit(Arc<Mutex<Vec<(&'static str, String)>>>);

impl Audit {
    pub fn layer(&self) -> impl CallLayer + use<> {
        let audit = self.clone();
        from_fn(move |request: Request, next: Next| {
            let audit = audit.clone();
            async move {
                let method = request.method();
                let reply = next.run(request).await;
                let mut reply =
                    reply.inspect_err(|status| audit.record(method, &Err(status.clone())))?;
                reply.on_end(move |result| audit.record(method, result));
                Ok(reply)
            }
        })
    }

    fn record(&self, method: &'static str, result: &Result<(), Status>) {
        let code = match result {
            Ok(()) => "OK".to_owned(),
            Err(status) => status.code().to_string(),
        };
        self.0.lock().unwrap().push((method, code));
    }

    /// Waits for the next outcome, and forgets it.
    pub async fn next(&self) -> (&'static str, String) {
        let seen = async {
            loop {
                if let Some(first) = self.take_first() {
                    return first;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        natsmicro_tests::common::soon(seen).await
    }

    fn take_first(&self) -> Option<(&'static str, String)> {
        let mut seen = self.0.lock().unwrap();
        (!seen.is_empty()).then(|| seen.remove(0))
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

pub fn order(id: &str) -> Order {
    Order {
        id: id.to_owned(),
        n: 1,
    }
}

pub fn code<T>(result: &Result<T, OrderError>) -> String {
    match result {
        Ok(_) => "OK".to_owned(),
        Err(OrderError::SoldOut) => "SOLD_OUT".to_owned(),
        Err(OrderError::Other(status)) => status.code().to_string(),
    }
}

/// Every code of gRPC, and one that is none.
pub fn codes() -> Vec<String> {
    let codes = [
        Code::Cancelled,
        Code::Unknown,
        Code::InvalidArgument,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
        Code::Unauthenticated,
        Code::Custom("LOCKED".to_owned()),
    ];
    codes.iter().map(ToString::to_string).collect()
}
