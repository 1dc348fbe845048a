//! Calls at their limits: messages that are too large, panics, many calls at once, and handlers that block.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use natsmicro::testing::NatsServer;
use natsmicro::{Context, Status};
use natsmicro_tests::common::{Nats, PATIENCE, TestResult, Text, code_of, error_of, soon, text};
use tokio::sync::{Barrier, Semaphore};

const TOGETHER: usize = 64;
/// What one endpoint lets wait while `max_in_flight` calls run.
const WAITING: usize = 16_384;

#[natsmicro::service(subject_prefix = "limits")]
trait Limits {
    /// Answers, or fails, with a text of the size asked for.
    async fn sized(&self, cx: &Context, request: Text) -> Result<Text, Status>;
    /// Panics, at once or later.
    async fn panics(&self, request: Text) -> Result<Text, Status>;
    /// Answers when `TOGETHER` calls are there.
    async fn together(&self) -> Result<(), Status>;
    /// Answers when the gate is open.
    #[endpoint(max_in_flight = 1)]
    async fn gated(&self, request: Text) -> Result<Text, Status>;
    /// Blocks its thread until the gate is open.
    #[endpoint(max_in_flight = 1)]
    async fn blocks(&self, request: Text) -> Result<Text, Status>;
}

struct Service {
    barrier: Barrier,
    gate: Semaphore,
    running: AtomicUsize,
    order: Mutex<Vec<String>>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            barrier: Barrier::new(TOGETHER),
            gate: Semaphore::new(0),
            running: AtomicUsize::new(0),
            order: Mutex::default(),
        }
    }
}

impl Service {
    fn open(&self) {
        self.gate.close();
    }
}

impl Limits for Service {
    async fn sized(&self, cx: &Context, request: Text) -> Result<Text, Status> {
        let (what, size) = request.text.split_once(' ').unwrap();
        let large = what
            .chars()
            .next_back()
            .unwrap()
            .to_string()
            .repeat(size.parse().unwrap());
        match what {
            "details-x" => Err(Status::not_found("gone").with_details(large)),
            "message-x" | "message-𝄞" => Err(Status::not_found(large)),
            "code-X" => Err(Status::new(large, "an odd code")),
            "header-x" => {
                cx.insert_response_header("X-Large", &large)?;
                Ok(text("small"))
            }
            "header-and-error-x" => {
                cx.insert_response_header("X-Large", &large)?;
                Err(Status::not_found("gone"))
            }
            _ => Ok(text(large)),
        }
    }

    async fn panics(&self, request: Text) -> Result<Text, Status> {
        match request.text.as_str() {
            "" => return Ok(text("fine")),
            "now" => panic!("secret of the handler"),
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
        std::panic::panic_any(7);
    }

    async fn together(&self) -> Result<(), Status> {
        self.barrier.wait().await;
        Ok(())
    }

    async fn gated(&self, request: Text) -> Result<Text, Status> {
        assert_eq!(self.running.fetch_add(1, Ordering::SeqCst), 0);
        self.order.lock().unwrap().push(request.text.clone());
        // Fails when it is closed: that is how it opens.
        let _ = self.gate.acquire().await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(request)
    }

    async fn blocks(&self, request: Text) -> Result<Text, Status> {
        let begin = std::time::Instant::now();
        while !self.gate.is_closed() && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(request)
    }
}

async fn serve(nats: &Nats) -> (natsmicro::RunningServer, Arc<Service>, LimitsClient) {
    let service = Arc::new(Service::default());
    let server = nats
        .server()
        .add_service(LimitsServer::from_arc(Arc::clone(&service)));
    let client = LimitsClient::new(nats.caller.clone());
    (server.start().await.unwrap(), service, client)
}

async fn small_messages(max_payload: usize) -> Nats {
    Nats::with(NatsServer::builder().max_payload(max_payload)).await
}

#[tokio::test]
async fn a_request_that_is_too_large_is_not_sent() -> TestResult {
    let nats = small_messages(2048).await;
    let (_server, _, client) = serve(&nats).await;
    let large = text("x".repeat(4096));
    assert_eq!(code_of(client.panics(large).await), "RESOURCE_EXHAUSTED");
    let call = client.panics(text("")).with_header("X", "x".repeat(4096));
    assert_eq!(code_of(call.await), "RESOURCE_EXHAUSTED");
    assert_eq!(client.panics(text("")).await?, text("fine"));
    Ok(())
}

#[tokio::test]
async fn a_reply_that_is_too_large_is_an_error() -> TestResult {
    let nats = small_messages(2048).await;
    let (_server, _, client) = serve(&nats).await;
    for what in ["ok-x", "header-x"] {
        let call = soon(client.sized(text(format!("{what} 4096"))).into_future());
        let status = call.await.unwrap_err();
        assert_eq!(status.code().as_str(), "RESOURCE_EXHAUSTED", "{what}");
        assert!(status.message().contains("2048 bytes"), "{status}");
    }
    assert_eq!(client.sized(text("ok-x 1000")).await?.text.len(), 1000);
    Ok(())
}

#[tokio::test]
async fn an_error_reply_arrives_however_large_it_is() -> TestResult {
    for max_payload in [2048, 256] {
        let nats = small_messages(max_payload).await;
        let (_server, _, client) = serve(&nats).await;
        for (what, code) in [
            ("details-x", "NOT_FOUND"),
            ("message-x", "NOT_FOUND"),
            ("message-𝄞", "NOT_FOUND"),
            ("header-and-error-x", "NOT_FOUND"),
            ("code-X", "RESOURCE_EXHAUSTED"),
        ] {
            let call = soon(client.sized(text(format!("{what} 4096"))).into_future());
            let status = call.await.unwrap_err();
            assert_eq!(status.code().as_str(), code, "{what} at {max_payload}");
            assert!(!status.message().is_empty());
            assert!(status.details().is_empty());
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_nothing_more() -> TestResult {
    let nats = Nats::start().await;
    let (server, _, client) = serve(&nats).await;
    for when in ["now", "later", "now", "later"] {
        let reply = nats.ask("limits.panics", text(when).bytes()).await;
        let error = ("INTERNAL", "the service failed to handle the request");
        assert_eq!(error_of(&reply), Some(error));
        assert_eq!(reply.headers.unwrap().len(), 2);
        assert!(reply.payload.is_empty());
        assert_eq!(client.panics(text("")).await?, text("fine"));
    }
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn calls_that_wait_wait_together() -> TestResult {
    let nats = Nats::start().await;
    let (_server, _, client) = serve(&nats).await;
    let calls = (0..TOGETHER).map(|_| client.together().into_future());
    for result in soon(join_all(calls)).await {
        result?;
    }
    Ok(())
}

/// Sends requests to `subject`, numbered from 0, without waiting for their answers.
async fn send(nats: &Nats, subject: &'static str, n: usize) -> Subscriber {
    let inbox = nats.caller.new_inbox();
    let answers = nats.caller.subscribe(format!("{inbox}.*")).await.unwrap();
    for i in 0..n {
        let (reply, payload) = (format!("{inbox}.{i}"), text(i.to_string()).bytes());
        nats.caller
            .publish_with_reply(subject, reply, payload)
            .await
            .unwrap();
    }
    nats.caller.flush().await.unwrap();
    answers
}

#[tokio::test]
async fn one_in_flight_is_in_order() -> TestResult {
    let nats = Nats::start().await;
    let (_server, service, _) = serve(&nats).await;
    let mut answers = send(&nats, "limits.gated", 300).await;
    let expected: Vec<String> = (0..300).map(|i| i.to_string()).collect();
    // One by one, and then those that complete at once.
    service.gate.add_permits(100);
    for (i, expected) in expected.iter().enumerate() {
        if i == 50 {
            service.open();
        }
        let answer = soon(answers.next()).await.unwrap();
        assert_eq!(answer.payload, text(expected.as_str()).bytes());
    }
    assert_eq!(*service.order.lock().unwrap(), expected);
    Ok(())
}

/// Callers wait for 10 seconds by default: after that a handler would run for nobody, unless the caller has said that it waits.
#[tokio::test]
async fn who_has_waited_for_too_long_is_not_served() -> TestResult {
    let nats = Nats::start().await;
    let (_server, service, _) = serve(&nats).await;
    let patient = natsmicro::Client::new(nats.caller.clone()).with_timeout(6 * PATIENCE);
    let patient = LimitsClient::new(patient);
    let first = tokio::spawn(patient.gated(text("first")).into_future());
    while service.running.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let mut answers = send(&nats, "limits.gated", 3).await;
    let last = tokio::spawn(patient.gated(text("last")).into_future());
    // The time that is tested.
    tokio::time::sleep(PATIENCE + Duration::from_secs(1)).await;
    service.open();
    for call in [first, last] {
        soon(call).await??;
    }
    for _ in 0..3 {
        let answer = soon(answers.next()).await.unwrap();
        let (code, _) = error_of(&answer).ok_or("a success")?;
        assert_eq!(code, "DEADLINE_EXCEEDED");
    }
    assert_eq!(*service.order.lock().unwrap(), ["first", "last"]);
    Ok(())
}

/// The inboxes that got an answer, and how many of the answers were refusals.
async fn count(answers: &mut Subscriber, n: usize, seen: &mut HashSet<String>) -> usize {
    let mut refused = 0;
    for _ in 0..n {
        let answer = soon(answers.next()).await.unwrap();
        assert!(
            seen.insert(answer.subject.to_string()),
            "{} twice",
            answer.subject
        );
        if let Some((code, _)) = error_of(&answer) {
            assert_eq!(code, "RESOURCE_EXHAUSTED");
            refused += 1;
        }
    }
    refused
}

#[tokio::test]
async fn too_many_calls_are_refused_and_none_is_forgotten() -> TestResult {
    const CALLS: usize = 20_000;
    let nats = Nats::start().await;
    let (server, service, _) = serve(&nats).await;
    let mut answers = send(&nats, "limits.gated", CALLS).await;

    // One runs, `WAITING` wait, and the rest hears of it while they do.
    let over = CALLS - WAITING - 1;
    let mut seen = HashSet::new();
    assert_eq!(count(&mut answers, over, &mut seen).await, over);
    service.open();
    assert_eq!(count(&mut answers, CALLS - over, &mut seen).await, 0);
    let stats = &server.stats()[0].endpoints[3];
    assert_eq!(stats.num_requests, CALLS as u64);
    assert_eq!(stats.num_errors, over as u64);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn too_many_calls_of_a_handler_that_blocks_are_answered_too() -> TestResult {
    const CALLS: usize = 20_000;
    let nats = Nats::start().await;
    let (_server, service, _) = serve(&nats).await;
    let mut answers = send(&nats, "limits.blocks", CALLS).await;
    service.open();
    let mut seen = HashSet::new();
    let refused = count(&mut answers, CALLS, &mut seen).await;
    assert!(refused < CALLS - WAITING, "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_does_not_stop_the_other_endpoints() -> TestResult {
    let nats = Nats::start().await;
    let (_server, service, client) = serve(&nats).await;
    let payload = text("blocks").bytes();
    nats.caller
        .publish_with_reply("limits.blocks", "nobody", payload)
        .await?;
    let alive = async {
        for _ in 0..100 {
            assert_eq!(client.panics(text("")).await.unwrap(), text("fine"));
        }
    };
    let unblocked = tokio::time::timeout(PATIENCE / 2, alive).await;
    service.open();
    unblocked?;
    nats.ask("limits.blocks", Bytes::new()).await;
    Ok(())
}
