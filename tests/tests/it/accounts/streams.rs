//! Streams between two accounts, where the export lets the service reply more than once.

use std::time::Duration;

use futures::StreamExt;
use natsmicro::{Code, Streaming};

use natsmicro_tests::accounts::{accounts, connect, nats, on};
use natsmicro_tests::common::soon;
use natsmicro_tests::streams::{Fixture, Number, StreamsClient, all, numbers, range};

#[tokio::test]
async fn streams_of_all_kinds_pass() {
    for response_type in ["stream", "chunked"] {
        let fixture = Fixture::on(nats(response_type).await).await;
        let client = &fixture.client;

        let counted = soon(client.count(range(0, 2_000))).await.unwrap();
        assert_eq!(all(counted).await, (0..2_000).collect::<Vec<_>>());
        let sum = soon(client.sum(numbers(0..2_000))).await.unwrap();
        assert_eq!(sum.n, 1_999_000);
        let doubled = soon(client.double(numbers(0..2_000))).await.unwrap();
        let expected: Vec<_> = (0..2_000).map(|n| 2 * n).collect();
        assert_eq!(all(doubled).await, expected);
    }
}

#[tokio::test]
async fn an_empty_stream_passes() {
    let fixture = Fixture::on(nats("stream").await).await;
    let counted = soon(fixture.client.count(range(3, 3))).await.unwrap();
    assert_eq!(all(counted).await, Vec::<u64>::new());
    let sum = soon(fixture.client.sum(numbers(0..0))).await.unwrap();
    assert_eq!(sum.n, 0);
}

#[tokio::test]
async fn headers_and_errors_pass() {
    let fixture = Fixture::on(nats("stream").await).await;
    let client = &fixture.client;
    let counted = client.count(range(0, 1)).with_header("X-Req", "x");
    let counted = soon(counted.response()).await.unwrap();
    assert_eq!(counted.headers().get("X-Resp").unwrap().as_str(), "x");

    let error = soon(client.count(range(1, 0))).await.unwrap_err();
    assert_eq!(
        (error.code(), &error.details()[..]),
        (&Code::NotFound, &b"down"[..])
    );

    let mut failing = soon(client.fail(range(0, 2))).await.unwrap();
    assert_eq!(soon(failing.message()).await.unwrap(), Some(0.into()));
    assert_eq!(soon(failing.message()).await.unwrap(), Some(1.into()));
    let error = soon(failing.message()).await.unwrap_err();
    assert_eq!(error.code().as_str(), "OUT_OF_NUMBERS");
    assert_eq!(&error.details()[..], b"details");
}

/// Both ends wait for the other while its window is full.
#[tokio::test]
async fn a_slow_reader_holds_up_the_sender() {
    let fixture = Fixture::on(nats("stream").await).await;
    let (sent, mut taken) = tokio::sync::watch::channel(0);
    let requests = futures::stream::iter(0..1_000_u64).map(move |n| {
        sent.send_replace(n);
        Ok(Number::from(n))
    });
    let narrow = fixture.client.narrow(Streaming::new(requests));
    // The handler does not read yet, so that no response comes.
    let narrow = tokio::spawn(narrow.into_future());
    soon(taken.wait_for(|taken| *taken >= 15)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // The window, and a batch that is put together for when there is room.
    let ahead = *taken.borrow();
    assert!(ahead < 64, "{ahead} of 16");
    fixture.go.notify_one();
    let responses = soon(narrow).await.unwrap().unwrap();
    assert_eq!(all(responses).await, (0..1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_stream_of_a_caller_who_stops_reading_is_dropped() {
    let mut fixture = Fixture::on(nats("stream").await).await;
    let mut ticks = soon(fixture.client.tick(range(0, 0))).await.unwrap();
    soon(ticks.message()).await.unwrap();
    drop(ticks);
    soon(fixture.dropped.recv()).await;
}

/// The NATS server does not tell that nobody listens in the other account: heartbeats do.
#[tokio::test]
async fn the_stream_of_a_caller_who_is_gone_is_dropped() {
    let mut fixture = Fixture::on(nats("stream").await).await;
    let caller = connect(&fixture.nats.server, "caller").await;
    let client = StreamsClient::new(caller.clone());
    let mut ticks = soon(client.tick(range(0, 0))).await.unwrap();
    soon(ticks.message()).await.unwrap();
    caller.drain().await.unwrap();
    soon(fixture.dropped.recv()).await;
}

#[tokio::test]
async fn a_caller_learns_that_the_service_is_gone() {
    let fixture = Fixture::on(nats("stream").await).await;
    let mut feed = soon(fixture.client.feed(range(1, 0))).await.unwrap();
    soon(feed.message()).await.unwrap();
    fixture.nats.service.drain().await.unwrap();
    let error = soon(feed.message()).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable, "{error}");
}

/// Longer than NATS keeps the way of a reply on which nothing is sent.
#[tokio::test]
async fn a_silent_stream_stays_open() {
    let config = accounts("stream").replace(
        "\"s.>\", response_type: stream",
        "\"s.>\", response_type: stream, threshold: \"4s\"",
    );
    let config = natsmicro::testing::NatsServer::builder().config(config);
    let mut fixture = Fixture::on(on(config).await).await;
    let mut feed = soon(fixture.client.feed(range(1, 0))).await.unwrap();
    soon(feed.message()).await.unwrap();
    let silent = tokio::time::timeout(Duration::from_secs(9), feed.message()).await;
    assert!(silent.is_err(), "{silent:?}");
    drop(feed);
    soon(fixture.opened.recv()).await;
    soon(fixture.dropped.recv()).await;
}
