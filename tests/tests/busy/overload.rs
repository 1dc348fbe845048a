//! More requests than a server can take, from peers who write as fast as they can and from clients of this crate. It answers what
//! it can, refuses the rest, and is as before when it is over.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use natsmicro::testing::NatsServer;
use natsmicro::{Code, Status};
use natsmicro_tests::common::{Text, text};
use natsmicro_tests::raw::{RawPeer, message};
use tokio::task::{JoinHandle, JoinSet};

use crate::alone;
use crate::server_process::{FeedClient, LoadClient, MARKER, Runtime, ServerProcess, Services};

/// The requests that the peers without this crate send: chunks of so many, over so many connections. As many as go in this time,
/// and no more than those.
const CHUNK: usize = 400;
const CHUNKS: usize = 1_000;
const PEERS: usize = 4;
const FLOOD: Duration = Duration::from_secs(8);
/// How many chunks are on their way. The NATS server holds up to 64 MiB for a connection, and a stream that hears nothing for
/// six seconds takes its other side for dead.
const AHEAD: usize = 30;
/// How many calls the clients of this crate have in flight.
const CALLS: usize = 256;
/// How long everything may take until it works again: what was taken on has to be answered, by a program that is not optimized.
const RECOVERY: Duration = Duration::from_secs(20);
/// How long one call may take.
const CALL: Duration = Duration::from_secs(5);
/// How long what was held may be held, and how much more than before then still is.
const RELEASE: Duration = Duration::from_secs(60);
const HELD: usize = 64 << 20;
/// How much may be held under load: what waits has a budget, and what has to be sent a bound.
const HELD_UNDER_LOAD: usize = 256 << 20;

/// A request with 40 headers, whose reply somebody receives.
fn request(subject: &str, n: usize) -> Vec<u8> {
    let names: Vec<_> = (0..40).map(|n| format!("X-Header-{n}")).collect();
    let headers: Vec<_> = names.iter().map(|name| (&**name, "some value")).collect();
    let payload = text("flood").bytes();
    message(subject, &format!("_INBOX.flood.{n}"), &headers, &payload)
}

/// Peers on threads of their own that send requests as fast as the connection of the server takes them. Not faster: the NATS
/// server would cut that connection.
struct Flood {
    chunks: Arc<Chunks>,
}

#[derive(Default)]
struct Chunks {
    /// How many chunks may be sent by now.
    allowed: AtomicUsize,
    /// How many peers have taken to send.
    sent: AtomicUsize,
    /// No further chunk is to be sent.
    over: AtomicBool,
}

impl Chunks {
    /// Waits until another one may be sent; not if there are no more.
    fn next(&self) -> bool {
        loop {
            if self.over.load(Ordering::SeqCst) {
                return false;
            }
            let allowed = self.allowed.load(Ordering::SeqCst).min(CHUNKS);
            let sent = |sent| (sent < allowed).then_some(sent + 1);
            let order = Ordering::SeqCst;
            if self.sent.fetch_update(order, order, sent).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Flood {
    fn start(server: &NatsServer, services: Services) -> Self {
        let mut subjects = vec!["load.quick", "load.quick_too", "load.slow", "load.fail"];
        if services == Services::Two {
            subjects.push("feed.tick");
        }
        let mut chunk: Vec<u8> = (0..CHUNK)
            .flat_map(|n| request(subjects[n % subjects.len()], n))
            .collect();
        chunk.extend(message(MARKER, "", &[], b""));
        let (chunk, chunks) = (Arc::new(chunk), Arc::<Chunks>::default());
        for _ in 0..PEERS {
            let (url, chunk) = (server.url().to_owned(), Arc::clone(&chunk));
            let chunks = Arc::clone(&chunks);
            std::thread::spawn(move || {
                let mut peer = RawPeer::connect(&url);
                peer.subscribe("_INBOX.flood.*");
                peer.discard_input();
                while chunks.next() {
                    peer.write(&chunk);
                }
                // What the server has not yet read would be lost with the connection.
                std::thread::sleep(CALL);
            });
        }
        Self { chunks }
    }

    /// Returns when all requests have arrived at the server's connection; says how many they are.
    async fn over(self, process: &mut ServerProcess) -> usize {
        let since = Instant::now();
        loop {
            let arrived = process.markers();
            if since.elapsed() > FLOOD {
                self.chunks.over.store(true, Ordering::SeqCst);
            }
            let sent = self.chunks.sent.load(Ordering::SeqCst);
            if arrived == sent && (since.elapsed() > FLOOD || sent == CHUNKS) {
                return CHUNK * sent;
            }
            assert!(
                since.elapsed() < FLOOD + RECOVERY,
                "{arrived} of {sent} chunks have arrived in {:?}",
                since.elapsed()
            );
            let allowed = arrived + AHEAD;
            self.chunks.allowed.store(allowed, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// A call under load ends in one of these ways.
pub fn ended<T>(result: Result<T, Status>) {
    let code = result.err().map(|status| status.code().clone());
    assert!(
        matches!(
            code,
            None | Some(
                Code::NotFound
                    | Code::ResourceExhausted
                    | Code::Unavailable
                    | Code::DeadlineExceeded
            )
        ),
        "{code:?}"
    );
}

/// Makes one call of each endpoint, and fails if one is not answered as it is without load.
pub async fn all_answer(client: &LoadClient, within: Duration) {
    let since = Instant::now();
    loop {
        let answers = tokio::join!(
            client.quick(text("a")).into_future(),
            client.slow(text("b")).into_future(),
            client.fail(text("c")).into_future(),
            client.quick_too(text("d")).into_future(),
        );
        let failed = answers.2.as_ref().err().map(Status::code);
        if answers.0 == Ok(text("a"))
            && answers.1 == Ok(text("b"))
            && answers.3 == Ok(text("d"))
            && failed == Some(&Code::NotFound)
        {
            return;
        }
        assert!(
            since.elapsed() < within,
            "not answered {within:?} after the load: {answers:?}"
        );
    }
}

/// Asks for the services once a second until `over`; gives the number of answers.
fn pings(nats: async_nats::Client, over: Arc<AtomicBool>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let inbox = nats.new_inbox();
        let mut answers = nats.subscribe(inbox.clone()).await.unwrap();
        let mut answered = 0;
        while !over.load(Ordering::SeqCst) {
            nats.publish_with_reply("$SRV.PING", inbox.clone(), Bytes::new())
                .await
                .unwrap();
            let second = tokio::time::Instant::now() + Duration::from_secs(1);
            while let Ok(Some(_)) = tokio::time::timeout_at(second, answers.next()).await {
                answered += 1;
            }
        }
        answered
    })
}

/// Clients of this crate that call until `over`; gives the number of calls.
fn calls(client: &LoadClient, over: &Arc<AtomicBool>) -> JoinSet<usize> {
    let mut callers = JoinSet::new();
    for n in 0..CALLS {
        let (client, over) = (client.clone(), Arc::clone(over));
        callers.spawn(async move {
            let mut made = 0;
            while !over.load(Ordering::SeqCst) {
                let request = text(n.to_string());
                match (n + made) % 3 {
                    0 => ended(client.quick(request).await),
                    1 => ended(client.slow(request).await),
                    _ => ended(client.fail(request).await),
                }
                made += 1;
            }
            made
        });
    }
    callers
}

/// A stream that somebody reads: how many messages have come, and how it ended.
struct Open {
    received: Arc<AtomicUsize>,
    end: Arc<OnceLock<Result<Option<Text>, Status>>>,
}

impl Open {
    async fn start(client: &FeedClient) -> Result<Self, Status> {
        let mut messages = client.tick(text("")).await?;
        let received = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&received);
        let end = Arc::<OnceLock<_>>::default();
        let ended = Arc::clone(&end);
        tokio::spawn(async move {
            loop {
                match messages.message().await {
                    Ok(Some(_)) => counter.fetch_add(1, Ordering::SeqCst),
                    end => return ended.set(end),
                };
            }
        });
        Ok(Self { received, end })
    }

    /// Fails if nothing more comes.
    async fn flows(&self) {
        let before = self.received.load(Ordering::SeqCst);
        let since = Instant::now();
        while self.received.load(Ordering::SeqCst) < before + 3 {
            let (ended, elapsed) = (self.end.get(), since.elapsed());
            assert!(
                ended.is_none() && elapsed < RECOVERY,
                "no more than {before} messages in {elapsed:?}, ended by {ended:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A new stream, when those of the flood have left a place.
async fn opens(client: &FeedClient) -> Open {
    let since = Instant::now();
    loop {
        match Open::start(client).await {
            Ok(open) => return open,
            Err(status) => assert!(since.elapsed() < RECOVERY, "{status:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn is_released(process: &mut ServerProcess, before: usize) {
    let since = Instant::now();
    loop {
        let grown = process.memory().saturating_sub(before);
        if grown < HELD {
            return;
        }
        assert!(
            since.elapsed() < RELEASE,
            "{grown} bytes more than before are held {RELEASE:?} after the load"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn survives(runtime: Runtime, services: Services) {
    let _alone = alone().await;
    let nats = NatsServer::start().await.unwrap();
    let mut process = ServerProcess::start(nats.url(), runtime, services);
    let client =
        LoadClient::new(natsmicro::Client::new(nats.connect().await.unwrap()).with_timeout(CALL));
    let feeds = FeedClient::new(nats.connect().await.unwrap());
    all_answer(&client, RECOVERY).await;
    let mut open = Vec::new();
    if services == Services::Two {
        for _ in 0..4 {
            open.push(Open::start(&feeds).await.unwrap());
        }
    }
    let before = process.memory();

    let over = Arc::<AtomicBool>::default();
    let pings = pings(nats.connect().await.unwrap(), Arc::clone(&over));
    let calls = calls(&client, &over);
    let begun = Instant::now();
    let requests = Flood::start(&nats, services).over(&mut process).await;
    over.store(true, Ordering::SeqCst);
    let answered = pings.await.unwrap();
    let calls: usize = calls.join_all().await.into_iter().sum();
    let held = process.memory().saturating_sub(before);
    println!(
        "{requests} requests and {calls} calls in {:?}, {answered} answers to `$SRV.PING`, {} bytes held",
        begun.elapsed(),
        held
    );
    assert!(held < HELD_UNDER_LOAD, "{held} bytes are held under load");
    assert!(answered > 0, "`$SRV.PING` was not answered");

    all_answer(&client, RECOVERY).await;
    for open in &open {
        // While a flood keeps async-nats reading, it writes nothing, and a stream may be taken for dead. Then both sides know.
        if let Some(ended) = open.end.get() {
            let code = ended.as_ref().err().map(Status::code);
            assert_eq!(code, Some(&Code::Unavailable), "{ended:?}");
        } else {
            open.flows().await;
        }
    }
    if services == Services::Two {
        opens(&feeds).await.flows().await;
    }
    is_released(&mut process, before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_calls_on_one_thread() {
    survives(Runtime::CurrentThread, Services::One).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_calls_on_two_threads() {
    survives(Runtime::TwoWorkers, Services::One).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_calls_and_streams_on_one_thread() {
    survives(Runtime::CurrentThread, Services::Two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_calls_and_streams_on_two_threads() {
    survives(Runtime::TwoWorkers, Services::Two).await;
}
