//! Layers: authentication, an audit log, metrics and a limit of tower around the calls of a server, a token on each call of a client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use natsmicro::middleware::{Next, Reply, Request, from_fn};
use natsmicro::testing::NatsServer;
use natsmicro::{Client, Code, Context, Server, Status, Streaming};
use serde::{Deserialize, Serialize};
use tower::limit::ConcurrencyLimitLayer;

#[derive(Debug, Serialize, Deserialize)]
pub struct Transfer {
    pub to: String,
    pub cents: u64,
}

#[natsmicro::service(codec = "json")]
pub trait Accounts {
    /// Moves money away from the account of the caller.
    #[endpoint(validate = check)]
    async fn transfer(&self, cx: &Context, request: Transfer) -> Result<String, Status>;
    /// The transfers of the caller, one by one.
    async fn transfers(&self, cx: &Context) -> Result<Streaming<String>, Status>;
}

/// Two endpoints that share what the database of reports can bear.
#[natsmicro::service(codec = "json")]
pub trait Reports {
    async fn daily(&self) -> Result<String, Status>;
    async fn yearly(&self) -> Result<String, Status>;
}

// Validation: before the handler, and within the layers, so that the audit log has what is refused.

#[derive(Debug, thiserror::Error)]
#[error("a transfer of {0} cents is not allowed")]
struct NotAllowed(u64);

/// The caller gets `INVALID_ARGUMENT` with the text of the error.
fn check(transfer: &Transfer) -> Result<(), NotAllowed> {
    match transfer.cents {
        1..=1_000_000 => Ok(()),
        cents => Err(NotAllowed(cents)),
    }
}

// Authentication: who calls is an extension, which handlers and their streams read.

#[derive(Clone, Debug)]
struct User(&'static str);

async fn authenticate(mut request: Request, next: Next) -> Result<Reply, Status> {
    let user = match request.header("authorization") {
        Some("Bearer token-of-ada") => User("ada"),
        Some(_) => return Err(Status::permission_denied("the token is not valid")),
        None => return Err(Status::unauthenticated("a token is needed")),
    };
    request.extensions_mut().insert(user);
    next.run(request).await
}

/// What the layer `authenticate` has put there.
fn user(cx: &Context) -> Result<&User, Status> {
    let user = cx.extensions().get::<User>();
    user.ok_or_else(|| Status::internal("the layer `authenticate` is missing"))
}

// Audit: a line for each call, with its code and its latency. A reply is not the end of a stream, and `on_end` tells that.

async fn audit(request: Request, next: Next) -> Result<Reply, Status> {
    let (method, begun) = (request.method(), Instant::now());
    let log = move |result: &Result<(), Status>| {
        let code = result
            .as_ref()
            .map_or_else(|s| s.code().as_str(), |()| "OK");
        println!("   audit: {method} {code} after {:?}", begun.elapsed());
    };
    let mut reply = next
        .run(request)
        .await
        .inspect_err(|status| log(&Err(status.clone())))?;
    reply.on_end(log);
    Ok(reply)
}

// Metrics: a layer with a state of its own.

#[derive(Clone, Default)]
struct Metrics(Arc<Mutex<BTreeMap<String, u64>>>);

impl Metrics {
    async fn count(self, request: Request, next: Next) -> Result<Reply, Status> {
        let method = request.method();
        let result = next.run(request).await;
        let code = result.as_ref().map_or_else(|s| s.code().as_str(), |_| "OK");
        *self.counts().entry(format!("{method} {code}")).or_default() += 1;
        result
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// The services, which know of none of this but the user.

struct Bank;

impl Accounts for Bank {
    async fn transfer(&self, cx: &Context, request: Transfer) -> Result<String, Status> {
        let User(from) = user(cx)?;
        Ok(format!("{from} -> {}: {}", request.to, request.cents))
    }

    async fn transfers(&self, cx: &Context) -> Result<Streaming<String>, Status> {
        // A clone of the context lives as long as the stream.
        let cx = cx.clone();
        let numbers = futures::stream::iter(1..=2);
        Ok(Streaming::new(numbers.map(move |number| {
            Ok(format!("transfer {number} of {}", user(&cx)?.0))
        })))
    }
}

#[derive(Default)]
struct Database {
    /// How many reports are made, and how many there were at most.
    running: Mutex<(u32, u32)>,
}

impl Database {
    fn update(&self, change: impl FnOnce(&mut (u32, u32))) {
        change(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn report(&self, name: &str) -> Result<String, Status> {
        self.update(|(now, most)| {
            *now += 1;
            *most = (*most).max(*now);
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.update(|(now, _)| *now -= 1);
        Ok(format!("the {name} report"))
    }
}

impl Reports for Arc<Database> {
    async fn daily(&self) -> Result<String, Status> {
        self.report("daily").await
    }

    async fn yearly(&self) -> Result<String, Status> {
        self.report("yearly").await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nats_server = NatsServer::from_env_or_start().await?;
    let nats = nats_server.connect().await?;

    let (database, metrics) = (Arc::new(Database::default()), Metrics::default());
    let counted = metrics.clone();
    // The first layer is the outermost: the audit log has the calls that `authenticate` refuses.
    let server = Server::new(nats.clone())
        .layer(from_fn(audit))
        .layer(from_fn(move |request, next| {
            counted.clone().count(request, next)
        }))
        .layer(from_fn(authenticate))
        .add_service(AccountsServer::new(Bank))
        .add_service(
            // One limit for both endpoints. A call above it waits, within its deadline.
            ReportsServer::new(Arc::clone(&database)).layer(ConcurrencyLimitLayer::new(2)),
        )
        .start()
        .await?;

    println!("1. calls without a token, and with a wrong one");
    let transfer = |cents| Transfer {
        to: "bob".to_owned(),
        cents,
    };
    let nobody = AccountsClient::new(nats.clone());
    let refused = nobody.transfer(transfer(100)).await.unwrap_err();
    assert_eq!(refused.code(), &Code::Unauthenticated);
    let refused = nobody.transfer(transfer(100));
    let refused = refused.with_header("authorization", "Bearer x").await;
    assert_eq!(refused.unwrap_err().code(), &Code::PermissionDenied);

    println!("2. a client whose layer adds a token to each call");
    let add_token = from_fn(|mut request: Request, next: Next| async move {
        request.insert_header("authorization", "Bearer token-of-ada")?;
        next.run(request).await
    });
    let client = Client::new(nats).layer(add_token);
    let accounts = AccountsClient::new(client.clone());
    println!("   {}", accounts.transfer(transfer(100)).await?);

    println!("3. a request that is not valid");
    let refused = accounts.transfer(transfer(0)).await.unwrap_err();
    println!("   {refused}");
    assert_eq!(refused.code(), &Code::InvalidArgument);

    println!("4. a stream, which the token opens and whose handler knows the user");
    let mut transfers = accounts.transfers().await?;
    while let Some(transfer) = transfers.message().await? {
        println!("   {transfer}");
    }

    println!("5. eight reports at once, of two endpoints, two of them at a time");
    let reports = ReportsClient::new(client);
    let calls = (0..4).map(|_| async { tokio::try_join!(reports.daily(), reports.yearly()) });
    futures::future::try_join_all(calls).await?;
    database.update(|(_, most)| assert_eq!(*most, 2));

    // Every call is over then, and counted.
    server.stop().await?;
    println!("6. the metrics");
    let counts = metrics.counts();
    for (call, count) in &*counts {
        println!("   {call}: {count}");
    }
    assert_eq!(counts["transfer OK"], 1);
    assert_eq!(counts["transfer INVALID_ARGUMENT"], 1);
    assert_eq!(counts["transfer UNAUTHENTICATED"], 1);
    assert_eq!(counts["transfers OK"], 1);
    assert_eq!(counts["daily OK"] + counts["yearly OK"], 8);
    Ok(())
}
