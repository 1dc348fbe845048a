//! Streams between two accounts, where the export lets the service reply once: they fail, and say why.

use std::time::{Duration, Instant};

use natsmicro::{Code, Status};

use natsmicro_tests::accounts::nats;
use natsmicro_tests::common::soon;
use natsmicro_tests::streams::{Fixture, numbers, range};

fn names_the_export<T: std::fmt::Debug>(result: Result<T, Status>) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), &Code::FailedPrecondition, "{error}");
    let message = error.message();
    assert!(message.contains("`response_type: stream`"), "{message}");
}

#[tokio::test]
async fn a_stream_is_an_error_at_once() {
    let mut fixture = Fixture::on(nats("singleton").await).await;
    let client = &fixture.client;
    let since = Instant::now();
    names_the_export(soon(client.count(range(0, 10))).await);
    names_the_export(soon(client.count(range(0, 0)).response()).await);
    names_the_export(soon(client.sum(numbers(0..10))).await);
    names_the_export(soon(client.double(numbers(0..10))).await);
    names_the_export(soon(client.double(numbers(0..10)).response()).await);
    names_the_export(soon(client.tick(range(0, 0))).await);
    let took = since.elapsed();
    // Before the first of them would be told by missing heartbeats.
    assert!(took < Duration::from_secs(4), "{took:?}");
    soon(fixture.opened.recv()).await;
    soon(fixture.dropped.recv()).await;
}

/// Calls without streams need nothing more than one reply.
#[tokio::test]
async fn a_call_without_streams_passes() {
    let fixture = Fixture::on(nats("singleton").await).await;
    for n in 0..10 {
        let pong = soon(fixture.client.ping(range(n, 0))).await.unwrap();
        assert_eq!(pong, range(n, 0));
    }
}
