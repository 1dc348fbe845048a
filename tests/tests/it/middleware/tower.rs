//! The layers of tower.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use natsmicro::middleware::{Inner, Next, Reply, Request, from_fn};
use natsmicro::{Client, Code, Status};
use natsmicro_tests::common::{Nats, soon};
use tokio::sync::Semaphore;
use tower::ServiceBuilder;
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;

#[natsmicro::service(codec = "json", subject_prefix = "busy")]
trait Busy {
    /// Ends when the test lets it.
    async fn first(&self) -> Result<(), Status>;
    /// The same.
    async fn second(&self) -> Result<(), Status>;
    /// Fails that many times.
    async fn flaky(&self, failures: usize) -> Result<usize, Status>;
}

#[derive(Clone)]
struct Impl {
    running: Arc<AtomicUsize>,
    may_end: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
}

impl Impl {
    fn new() -> Self {
        Self {
            running: Arc::default(),
            may_end: Arc::new(Semaphore::new(0)),
            calls: Arc::default(),
        }
    }

    async fn run(&self) -> Result<(), Status> {
        self.running.fetch_add(1, Ordering::SeqCst);
        self.may_end.acquire().await.unwrap().forget();
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    async fn runs(&self, expected: usize) {
        let runs = async {
            while self.running() != expected {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        soon(runs).await;
    }
}

impl Busy for Impl {
    async fn first(&self) -> Result<(), Status> {
        self.run().await
    }
    async fn second(&self) -> Result<(), Status> {
        self.run().await
    }
    async fn flaky(&self, failures: usize) -> Result<usize, Status> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if call <= failures {
            return Err(Status::unavailable("not yet"));
        }
        Ok(call)
    }
}

async fn start(server: natsmicro::Server, service: &Impl) -> natsmicro::RunningServer {
    let server = server.add_service(BusyServer::new(service.clone()));
    server.start().await.unwrap()
}

#[tokio::test]
async fn two_endpoints_share_a_concurrency_limit() {
    let nats = Nats::start().await;
    let service = Impl::new();
    let server = nats.server().layer(ConcurrencyLimitLayer::new(2));
    let _server = start(server, &service).await;
    let client = BusyClient::new(nats.caller.clone());
    let mut calls = Vec::new();
    for _ in 0..2 {
        calls.push(tokio::spawn(client.first().into_future()));
        calls.push(tokio::spawn(client.second().into_future()));
    }
    service.runs(2).await;
    // Others wait, within their deadlines.
    let third = client.first().with_timeout(Duration::from_millis(100));
    let late = soon(third).await.unwrap_err();
    assert_eq!(late.code(), &Code::DeadlineExceeded);
    assert_eq!(service.running(), 2);
    service.may_end.add_permits(4);
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_time_out_and_shed_load_have_their_codes() {
    let nats = Nats::start().await;
    let service = Impl::new();
    let server = nats.server().layer(LoadShedLayer::new());
    let server = server.layer(ConcurrencyLimitLayer::new(1));
    let server = server.layer(TimeoutLayer::new(Duration::from_millis(300)));
    let _server = start(server, &service).await;
    let client = BusyClient::new(nats.caller.clone());
    let first = tokio::spawn(client.first().into_future());
    service.runs(1).await;
    let shed = soon(client.second()).await.unwrap_err();
    assert_eq!(shed.code(), &Code::ResourceExhausted);
    let elapsed = soon(first).await.unwrap().unwrap_err();
    assert_eq!(elapsed.code(), &Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_rate_limit_with_a_buffer() {
    let nats = Nats::start().await;
    let service = Impl::new();
    service.may_end.add_permits(100);
    let limited = ServiceBuilder::new()
        .buffer(64)
        .rate_limit(3, Duration::from_secs(60));
    let _server = start(nats.server().layer(limited), &service).await;
    let client = BusyClient::new(nats.caller.clone());
    for _ in 0..3 {
        soon(client.first()).await.unwrap();
    }
    let fourth = client.second().with_timeout(Duration::from_millis(200));
    let fourth = soon(fourth).await.unwrap_err();
    assert_eq!(fourth.code(), &Code::DeadlineExceeded);
}

#[derive(Clone)]
struct Again(usize);

impl Policy<Request, Reply, Status> for Again {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request,
        result: &mut Result<Reply, Status>,
    ) -> Option<Self::Future> {
        let failed = result.as_ref().err();
        let again = failed.is_some_and(|status| status.code() == &Code::Unavailable);
        if !again || self.0 == 0 {
            return None;
        }
        self.0 -= 1;
        Some(std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        request.try_clone()
    }
}

#[tokio::test]
async fn retries_on_both_sides_see_the_status() {
    for on_server in [true, false] {
        let nats = Nats::start().await;
        let service = Impl::new();
        let retry = || RetryLayer::new(Again(2));
        let (mut server, mut client) = (nats.server(), Client::new(nats.caller.clone()));
        if on_server {
            server = server.layer(retry());
        } else {
            client = client.layer(retry());
        }
        let _server = start(server, &service).await;
        let client = BusyClient::new(client);
        assert_eq!(soon(client.flaky(2)).await.unwrap(), 3);
        // No request is sent a fourth time.
        let failed = soon(client.flaky(9)).await.unwrap_err();
        assert_eq!(failed, Status::unavailable("not yet"));
        assert_eq!(service.calls.load(Ordering::SeqCst), 6);
    }
}

/// An error that is no status.
#[derive(Clone)]
struct Failing;

impl natsmicro::middleware::Service<Request> for Failing {
    type Response = Reply;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Reply, std::io::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        std::future::ready(Err(std::io::Error::other("password=1234")))
    }
}

#[tokio::test]
async fn a_layer_further_out_sees_a_status_and_the_caller_no_secret() {
    let nats = Nats::start().await;
    let seen = Arc::new(std::sync::Mutex::new(None));
    let record = Arc::clone(&seen);
    let outer = from_fn(move |request: Request, next: Next| {
        let record = Arc::clone(&record);
        async move {
            let reply = next.run(request).await;
            *record.lock().unwrap() = reply.as_ref().err().cloned();
            reply
        }
    });
    let failing = tower::layer::layer_fn(|_: Inner| Failing);
    let server = nats.server().layer(outer).layer(failing);
    let _server = start(server, &Impl::new()).await;
    let client = BusyClient::new(nats.caller.clone());
    let failed = soon(client.first()).await.unwrap_err();
    assert_eq!(failed.code(), &Code::Internal);
    assert!(!failed.message().contains("1234"), "{failed}");
    assert_eq!(*seen.lock().unwrap(), Some(failed));
}
