//! Calls that stream: they are retried until they are open, and never after that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use natsmicro::middleware::{Next, Request, from_fn};
use natsmicro::{Client, Retry, Status, Streaming};
use natsmicro_tests::common::{Nats, TestResult, code_of, soon};
use natsmicro_tests::persistence::eventually;
use natsmicro_tests::streams::{Number, Range, all, numbers, range};

use super::quick;

#[natsmicro::service(subject_prefix = "rs")]
trait Flows {
    async fn count(&self, range: Range) -> Result<Streaming<Number>, Status>;
    async fn sum(&self, numbers: Streaming<Number>) -> Result<Number, Status>;
    async fn double(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>, Status>;

    #[endpoint(idempotent)]
    async fn count_again(&self, range: Range) -> Result<Streaming<Number>, Status> {
        self.count(range).await
    }

    #[endpoint(idempotent)]
    async fn sum_again(&self, numbers: Streaming<Number>) -> Result<Number, Status> {
        self.sum(numbers).await
    }

    #[endpoint(idempotent)]
    async fn double_again(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>, Status> {
        self.double(numbers).await
    }
}

/// Where the first calls of a service fail.
#[derive(Clone, Copy, Default, PartialEq)]
enum Fails {
    #[default]
    Nowhere,
    /// Before anything is read or sent.
    AtOnce,
    /// After the first message.
    Later,
}

#[derive(Clone, Default)]
struct Service {
    runs: Arc<AtomicUsize>,
    /// The first call alone.
    fails: Fails,
}

impl Service {
    fn failing(fails: Fails) -> Self {
        Self {
            fails,
            ..Self::default()
        }
    }

    /// Counts a call; how it fails.
    fn run(&self) -> Fails {
        match self.runs.fetch_add(1, Ordering::SeqCst) {
            0 => self.fails,
            _ => Fails::Nowhere,
        }
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

fn unavailable<T>() -> Result<T, Status> {
    Err(Status::unavailable("as asked"))
}

impl Flows for Service {
    async fn count(&self, range: Range) -> Result<Streaming<Number>, Status> {
        let numbers = futures::stream::iter((range.from..range.to).map(|n| Ok(n.into())));
        match self.run() {
            Fails::Nowhere => Ok(Streaming::new(numbers)),
            Fails::AtOnce => unavailable(),
            Fails::Later => {
                let end = futures::stream::iter([unavailable()]);
                Ok(Streaming::new(numbers.take(1).chain(end)))
            }
        }
    }

    async fn sum(&self, mut numbers: Streaming<Number>) -> Result<Number, Status> {
        let fails = self.run();
        if fails == Fails::AtOnce {
            return unavailable();
        }
        let mut sum = 0;
        while let Some(number) = numbers.message().await? {
            if fails == Fails::Later {
                return unavailable();
            }
            sum += number.n;
        }
        Ok(sum.into())
    }

    async fn double(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>, Status> {
        if self.run() != Fails::Nowhere {
            return unavailable();
        }
        Ok(Streaming::new(
            numbers.map(|number| Ok((number?.n * 2).into())),
        ))
    }
}

async fn start(nats: &Nats, service: &Service) -> natsmicro::RunningServer {
    let server = nats.server().add_service(FlowsServer::new(service.clone()));
    server.start().await.unwrap()
}

fn retrying(nats: &Nats, retry: Retry) -> (FlowsClient, Client) {
    let client = Client::new(nats.caller.clone()).with_retry(retry);
    (FlowsClient::new(client.clone()), client)
}

#[tokio::test]
async fn a_stream_that_nobody_accepts_is_opened_when_somebody_does() -> TestResult {
    for idempotent in [false, true] {
        let nats = Nats::start().await;
        let (client, counted) = retrying(&nats, quick(u32::MAX));
        let (count, sum, double) = if idempotent {
            (
                client.count_again(range(0, 4)),
                client.sum_again(numbers(0..100)),
                client.double_again(numbers(0..4)),
            )
        } else {
            (
                client.count(range(0, 4)),
                client.sum(numbers(0..100)),
                client.double(numbers(0..4)),
            )
        };
        let count = tokio::spawn(count.into_future());
        let sum = tokio::spawn(sum.into_future());
        let double = tokio::spawn(double.response());
        eventually("all three are retried", || async {
            (counted.retry_stats().retries >= 6).then_some(())
        })
        .await;
        let service = Service::default();
        let _server = start(&nats, &service).await;
        assert_eq!(soon(all(soon(count).await??)).await, [0, 1, 2, 3]);
        assert_eq!(soon(sum).await??.n, 4950);
        let doubled = soon(double).await??.into_inner();
        assert_eq!(soon(all(doubled)).await, [0, 2, 4, 6]);
        assert_eq!(service.runs(), 3);
        assert_eq!(counted.retry_stats().recovered, 3);
    }
    Ok(())
}

#[tokio::test]
async fn a_stream_behind_layers_is_opened_when_somebody_accepts_it() -> TestResult {
    let nats = Nats::start().await;
    let counted = Client::new(nats.caller.clone()).with_retry(quick(u32::MAX));
    let seen = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&seen);
    let layer = from_fn(move |request: Request, next: Next| {
        counting.fetch_add(1, Ordering::SeqCst);
        async move { next.run(request).await }
    });
    let client = FlowsClient::new(counted.clone().layer(layer));
    let sum = tokio::spawn(client.sum(numbers(0..100)).into_future());
    eventually("the call is retried", || async {
        (counted.retry_stats().retries >= 2).then_some(())
    })
    .await;
    let service = Service::default();
    let _server = start(&nats, &service).await;
    assert_eq!(soon(sum).await??.n, 4950);
    assert_eq!((service.runs(), seen.load(Ordering::SeqCst)), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_handler_that_opens_no_stream_is_asked_again_by_idempotent_calls_alone() -> TestResult {
    let nats = Nats::start().await;
    let service = Service::failing(Fails::AtOnce);
    let _server = start(&nats, &service).await;
    let (client, counted) = retrying(&nats, quick(5));
    let stream = soon(client.count_again(range(0, 3))).await?;
    assert_eq!(soon(all(stream)).await, [0, 1, 2]);
    assert_eq!((service.runs(), counted.retry_stats().retries), (2, 1));

    let nats = Nats::start().await;
    let service = Service::failing(Fails::AtOnce);
    let _server = start(&nats, &service).await;
    let (client, counted) = retrying(&nats, quick(5));
    let refused = soon(client.count(range(0, 3))).await;
    assert_eq!(code_of(refused.map(|_| ())), "UNAVAILABLE");
    assert_eq!((service.runs(), counted.retry_stats().retries), (1, 0));
    Ok(())
}

#[tokio::test]
async fn requests_that_the_service_has_accepted_are_not_sent_again() -> TestResult {
    for fails in [Fails::AtOnce, Fails::Later] {
        for idempotent in [false, true] {
            let nats = Nats::start().await;
            let service = Service::failing(fails);
            let _server = start(&nats, &service).await;
            let (client, counted) = retrying(&nats, quick(5));
            let sum = if idempotent {
                client.sum_again(numbers(0..10))
            } else {
                client.sum(numbers(0..10))
            };
            assert_eq!(code_of(soon(sum).await), "UNAVAILABLE");
            assert_eq!((service.runs(), counted.retry_stats().retries), (1, 0));

            let service = Service::failing(fails);
            let server = nats.server();
            let server =
                server.add_service(FlowsServer::new(service.clone()).with_subject_prefix("both"));
            let _server = server.start().await?;
            let client = client.with_subject_prefix("both");
            let double = if idempotent {
                client.double_again(numbers(0..10))
            } else {
                client.double(numbers(0..10))
            };
            let opened = soon(double.response()).await;
            assert_eq!(code_of(opened.map(|_| ())), "UNAVAILABLE");
            assert_eq!((service.runs(), counted.retry_stats().retries), (1, 0));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_stream_that_is_open_is_not_opened_again() -> TestResult {
    let nats = Nats::start().await;
    let service = Service::failing(Fails::Later);
    let _server = start(&nats, &service).await;
    let (client, counted) = retrying(&nats, quick(5));
    let mut stream = soon(client.count_again(range(0, 3))).await?;
    assert_eq!(
        soon(stream.message()).await?.map(|number| number.n),
        Some(0)
    );
    assert_eq!(code_of(soon(stream.message()).await), "UNAVAILABLE");
    assert_eq!((service.runs(), counted.retry_stats().retries), (1, 0));
    Ok(())
}

#[tokio::test]
async fn a_call_that_is_dropped_opens_nothing() -> TestResult {
    const HOUR: Duration = Duration::from_secs(3_600);
    let nats = Nats::start().await;
    let retry = quick(5).first_pause(HOUR).max_pause(HOUR);
    let (client, counted) = retrying(&nats, retry);
    let call = client.sum(numbers(0..10)).with_timeout(2 * HOUR);
    let called = tokio::spawn(call.into_future());
    eventually("the call is to be retried", || async {
        (counted.retry_stats().retries > 0).then_some(())
    })
    .await;
    called.abort();
    assert!(soon(called).await.unwrap_err().is_cancelled());
    let service = Service::default();
    let _server = start(&nats, &service).await;
    assert_eq!(soon(client.sum(numbers(0..10))).await?.n, 45);
    assert_eq!(service.runs(), 1);
    Ok(())
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a destructor of the user");
    }
}

#[tokio::test]
async fn a_destructor_that_panics_does_not_change_the_result() -> TestResult {
    let nats = Nats::start().await;
    for retries in [0, 2] {
        let (client, counted) = retrying(&nats, quick(retries));
        let bomb = Bomb;
        let requests = futures::stream::pending().map(move |item: Result<Number, Status>| {
            let _ = &bomb;
            item
        });
        let sum = soon(client.sum(Streaming::new(requests))).await;
        assert_eq!(code_of(sum), "UNAVAILABLE");
        assert_eq!(counted.retry_stats().retries, u64::from(retries));
    }
    Ok(())
}
