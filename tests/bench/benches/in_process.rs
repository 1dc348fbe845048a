//! What a unary call of `Client::in_process()` takes, on one thread: without layers, and with one `from_fn` layer on either side.
//!
//! `cargo bench -p natsmicro-bench --bench in_process`, some seconds.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run ends")]
#![allow(
    clippy::cast_precision_loss,
    reason = "a few digits of a count are enough"
)]

#[path = "calls/api.rs"]
#[allow(dead_code, reason = "the messages of it are enough")]
mod api;

use std::alloc::System;
use std::time::{Duration, Instant};

use natsmicro::middleware::{Next, Reply, Request, from_fn};
use natsmicro::{Client, Status};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::api::Item;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CALLS: usize = 200_000;
/// The median of a call should be below this.
const AIM: Duration = Duration::from_micros(5);

#[natsmicro::service]
trait Bench {
    async fn echo(&self, request: Item) -> Result<Item, Status>;
}

struct Service;

impl Bench for Service {
    async fn echo(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
}

/// A layer that does nothing.
async fn pass(request: Request, next: Next) -> Result<Reply, Status> {
    next.run(request).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let service = || Client::in_process().add_service(BenchServer::new(Service));
    println!(
        "a unary call of a client in process, 128 bytes, one after the other; aim: p50 below {AIM:?}"
    );
    measure("no layer", service().build()).await;
    measure(
        "one `from_fn` layer on the server",
        service().layer(from_fn(pass)).build(),
    )
    .await;
    measure(
        "one `from_fn` layer on the client",
        service().build().layer(from_fn(pass)),
    )
    .await;
}

async fn measure(what: &str, client: Client) {
    let client = BenchClient::new(client);
    let item = Item::of("1".to_owned(), 128);
    let mut times = Vec::with_capacity(CALLS);
    let mut allocations = 0;
    // The first half warms up.
    for number in 0..2 * CALLS {
        let (before, begun) = (allocated(), Instant::now());
        client.echo(item.clone()).await.unwrap();
        let took = begun.elapsed();
        if number >= CALLS {
            allocations += allocated() - before;
            times.push(took);
        }
    }
    times.sort_unstable();
    let (p50, p99) = (times[CALLS / 2], times[CALLS / 100 * 99]);
    let allocations = allocations as f64 / CALLS as f64;
    println!("p50 {p50:?}, p99 {p99:?}, {allocations:.1} allocations: {what}");
}

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}
