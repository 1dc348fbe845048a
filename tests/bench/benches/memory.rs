//! Whether memory grows with the number of calls: ten million answered, a million that are not, and a million keys.
//!
//! `cargo bench -p natsmicro-bench --bench memory`, some five minutes; with `-- 0.01` a hundredth of it. What is printed after
//! each tenth is what the process, which is service and client at once, has allocated and what the system has given it.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a program")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run ends"
)]

#[path = "calls/api.rs"]
#[allow(dead_code, reason = "one endpoint of it is enough")]
mod api;

use std::alloc::System;
use std::ops::Range;
use std::time::Duration;

use futures::{StreamExt, stream};
use natsmicro::testing::NatsServer;
use natsmicro::{Server, Status};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::api::{Item, Ours, OursClient, OursServer};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const AT_ONCE: usize = 1_024;

struct Service;

impl Ours for Service {
    async fn echo(&self, request: Item) -> Result<Item, Status> {
        match request.id.parse::<usize>() {
            Ok(number) if number % 100 == 0 => Err(Status::not_found("there is none")),
            _ => Ok(request),
        }
    }
    async fn wait(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
    async fn compute(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
    async fn after(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
    async fn before(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
    async fn object(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
}

fn item(number: usize) -> Item {
    Item::of(number.to_string(), 128)
}

#[tokio::main]
async fn main() {
    let share = std::env::args().find_map(|arg| arg.parse().ok());
    let share: f64 = share.unwrap_or(1.0);
    let scaled = |number: usize| (number as f64 * share) as usize;

    let nats = NatsServer::start().await.unwrap();
    let connection = nats.connect().await.unwrap();
    let server = Server::new(connection.clone())
        .with_jetstream(async_nats::jetstream::new(connection.clone()))
        .add_service(OursServer::new(Service));
    let server = server.start().await.unwrap();
    let mut silence = connection.subscribe("silent.echo").await.unwrap();
    connection.flush().await.unwrap();
    tokio::spawn(async move { while silence.next().await.is_some() {} });
    let client = OursClient::new(nats.connect().await.unwrap());

    println!("{:>12}  {:>14}  {:>10}", "calls", "allocated", "resident");
    let calls = client.clone();
    tenths(
        "answered, one in a hundred with an error",
        scaled(10_000_000),
        |number| {
            let calls = calls.clone();
            async move {
                let answer = calls.echo(item(number)).await;
                assert_eq!(answer.is_err(), number % 100 == 0, "{answer:?}");
            }
        },
    )
    .await;
    let silent = client.clone().with_subject_prefix("silent");
    tenths("without an answer for 5 ms", scaled(1_000_000), |number| {
        let call = silent.echo(item(number));
        async move {
            let answer = call.with_timeout(Duration::from_millis(5)).await;
            assert!(answer.is_err());
        }
    })
    .await;
    tenths(
        "stored, each under a key of its own",
        scaled(1_000_000),
        |number| {
            let client = client.clone();
            async move {
                client.after(item(number)).await.unwrap();
            }
        },
    )
    .await;
    server.stop().await.unwrap();
    say("stopped", 0);
}

async fn tenths<F>(what: &str, calls: usize, call: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    println!("{what}");
    for tenth in 0..10 {
        let numbers = calls / 10 * tenth..calls / 10 * (tenth + 1);
        many(numbers, &call).await;
        say("", calls / 10 * (tenth + 1));
    }
}

/// Makes the calls on several tasks, so that more than one core works.
async fn many<F>(numbers: Range<usize>, call: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let calls = stream::iter(numbers).map(|number| tokio::spawn(call(number)));
    let done = calls.buffer_unordered(AT_ONCE);
    done.for_each(async |done| done.unwrap()).await;
}

fn say(what: &str, calls: usize) {
    let stats = ALLOCATOR.stats();
    let allocated = stats.bytes_allocated - stats.bytes_deallocated;
    println!(
        "{calls:>12}  {:>10.2} MiB  {:>6.1} MiB  {what}",
        allocated as f64 / f64::from(1 << 20),
        natsmicro_bench::memory()
    );
}
