//! A client that makes more calls at once than its connection takes, and callers who do not look after theirs.

use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use natsmicro::testing::NatsServer;
use natsmicro_tests::common::text;
use tokio::time::timeout;

use crate::alone;
use crate::overload::{all_answer, ended};
use crate::server_process::{LoadClient, Runtime, ServerProcess, Services};

const CALLS: usize = 100_000;
/// How long a call may take, and all of them together.
const CALL: Duration = Duration::from_secs(30);
const ALL: Duration = Duration::from_secs(50);
/// How many are begun and left, and within what time others are answered.
const LEFT: usize = 5_000;
const OTHERS: Duration = Duration::from_secs(10);

async fn start(timeout: Duration) -> (NatsServer, ServerProcess, LoadClient) {
    let nats = NatsServer::start().await.unwrap();
    let process = ServerProcess::start(nats.url(), Runtime::TwoWorkers, Services::Two);
    let client = natsmicro::Client::new(nats.connect().await.unwrap()).with_timeout(timeout);
    let client = LoadClient::new(client);
    all_answer(&client, OTHERS).await;
    (nats, process, client)
}

/// Makes all calls at once, and rests for a moment after each few that have ended.
async fn all_end(bytes: usize, rest: Option<Duration>) {
    let _alone = alone().await;
    let (_nats, _process, client) = start(CALL).await;
    let payload = "x".repeat(bytes);
    let mut calls: FuturesUnordered<_> = (0..CALLS)
        .map(|n| {
            let (client, request) = (client.clone(), text(&*payload));
            async move {
                match n % 3 {
                    0 => ended(client.quick(request).await),
                    1 => ended(client.slow(request).await),
                    _ => ended(client.fail(request).await),
                }
            }
        })
        .collect();
    let all = async {
        let mut ended = 0;
        while calls.next().await.is_some() {
            ended += 1;
            if let Some(rest) = rest
                && ended % 1_000 == 0
            {
                tokio::time::sleep(rest).await;
            }
        }
        ended
    };
    let since = Instant::now();
    let ended = timeout(ALL, all).await;
    let ended = ended.unwrap_or_else(|_| panic!("not all calls have ended in {ALL:?}"));
    println!("{ended} calls in {:?}", since.elapsed());
    assert_eq!(ended, CALLS);
    all_answer(&client, OTHERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_at_once() {
    all_end(10, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_at_once_and_read_slowly() {
    all_end(10, Some(Duration::from_millis(20))).await;
}

/// On one thread, where nothing is sent until all have been polled.
#[tokio::test]
async fn all_at_once_on_one_thread() {
    all_end(10, None).await;
}

/// Calls that are polled once, and then held by somebody who does other things.
async fn others_are_answered(bytes: usize) {
    let _alone = alone().await;
    let (_nats, _process, client) = start(OTHERS).await;
    let mut left: Vec<_> = (0..LEFT)
        .map(|n| {
            let call = client.quick(text("x".repeat(bytes) + &n.to_string()));
            Box::pin(call.into_future())
        })
        .collect();
    // Beside other threads, one may be answered within its poll.
    left.retain_mut(|call| call.now_or_never().is_none());
    assert!(left.len() > LEFT / 2);
    for n in 0..20 {
        for bytes in [10, bytes] {
            let request = text("y".repeat(bytes));
            let answer = timeout(OTHERS, client.quick(request.clone()).into_future()).await;
            let answer = answer.unwrap_or_else(|_| panic!("call {n} has no end"));
            assert_eq!(answer, Ok(request), "call {n} of {bytes} bytes");
        }
    }
    // They are still there to be polled.
    for call in left {
        ended(timeout(OTHERS, call).await.expect("each has an end"));
    }
}

/// Small requests are sent together.
#[tokio::test]
async fn calls_that_are_polled_once() {
    others_are_answered(10).await;
}

/// Large ones are sent one by one, each by the call itself.
#[tokio::test]
async fn large_calls_that_are_polled_once() {
    others_are_answered(5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_calls_that_are_polled_once_beside_other_threads() {
    others_are_answered(5_000).await;
}
