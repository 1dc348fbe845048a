//! What a call costs beside NATS, in instructions and in allocations: in the service, those of a call, less those of a service that sends
//! each payload back without a look at it; and in service and client, those that a layer adds. Unlike time, they do not depend on what else
//! the machine does. A process runs under valgrind, which counts, once with few calls and once with many; the difference is that of the
//! calls alone. It is an upper bound: under valgrind handlers are so slow that some are taken for such that compute, and get a task.
//!
//! `cargo bench -p natsmicro-bench --bench instructions`, some four minutes; needs `valgrind` on the PATH.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a program")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run ends"
)]
#![allow(
    clippy::cast_precision_loss,
    reason = "a few digits of a count are enough"
)]

#[path = "calls/api.rs"]
#[allow(dead_code, reason = "the messages of it are enough")]
mod api;

use std::alloc::System;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use futures::StreamExt;
use natsmicro::middleware::{Next, Reply, Request, from_fn};
use natsmicro::testing::NatsServer;
use natsmicro::{Client, Server, Status};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::api::Item;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const FEW: usize = 5_000;
const MANY: usize = 25_000;
const IN_FLIGHT: usize = 100;
/// Ends the service process.
const END: &str = "bench.end";

#[natsmicro::service(name = "bench")]
trait Bench {
    async fn echo(&self, request: Item) -> Result<Item, Status>;
    async fn refuse(&self, request: Item) -> Result<Item, Status>;
    #[kv_store(bucket = "after", key = "k.<id>", storage = "memory")]
    async fn after(&self, request: Item) -> Result<Item, Status>;
    #[kv_store(
        bucket = "before",
        key = "k.<id>",
        storage = "memory",
        persist = "before_response"
    )]
    async fn before(&self, request: Item) -> Result<Item, Status>;
}

struct Service;

impl Bench for Service {
    async fn echo(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
    async fn refuse(&self, _request: Item) -> Result<Item, Status> {
        Err(Status::not_found("there is none"))
    }
    async fn after(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
    async fn before(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
}

/// The subject of what is compared with, and then what is compared: subject and description.
const SENT_BACK: &str = "sent_back";
const CASES: [(&str, &str); 5] = [
    ("bench.echo", "decoded, handled, encoded, counted"),
    (LAYERED, "the same, in one `from_fn` layer"),
    (
        "bench.refuse",
        "the first, with an error in place of a response",
    ),
    ("bench.after", "stored in a bucket after the response"),
    ("bench.before", "stored in a bucket before the response"),
];
/// The first case on a server with a layer.
const LAYERED: &str = "layered.echo";
/// How the process of a client is started.
const PLAIN_CLIENT: &str = "--client";
const LAYERED_CLIENT: &str = "--layered-client";

/// A layer that does nothing.
async fn pass(request: Request, next: Next) -> Result<Reply, Status> {
    next.run(request).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--service", url] => serve(url).await,
        [PLAIN_CLIENT, url, calls] => call(Client::new(connect(url).await), calls).await,
        [LAYERED_CLIENT, url, calls] => {
            let client = Client::new(connect(url).await).layer(from_fn(pass));
            call(client, calls).await;
        }
        _ => return compare().await,
    }
    let stats = ALLOCATOR.stats();
    println!("{}", stats.allocations + stats.reallocations);
}

async fn compare() {
    println!("instructions and allocations per call, 128 bytes, {IN_FLIGHT} in flight");
    let sent_back = Cost::per_call(async |calls| of_service(SENT_BACK, calls).await).await;
    println!("of the service process:");
    println!("{sent_back}  the payload sent back");
    for (subject, what) in CASES {
        let ours = Cost::per_call(async |calls| of_service(subject, calls).await).await;
        println!("{ours}  {what}: {} beside NATS", ours.less(&sent_back));
    }
    println!("of the client process:");
    let plain = Cost::per_call(async |calls| of_client(PLAIN_CLIENT, calls).await).await;
    println!("{plain}  a call");
    let layered = Cost::per_call(async |calls| of_client(LAYERED_CLIENT, calls).await).await;
    let more = layered.less(&plain);
    println!("{layered}  the same, in one `from_fn` layer: {more} more");
}

/// What a process has done, or one call of it.
struct Cost {
    instructions: f64,
    allocations: f64,
}

impl Cost {
    async fn per_call(of: impl AsyncFn(usize) -> Self) -> Self {
        let few = of(FEW).await;
        let many = of(MANY).await.less(&few);
        let calls = (MANY - FEW) as f64;
        Self {
            instructions: many.instructions / calls,
            allocations: many.allocations / calls,
        }
    }

    fn less(&self, other: &Self) -> Self {
        Self {
            instructions: self.instructions - other.instructions,
            allocations: self.allocations - other.allocations,
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8.0} {:>5.1}", self.instructions, self.allocations)
    }
}

/// Runs a service from its start to its end, with so many calls between.
async fn of_service(subject: &str, calls: usize) -> Cost {
    let nats = NatsServer::start().await.unwrap();
    let service = counted(&["--service", nats.url()]);
    let caller = nats.connect().await.unwrap();
    while caller.request(subject.to_owned(), item(0)).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut callers = JoinSet::new();
    for number in 0..IN_FLIGHT {
        let (caller, subject) = (caller.clone(), subject.to_owned());
        callers.spawn(async move {
            for _ in 0..calls / IN_FLIGHT {
                caller.request(subject.clone(), item(number)).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    caller.publish(END, "".into()).await.unwrap();
    cost(service.wait_with_output().await.unwrap())
}

/// Runs a client from its start to its end, which calls a service in this process so often.
async fn of_client(kind: &str, calls: usize) -> Cost {
    let nats = NatsServer::start().await.unwrap();
    let server = Server::new(nats.connect().await.unwrap())
        .with_jetstream(async_nats::jetstream::new(nats.connect().await.unwrap()))
        .add_service(BenchServer::new(Service))
        .start()
        .await
        .unwrap();
    let client = counted(&[kind, nats.url(), &calls.to_string()]);
    let cost = cost(client.wait_with_output().await.unwrap());
    server.stop().await.unwrap();
    cost
}

/// Starts this program under valgrind.
fn counted(args: &[&str]) -> Child {
    Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no"])
        .arg("--cachegrind-out-file=/dev/null")
        .arg(format!("--log-file={}", log().display()))
        .arg(env::current_exe().unwrap())
        .args(args)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("valgrind, which counts, cannot be started: {error}"))
}

fn log() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions.log")
}

fn cost(ended: Output) -> Cost {
    assert!(ended.status.success());
    let log = fs::read_to_string(log()).unwrap();
    let counted = log.lines().find_map(|line| line.split_once("refs:"));
    let (_, counted) = counted.expect("a line of valgrind that says `refs:`");
    Cost {
        instructions: counted.trim().replace(',', "").parse().unwrap(),
        allocations: String::from_utf8(ended.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap(),
    }
}

fn item(number: usize) -> bytes::Bytes {
    use prost::Message as _;
    Item::of(number.to_string(), 128).encode_to_vec().into()
}

async fn connect(url: &str) -> async_nats::Client {
    async_nats::connect(url).await.unwrap()
}

async fn call(client: Client, calls: &str) {
    let calls: usize = calls.parse().unwrap();
    let client = BenchClient::new(client);
    let mut callers = JoinSet::new();
    for number in 0..IN_FLIGHT {
        let client = client.clone();
        callers.spawn(async move {
            for _ in 0..calls / IN_FLIGHT {
                let item = Item::of(number.to_string(), 128);
                client.echo(item).await.unwrap();
            }
        });
    }
    callers.join_all().await;
}

async fn serve(url: &str) {
    let nats = connect(url).await;
    let mut end = nats.subscribe(END).await.unwrap();
    let requests = nats.queue_subscribe(SENT_BACK, "q".to_owned());
    let mut requests = requests.await.unwrap();
    let server = Server::new(nats.clone())
        .with_jetstream(async_nats::jetstream::new(nats.clone()))
        .add_service(BenchServer::new(Service))
        .start()
        .await
        .unwrap();
    let layered = Server::new(nats.clone())
        .layer(from_fn(pass))
        .with_jetstream(async_nats::jetstream::new(nats.clone()))
        .add_service(BenchServer::new(Service).with_subject_prefix("layered"))
        .start()
        .await
        .unwrap();
    let send_back = async {
        while let Some(request) = requests.next().await {
            let reply = request.reply.unwrap();
            nats.publish(reply, request.payload).await.unwrap();
        }
    };
    tokio::select! {
        () = send_back => {}
        _ = end.next() => {}
    }
    server.stop().await.unwrap();
    layered.stop().await.unwrap();
}
