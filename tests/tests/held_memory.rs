//! What a service holds for callers who send more than it takes: a bounded number of bytes, counted as they are held, which it
//! gives back. A program of its own: the allocator counts the whole process.

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use natsmicro::{RunningServer, Status, Streaming};
use natsmicro_tests::common::{Nats, OnDrop, Text, soon, synced, text};
use natsmicro_tests::raw::{Pace, RawPeer, message};
use natsmicro_tests::streams::PlainCaller;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::sync::{Mutex, MutexGuard, Semaphore, mpsc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MIB: usize = 1 << 20;

#[natsmicro::service(subject_prefix = "held", timeout = "120s")]
trait Held {
    /// Waits for the gate.
    #[endpoint(max_in_flight = 1)]
    async fn wait(&self, request: Text) -> Result<Text, Status>;
    /// Waits for the gate, and reads nothing.
    async fn unread(&self, messages: Streaming<Text>) -> Result<Text, Status>;
}

struct Service {
    gate: Arc<Semaphore>,
    running: Arc<AtomicUsize>,
    dropped: mpsc::UnboundedSender<()>,
}

impl Held for Service {
    async fn wait(&self, request: Text) -> Result<Text, Status> {
        self.running.fetch_add(1, Ordering::SeqCst);
        // Fails when it is closed: that is how it opens.
        let _ = self.gate.acquire().await;
        Ok(request)
    }

    async fn unread(&self, messages: Streaming<Text>) -> Result<Text, Status> {
        let _guard = OnDrop(self.dropped.clone());
        self.running.fetch_add(1, Ordering::SeqCst);
        let _ = self.gate.acquire().await;
        drop(messages);
        Ok(text("nothing was read"))
    }
}

struct Fixture {
    nats: Nats,
    _server: RunningServer,
    gate: Arc<Semaphore>,
    running: Arc<AtomicUsize>,
    dropped: mpsc::UnboundedReceiver<()>,
    pace: Pace,
    peer: RawPeer,
    _alone: MutexGuard<'static, ()>,
}

impl Fixture {
    async fn start() -> Self {
        static RUNNING: Mutex<()> = Mutex::const_new(());
        let alone = RUNNING.lock().await;
        let nats = Nats::start().await;
        let (gate, running) = (Arc::new(Semaphore::new(0)), Arc::default());
        let (sender, dropped) = mpsc::unbounded_channel();
        let service = Service {
            gate: Arc::clone(&gate),
            running: Arc::clone(&running),
            dropped: sender,
        };
        let server = nats.server().add_service(HeldServer::new(service));
        Self {
            _server: server.start().await.unwrap(),
            gate,
            running,
            dropped,
            pace: Pace::of(&nats.service).await,
            peer: RawPeer::connect(nats.server.url()),
            nats,
            _alone: alone,
        }
    }

    /// Sends chunks over the raw connection, a few of them ahead.
    async fn send(&mut self, chunks: impl Iterator<Item = Vec<u8>> + Send + 'static) {
        let (pace, mut peer) = (self.pace.clone(), RawPeer::connect(self.nats.server.url()));
        std::mem::swap(&mut self.peer, &mut peer);
        let sent = tokio::task::spawn_blocking(move || {
            pace.write(&mut peer, chunks, 4);
            peer
        });
        self.peer = sent.await.unwrap();
    }

    async fn runs(&self, handlers: usize) {
        soon(async {
            while self.running.load(Ordering::SeqCst) < handlers {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Fails if more than this stays allocated, on top of what was before.
async fn falls_below(what: &str, before: usize, bound: usize, within: Duration) {
    let since = Instant::now();
    loop {
        let grown = allocated().saturating_sub(before);
        if grown < bound {
            println!("{what}: {} KiB", grown / 1024);
            return;
        }
        assert!(
            since.elapsed() < within,
            "{what}: {} MiB after {within:?}",
            grown / MIB
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A request holds what it is, and not the buffer that it was read into together with a large message for somebody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_requests_that_wait_between_large_messages() {
    const REQUESTS: usize = 2_000;
    let mut fixture = Fixture::start().await;
    let mut large = fixture.nats.service.subscribe("large").await.unwrap();
    synced(&fixture.nats.service).await;
    tokio::spawn(async move { while large.next().await.is_some() {} });
    let inbox = fixture.nats.caller.new_inbox();
    let mut answers = fixture.nats.caller.subscribe(inbox.clone()).await.unwrap();
    synced(&fixture.nats.caller).await;
    let before = allocated();

    let request = text("a request of thirty bytes..").bytes();
    let between = vec![7; 1_000_000];
    let chunks = (0..REQUESTS).map(move |_| {
        let mut chunk = message("held.wait", &inbox, &[("X-Header", "value")], &request);
        chunk.extend(message("large", "", &[], &between));
        chunk
    });
    fixture.send(chunks).await;
    fixture.runs(1).await;
    falls_below("waiting", before, 32 * MIB, Duration::from_secs(5)).await;

    // They were all there.
    fixture.gate.close();
    for _ in 0..REQUESTS {
        soon(answers.next()).await.unwrap();
    }
    falls_below("answered", before, 8 * MIB, Duration::from_secs(5)).await;
}

const STREAMS: usize = 30;

/// Opens the streams from one connection, and sends so much into each. Gives the callers, who alone hold that connection, and how
/// much was allocated before.
async fn send_into_streams(
    fixture: &mut Fixture,
    message_bytes: usize,
    bytes: usize,
) -> (Vec<PlainCaller>, usize) {
    let connection = fixture.nats.server.connect().await.unwrap();
    let (mut callers, mut inboxes) = (Vec::new(), Vec::new());
    for _ in 0..STREAMS {
        let caller = PlainCaller::new(&connection).await;
        inboxes.push(caller.handshake("held.unread").await);
        callers.push(caller);
    }
    fixture.runs(STREAMS).await;
    let before = allocated();
    let payload = text("x".repeat(message_bytes)).bytes();
    // A chunk has some of each stream.
    let each = (128 * 1024 / message_bytes).max(1);
    let chunks = (0..bytes / message_bytes / each).map(move |chunk| {
        let mut messages = Vec::new();
        for inbox in &inboxes {
            for n in 0..each {
                let number = (chunk * each + n + 1).to_string();
                let headers = [("Nats-Stream-Seq", &*number)];
                messages.extend(message(inbox, "", &headers, &payload));
            }
        }
        messages
    });
    fixture.send(chunks).await;
    (callers, before)
}

async fn streams_are_bounded(message_bytes: usize, bytes: usize) {
    let mut fixture = Fixture::start().await;
    let (_callers, before) = send_into_streams(&mut fixture, message_bytes, bytes).await;
    falls_below("unread", before, 128 * MIB, Duration::from_secs(5)).await;
    // Other calls are answered.
    fixture.gate.close();
    let answer = fixture.nats.ask("held.wait", text("a").bytes()).await;
    assert_eq!(answer.payload, text("a").bytes());
    for _ in 0..STREAMS {
        soon(fixture.dropped.recv()).await.unwrap();
    }
    falls_below("dropped", before, 64 * MIB, Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads() {
    streams_are_bounded(1024, 10 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_large_messages_that_nobody_reads() {
    streams_are_bounded(32 * 1024, 60 * MIB).await;
}

/// A handler that reads nothing is dropped, with what is held for it, when its caller is silent and others have no room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_nobody_reads_of_a_caller_who_has_gone() {
    let mut fixture = Fixture::start().await;
    let (callers, before) = send_into_streams(&mut fixture, 32 * 1024, 4 * MIB).await;
    // The connection, too: nobody else holds it.
    drop(callers);
    let dropped = async {
        for _ in 0..STREAMS {
            fixture.dropped.recv().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), dropped)
        .await
        .expect("the handlers of a caller who has gone are dropped");
    falls_below("dropped", before, 16 * MIB, Duration::from_secs(5)).await;
    fixture.gate.close();
    let answer = fixture.nats.ask("held.wait", Bytes::new()).await;
    assert_eq!(answer.payload, "");
}
