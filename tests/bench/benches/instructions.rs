//! What a call costs in the service beside NATS, in instructions: those of a call, less those of a service that sends each
//! payload back without a look at it. Unlike time, they do not depend on what else the machine does. A service runs under
//! valgrind, which counts, once with few calls and once with many; the difference is that of the calls alone. It is an upper bound:
//! under valgrind handlers are so slow that some are taken for such that compute, and get a task.
//!
//! `cargo bench -p natsmicro-bench --bench instructions`, some two minutes; needs `valgrind` on the PATH.

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

use std::env;
use std::fs;
use std::path::Path;

use futures::StreamExt;
use natsmicro::testing::NatsServer;
use natsmicro::{Server, Status};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::api::Item;

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

/// The subject of what is compared with, and then what is compared: endpoint and description.
const SENT_BACK: &str = "sent_back";
const CASES: [(&str, &str); 4] = [
    ("echo", "decoded, handled, encoded, counted"),
    ("refuse", "the same, with an error in place of a response"),
    ("after", "stored in a bucket after the response"),
    ("before", "stored in a bucket before the response"),
];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--service", url] => serve(url).await,
        _ => compare().await,
    }
}

async fn compare() {
    let sent_back = per_call(SENT_BACK).await;
    println!("instructions of the service process per call, 128 bytes, {IN_FLIGHT} in flight:");
    println!("{sent_back:>8.0}  the payload sent back");
    for (endpoint, what) in CASES {
        let ours = per_call(&format!("bench.{endpoint}")).await;
        println!("{ours:>8.0}  {what}: {:+.0} beside NATS", ours - sent_back);
    }
}

async fn per_call(subject: &str) -> f64 {
    let few = instructions(subject, FEW).await;
    let many = instructions(subject, MANY).await;
    (many - few) as f64 / (MANY - FEW) as f64
}

/// Those of a service from its start to its end, with so many calls between.
async fn instructions(subject: &str, calls: usize) -> i64 {
    let nats = NatsServer::start().await.unwrap();
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions.log");
    let mut service = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no"])
        .arg("--cachegrind-out-file=/dev/null")
        .arg(format!("--log-file={}", log.display()))
        .arg(env::current_exe().unwrap())
        .args(["--service", nats.url()])
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("valgrind, which counts, cannot be started: {error}"));
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
    assert!(service.wait().await.unwrap().success());
    let log = fs::read_to_string(log).unwrap();
    let counted = log.lines().find_map(|line| line.split_once("refs:"));
    let (_, counted) = counted.expect("a line of valgrind that says `refs:`");
    counted.trim().replace(',', "").parse().unwrap()
}

fn item(number: usize) -> bytes::Bytes {
    use prost::Message as _;
    Item::of(number.to_string(), 128).encode_to_vec().into()
}

async fn serve(url: &str) {
    let nats = async_nats::connect(url).await.unwrap();
    let mut end = nats.subscribe(END).await.unwrap();
    let requests = nats.queue_subscribe(SENT_BACK, "q".to_owned());
    let mut requests = requests.await.unwrap();
    let server = Server::new(nats.clone())
        .with_jetstream(async_nats::jetstream::new(nats.clone()))
        .add_service(BenchServer::new(Service))
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
}
