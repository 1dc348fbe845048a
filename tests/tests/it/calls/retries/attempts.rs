//! Which failures are followed by another attempt.

use std::sync::atomic::{AtomicUsize, Ordering};

use natsmicro::middleware::{Next, Reply, Request, from_fn};
use natsmicro::{Client, Code, Status};
use natsmicro_tests::claims::{self, ReportsClient};
use natsmicro_tests::common::{Nats, TestResult, code_of, soon};
use natsmicro_tests::persistence::{self, eventually};

use super::{Peer, WorkClient, Worker, call, quick, retrying, start, subject};

#[tokio::test]
async fn a_call_that_nobody_receives_is_sent_until_somebody_does() -> TestResult {
    for idempotent in [false, true] {
        let nats = Nats::start().await;
        let (client, counted) = retrying(&nats, quick(u32::MAX));
        let called = tokio::spawn(call(&client, idempotent, "it").into_future());
        eventually("the call is retried", || async {
            (counted.retry_stats().retries >= 3).then_some(())
        })
        .await;
        let worker = Worker::default();
        let _server = start(&nats, &worker).await;
        assert_eq!(soon(called).await??.text, "answer to it");
        assert_eq!(worker.runs(), 1);
        let stats = counted.retry_stats();
        assert_eq!((stats.recovered, stats.exhausted), (1, 0), "{stats:?}");
    }
    Ok(())
}

#[tokio::test]
async fn without_retries_a_call_is_sent_once() -> TestResult {
    let nats = Nats::start().await;
    let plain = Client::new(nats.caller.clone());
    let (disabled, counted) = retrying(&nats, quick(0));
    for client in [WorkClient::new(plain.clone()), disabled] {
        for idempotent in [false, true] {
            let nobody = soon(call(&client, idempotent, "it")).await;
            assert_eq!(code_of(nobody), "UNAVAILABLE");
            let mut peer = Peer::listen(&nats, subject(idempotent)).await;
            let called = tokio::spawn(call(&client, idempotent, "it").into_future());
            peer.fail("UNAVAILABLE").await;
            assert_eq!(code_of(soon(called).await?), "UNAVAILABLE");
            peer.check_no_more(&plain, idempotent).await;
        }
    }
    assert_eq!(plain.retry_stats(), natsmicro::RetryStats::default());
    assert_eq!(counted.retry_stats().retries, 0);
    Ok(())
}

#[tokio::test]
async fn a_service_that_is_unavailable_is_asked_again_by_idempotent_calls_alone() -> TestResult {
    let nats = Nats::start().await;
    let (client, counted) = retrying(&nats, quick(5));

    let mut peer = Peer::listen(&nats, "r.again").await;
    let called = tokio::spawn(call(&client, true, "it").into_future());
    for _ in 0..3 {
        peer.fail("UNAVAILABLE").await;
    }
    peer.succeed("done").await;
    assert_eq!(soon(called).await??.text, "done");
    peer.check_no_more(&counted, true).await;
    let stats = counted.retry_stats();
    assert_eq!((stats.retries, stats.recovered), (3, 1));

    let mut peer = Peer::listen(&nats, "r.once").await;
    let called = tokio::spawn(call(&client, false, "it").into_future());
    peer.fail("UNAVAILABLE").await;
    assert_eq!(code_of(soon(called).await?), "UNAVAILABLE");
    peer.check_no_more(&counted, false).await;
    assert_eq!(counted.retry_stats().retries, 3);
    Ok(())
}

/// A service says so of calls that it has handled in part, too.
#[tokio::test]
async fn a_service_that_stops_has_perhaps_handled_the_call() -> TestResult {
    let nats = Nats::start().await;
    let (client, counted) = retrying(&nats, quick(5));
    let stopping = [
        ("Nats-Service-Error", "the service is stopping"),
        ("Nats-Service-Error-Code", "UNAVAILABLE"),
        ("Natsmicro-Stopping", "1"),
    ];
    let mut peer = Peer::listen(&nats, "r.once").await;
    let called = tokio::spawn(call(&client, false, "it").into_future());
    let request = peer.request().await;
    peer.answer(request, &stopping, "").await;
    assert_eq!(code_of(soon(called).await?), "UNAVAILABLE");
    peer.check_no_more(&counted, false).await;
    assert_eq!(counted.retry_stats().retries, 0);
    Ok(())
}

#[tokio::test]
async fn codes_that_are_added_are_retried_for_idempotent_methods() -> TestResult {
    let nats = Nats::start().await;
    let retry = quick(5).on([Code::ResourceExhausted]).on(["ROW_LOCKED"]);
    let (client, counted) = retrying(&nats, retry);
    for (idempotent, code, is_retried) in [
        (true, "RESOURCE_EXHAUSTED", true),
        (true, "ROW_LOCKED", true),
        (true, "UNAVAILABLE", true),
        (true, "INTERNAL", false),
        (true, "INVALID_ARGUMENT", false),
        (true, "DEADLINE_EXCEEDED", false),
        (false, "RESOURCE_EXHAUSTED", false),
        (false, "ROW_LOCKED", false),
    ] {
        let mut peer = Peer::listen(&nats, subject(idempotent)).await;
        let called = tokio::spawn(call(&client, idempotent, "it").into_future());
        peer.fail(code).await;
        if is_retried {
            peer.succeed("done").await;
            assert_eq!(soon(called).await??.text, "done", "{code}");
        } else {
            assert_eq!(code_of(soon(called).await?), code);
        }
        peer.check_no_more(&counted, idempotent).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_code_that_says_that_the_request_is_wrong_is_refused() -> TestResult {
    let nats = Nats::start().await;
    for code in [
        "CANCELLED",
        "INVALID_ARGUMENT",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "FAILED_PRECONDITION",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "UNAUTHENTICATED",
    ] {
        let (client, counted) = retrying(&nats, quick(5).on([code]));
        let mut peer = Peer::listen(&nats, "r.again").await;
        let error = soon(call(&client, true, "it")).await.unwrap_err();
        assert_eq!(error.code(), &Code::InvalidArgument);
        assert!(error.message().contains(code), "{error}");
        let plain = Client::new(nats.caller.clone());
        peer.check_no_more(&plain, true).await;
        assert_eq!(counted.retry_stats().retries, 0);
    }
    Ok(())
}

/// Layers are around all attempts of a call together.
#[tokio::test]
async fn a_call_with_retries_is_one_call_to_layers() -> TestResult {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    async fn count(request: Request, next: Next) -> Result<Reply, Status> {
        SEEN.fetch_add(1, Ordering::SeqCst);
        next.run(request).await
    }
    let nats = Nats::start().await;
    let retry = quick(5).on([Code::Aborted]);
    let counted = Client::new(nats.caller.clone()).with_retry(retry);
    let client = WorkClient::new(counted.clone().layer(from_fn(count)));
    let mut peer = Peer::listen(&nats, "r.again").await;
    let called = tokio::spawn(call(&client, true, "it").into_future());
    peer.fail("UNAVAILABLE").await;
    peer.fail("ABORTED").await;
    peer.succeed("done").await;
    assert_eq!(soon(called).await??.text, "done");
    assert_eq!(SEEN.load(Ordering::SeqCst), 1);
    let stats = counted.retry_stats();
    assert_eq!((stats.retries, stats.recovered), (2, 1));

    let mut peer = Peer::listen(&nats, "r.once").await;
    let called = tokio::spawn(call(&client, false, "it").into_future());
    peer.fail("UNAVAILABLE").await;
    assert_eq!(code_of(soon(called).await?), "UNAVAILABLE");
    peer.check_no_more(&counted, false).await;
    assert_eq!(SEEN.load(Ordering::SeqCst), 2);
    assert_eq!(counted.retry_stats().retries, 2);
    Ok(())
}

#[tokio::test]
async fn a_closed_connection_is_not_tried_again() -> TestResult {
    let nats = Nats::start().await;
    let (client, counted) = retrying(&nats, quick(u32::MAX));
    nats.caller.drain().await?;
    soon(counted.closed()).await;
    assert_eq!(
        code_of(soon(call(&client, true, "it")).await),
        "UNAVAILABLE"
    );
    assert_eq!(counted.retry_stats().retries, 0);
    Ok(())
}

/// The reference to a response that is too large for a message looks like an error.
#[tokio::test]
async fn a_large_response_is_fetched_and_no_failure() -> TestResult {
    let nats = persistence::Nats::start().await;
    let client = nats
        .client()
        .with_retry(quick(u32::MAX).on([Code::ResourceExhausted]));
    let request = claims::large("a");
    let call = ReportsClient::new(client.clone()).report(request.clone());
    let called = tokio::spawn(call.into_future());
    eventually("the call is retried", || async {
        (client.retry_stats().retries > 0).then_some(())
    })
    .await;
    let _server = claims::serve(&nats).await;
    assert_eq!(soon(called).await??, claims::response(&request));
    let retries = client.retry_stats().retries;
    let reports = ReportsClient::new(client.clone());
    soon(reports.report(request)).await?;
    assert_eq!(client.retry_stats().retries, retries);
    Ok(())
}
