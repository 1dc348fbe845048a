//! How often a call is sent, and until when.

use std::time::Duration;

use natsmicro::Context;
use natsmicro_tests::common::{Nats, TestResult, code_of, soon, text};

use super::{Peer, Work, call, quick, retrying};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_call_has_as_many_retries_as_it_may() -> TestResult {
    let nats = Nats::start().await;
    let (client, counted) = retrying(&nats, quick(2));
    let mut peer = Peer::listen(&nats, "r.again").await;
    let called = tokio::spawn(call(&client, true, "it").into_future());
    for _ in 0..3 {
        peer.fail("UNAVAILABLE").await;
    }
    let error = soon(called).await?.unwrap_err();
    assert_eq!(error.to_string(), "UNAVAILABLE: as asked");
    peer.check_no_more(&counted, true).await;
    let stats = counted.retry_stats();
    assert_eq!((stats.retries, stats.exhausted, stats.recovered), (2, 1, 0));
    Ok(())
}

#[tokio::test]
async fn the_budget_bounds_the_retries_of_all_calls() -> TestResult {
    let nats = Nats::start().await;
    // 20 of 100 calls, and none besides.
    let (client, counted) = retrying(&nats, quick(10).budget(20, 0));
    for n in 0..10 {
        assert_eq!(
            code_of(soon(call(&client, n % 2 == 0, "it")).await),
            "UNAVAILABLE"
        );
    }
    let stats = counted.retry_stats();
    assert_eq!((stats.retries, stats.over_budget), (2, 10), "{stats:?}");
    // A clone has the same budget, and another client its own.
    let other = retrying(&nats, quick(1).budget(0, 1)).1;
    let clone = super::WorkClient::new(counted.clone());
    assert_eq!(code_of(soon(clone.once(text("it"))).await), "UNAVAILABLE");
    assert_eq!(counted.retry_stats().over_budget, 11);
    let client = super::WorkClient::new(other.clone());
    assert_eq!(code_of(soon(client.once(text("it"))).await), "UNAVAILABLE");
    assert_eq!(other.retry_stats().retries, 1);
    Ok(())
}

#[tokio::test]
async fn a_pause_that_would_end_after_the_deadline_is_not_begun() -> TestResult {
    let nats = Nats::start().await;
    let retry = quick(5).first_pause(HOUR).max_pause(HOUR).jitter(0);
    let (client, counted) = retrying(&nats, retry);
    for timeout in [HOUR, Duration::from_secs(100)] {
        let call = client.once(text("it")).with_timeout(timeout);
        assert_eq!(code_of(soon(call).await), "UNAVAILABLE");
    }
    // The deadline of the context, too.
    let cx = Context::new().with_timeout(Duration::from_secs(50));
    assert_eq!(
        code_of(soon(Work::once(&client, &cx, text("it"))).await),
        "UNAVAILABLE"
    );
    let stats = counted.retry_stats();
    assert_eq!((stats.retries, stats.exhausted), (0, 3), "{stats:?}");
    Ok(())
}

#[tokio::test]
async fn each_attempt_sends_the_time_that_is_left() -> TestResult {
    let nats = Nats::start().await;
    let pause = Duration::from_millis(20);
    let retry = quick(5).first_pause(pause).max_pause(pause).jitter(0);
    let (client, _) = retrying(&nats, retry);
    let mut peer = Peer::listen(&nats, "r.again").await;
    let timeout = Duration::from_secs(30);
    let call = client.again(text("it")).with_timeout(timeout);
    let called = tokio::spawn(call.into_future());
    let mut announced = Vec::new();
    for last in [false, false, true] {
        let request = peer.request().await;
        let headers = request.headers.as_ref().unwrap();
        let millis: u64 = headers
            .get("Natsmicro-Timeout-Ms")
            .unwrap()
            .as_str()
            .parse()?;
        announced.push(Duration::from_millis(millis));
        if last {
            peer.answer(request, &[], "done").await;
        } else {
            let unavailable = [("Nats-Service-Error-Code", "UNAVAILABLE")];
            peer.answer(request, &unavailable, "").await;
        }
    }
    assert_eq!(soon(called).await??.text, "done");
    assert!(announced[0] <= timeout, "{announced:?}");
    // Each is at least a pause less than the one before; it is rounded up to a millisecond.
    assert!(
        announced.is_sorted_by(|a, b| *a + Duration::from_millis(1) >= *b + pause),
        "{announced:?}"
    );
    Ok(())
}

#[tokio::test]
async fn the_timeout_bounds_all_attempts_together() -> TestResult {
    let nats = Nats::start().await;
    let (client, counted) = retrying(&nats, quick(u32::MAX));
    let call = client.once(text("it")).with_timeout(Duration::from_secs(1));
    let code = code_of(soon(call).await);
    let stats = counted.retry_stats();
    assert!(stats.retries > 1, "{stats:?}");
    // That nobody is there says more than that the time is over, unless that was while an attempt waited for its answer.
    match code.as_str() {
        "UNAVAILABLE" => assert_eq!(stats.exhausted, 1),
        code => assert_eq!(code, "DEADLINE_EXCEEDED"),
    }
    Ok(())
}

#[tokio::test]
async fn a_call_that_is_dropped_makes_no_attempt() -> TestResult {
    let nats = Nats::start().await;
    let (client, counted) = retrying(&nats, quick(u32::MAX).first_pause(Duration::ZERO));
    let mut peer = Peer::listen(&nats, "r.again").await;
    let called = tokio::spawn(call(&client, true, "it").into_future());
    let request = peer.request().await;
    called.abort();
    assert!(soon(called).await.unwrap_err().is_cancelled());
    let unavailable = [("Nats-Service-Error-Code", "UNAVAILABLE")];
    peer.answer(request, &unavailable, "").await;
    peer.check_no_more(&counted, true).await;

    // And one that waits for its next attempt.
    drop(peer);
    natsmicro_tests::common::synced(&nats.service).await;
    let (client, counted) = retrying(&nats, quick(5).first_pause(HOUR).max_pause(HOUR));
    let call = client.again(text("it")).with_timeout(2 * HOUR);
    let called = tokio::spawn(call.into_future());
    natsmicro_tests::persistence::eventually("the call is to be retried", || async {
        (counted.retry_stats().retries > 0).then_some(())
    })
    .await;
    called.abort();
    assert!(soon(called).await.unwrap_err().is_cancelled());
    assert_eq!(counted.retry_stats().retries, 1);
    Ok(())
}

#[tokio::test]
async fn the_largest_settings_are_no_error() -> TestResult {
    let nats = Nats::start().await;
    let retry = natsmicro::Retry::exponential(u32::MAX)
        .first_pause(Duration::MAX)
        .max_pause(Duration::MAX)
        .jitter(u32::MAX)
        .budget(u32::MAX, u32::MAX);
    let (client, counted) = retrying(&nats, retry);
    let call = client
        .once(text("it"))
        .with_timeout(Duration::from_millis(1));
    let code = code_of(soon(call).await);
    assert!(
        ["UNAVAILABLE", "DEADLINE_EXCEEDED"].contains(&code.as_str()),
        "{code}"
    );
    assert!(counted.retry_stats().retries <= 1);

    let nothing = natsmicro::Retry::exponential(0)
        .first_pause(Duration::ZERO)
        .max_pause(Duration::ZERO)
        .jitter(0)
        .budget(0, 0);
    let (client, counted) = retrying(&nats, nothing);
    assert_eq!(code_of(soon(client.once(text("it"))).await), "UNAVAILABLE");
    let stats = counted.retry_stats();
    assert_eq!((stats.retries, stats.exhausted), (0, 1), "{stats:?}");
    Ok(())
}
