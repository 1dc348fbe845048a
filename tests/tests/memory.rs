//! Memory does not grow with the number of calls, answered or not: what is allocated after many of them is what was allocated
//! after half of them. A program of its own: the allocator counts the whole process, and
//! the panic hook belongs to the process.

use std::alloc::System;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use natsmicro::{Code, RunningServer, Status};
use natsmicro_tests::common::{Nats, Text, soon, synced, text};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a call may leave behind on the average: less than a pointer. A buffer may still grow late.
const BYTES_PER_CALL: usize = 8;

const PANIC: &str = "as ordered";

#[natsmicro::service(subject_prefix = "memory")]
trait Memory {
    async fn echo(&self, request: Text) -> Result<Text, Status>;
    #[endpoint(timeout = "1ms")]
    async fn late(&self, request: Text) -> Result<Text, Status>;
    #[kv_store(bucket = "memory", key = "k.<text>")]
    async fn stored(&self, request: Text) -> Result<Text, Status>;
}

struct Service;

impl Memory for Service {
    async fn echo(&self, request: Text) -> Result<Text, Status> {
        match request.text.as_str() {
            "refuse" => Err(Status::not_found("there is none")),
            "panic" => std::panic::panic_any(PANIC),
            "wait" => {
                tokio::task::yield_now().await;
                Ok(request)
            }
            _ => Ok(request),
        }
    }

    async fn late(&self, _request: Text) -> Result<Text, Status> {
        std::future::pending().await
    }

    async fn stored(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
}

/// A service, its client, and somebody who takes requests and never answers.
struct Bench {
    nats: Nats,
    server: RunningServer,
    client: MemoryClient,
}

impl Bench {
    async fn start() -> Self {
        let nats = Nats::start().await;
        let server = nats.persisting().add_service(MemoryServer::new(Service));
        let server = server.start().await.unwrap();
        let mut silence = nats.peer("silent.echo").await;
        tokio::spawn(async move { while silence.next().await.is_some() {} });
        let client = MemoryClient::new(nats.caller.clone());
        Self {
            nats,
            server,
            client,
        }
    }

    /// Makes the calls in parts, after a few that fill pools and buffers, and compares what is allocated before and after the last one.
    async fn is_flat<F>(&self, what: &str, calls: usize, call: impl Fn(usize) -> F)
    where
        F: Future<Output = ()>,
    {
        let run = async |numbers: std::ops::Range<usize>| {
            // Channels keep the room of their longest queue, about 200 bytes per call that was in flight.
            let at_once = 64;
            let calls = stream::iter(numbers).map(&call).buffer_unordered(at_once);
            calls.collect::<()>().await;
            self.settled().await
        };
        run(0..calls / 4).await;
        let mut before = run(calls / 4..calls / 2).await;
        // What leaks grows each time; a channel that had a longer queue than ever before does so once.
        for _ in 0..3 {
            let after = run(calls / 2..calls).await;
            let grown = after.saturating_sub(before);
            println!("{what}: {before} bytes are allocated, and {grown} more after {calls} calls");
            if grown < calls / 2 * BYTES_PER_CALL {
                return;
            }
            before = after;
        }
        panic!("{what}: what is allocated grows with the number of calls");
    }

    /// How many bytes are allocated when nothing is on its way any more.
    async fn settled(&self) -> usize {
        soon(async {
            while self.pending() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        for connection in [&self.nats.service, &self.nats.caller] {
            synced(connection).await;
        }
        // The tasks of the last calls end a little after their replies.
        let (mut least, mut since) = (allocated(), Instant::now());
        while since.elapsed() < Duration::from_millis(200) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if allocated() < least {
                (least, since) = (allocated(), Instant::now());
            }
        }
        least
    }

    fn pending(&self) -> u64 {
        let stats = self.server.stats();
        let endpoints = stats.iter().flat_map(|service| &service.endpoints);
        let stores = endpoints.filter_map(|endpoint| endpoint.persistence);
        stores.map(|stores| stores.persist_pending).sum()
    }
}

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_flat() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&PANIC) {
            report(panic);
        }
    }));
    let bench = Bench::start().await;

    let client = &bench.client;
    bench
        .is_flat("calls", 100_000, async |n| {
            let kind = ["echo", "wait", "refuse", "panic"][if n % 8 > 3 { 0 } else { n % 4 }];
            let code = client.echo(text(kind)).await.err();
            let code = code.map(|status| status.code().clone());
            let expected = match kind {
                "refuse" => Some(Code::NotFound),
                "panic" => Some(Code::Internal),
                _ => None,
            };
            assert_eq!(code, expected);
        })
        .await;

    let silent = client.clone().with_subject_prefix("silent");
    bench
        .is_flat("calls without an answer", 100_000, async |_| {
            let call = silent.echo(text("x"));
            let error = call.with_timeout(Duration::from_millis(1)).await;
            assert_eq!(error.unwrap_err().code(), &Code::DeadlineExceeded);
        })
        .await;

    bench
        .is_flat("calls that the service gives up", 50_000, async |_| {
            let error = client.late(text("x")).await;
            assert_eq!(error.unwrap_err().code(), &Code::DeadlineExceeded);
        })
        .await;

    bench
        .is_flat("stored responses", 40_000, async |n| {
            client.stored(text(n.to_string())).await.unwrap();
        })
        .await;
}
