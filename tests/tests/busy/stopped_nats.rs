//! The NATS server stands still under load: the connections take nothing, and nothing breaks. When it goes on, all goes on.

use std::time::Duration;

use bytes::Bytes;
use natsmicro::testing::NatsServer;
use natsmicro_tests::common::text;
use natsmicro_tests::raw::{RawPeer, message};
use tokio::task::JoinSet;

use crate::alone;
use crate::overload::{all_answer, ended};
use crate::server_process::{Endpoints, LoadClient, Runtime, ServerProcess};

/// How many requests of peers without this crate wait at the service when the NATS server stops, of how many bytes each.
const REQUESTS: usize = 24_000;
const BYTES: usize = 2_000;
/// How many calls of clients of this crate are on their way, on so many connections.
const CALLS: usize = 1_000;
const CONNECTIONS: usize = 2;
const STOPPED: Duration = Duration::from_secs(3);
const RECOVERY: Duration = Duration::from_secs(30);

async fn survives(runtime: Runtime) {
    let _alone = alone().await;
    let nats = NatsServer::start().await.unwrap();
    let mut process = ServerProcess::start(nats.url(), runtime, Endpoints::Four);
    let client = natsmicro::Client::new(nats.connect().await.unwrap());
    let client = LoadClient::new(client.with_timeout(Duration::from_secs(5)));
    let mut calls = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let client = LoadClient::new(nats.connect().await.unwrap());
        for n in 0..CALLS {
            let (client, request) = (client.clone(), text("x".repeat(BYTES)));
            calls.spawn(async move {
                for turn in 0..4 {
                    match (n + turn) % 3 {
                        0 => ended(client.quick(request.clone()).await),
                        1 => ended(client.slow(request.clone()).await),
                        _ => ended(client.fail(request.clone()).await),
                    }
                }
            });
        }
    }
    let mut peer = RawPeer::connect(nats.url());
    peer.subscribe("_INBOX.stopped");
    peer.discard_input();
    let payload = text("x".repeat(BYTES)).bytes();
    let requests: Vec<_> = ["load.quick", "load.fail", "load.slow", "feed.tick"]
        .map(|subject| message(subject, "_INBOX.stopped", &[], &payload))
        .concat();
    tokio::task::spawn_blocking(move || {
        for _ in 0..REQUESTS / 4 {
            peer.write(&requests);
        }
        // Reads on until the end of the test.
        std::mem::forget(peer);
    })
    .await
    .unwrap();

    nats.pause().unwrap();
    tokio::time::sleep(STOPPED).await;
    nats.resume().unwrap();

    tokio::time::timeout(RECOVERY, calls.join_all())
        .await
        .expect("each call has an end");
    all_answer(&client, RECOVERY).await;
    let other = nats.connect().await.unwrap();
    let ping = other.request("$SRV.PING", Bytes::new());
    tokio::time::timeout(RECOVERY, ping).await.unwrap().unwrap();
    // Streams are open, so it may have to cut something, but it returns.
    let stopped = tokio::task::spawn_blocking(move || process.stop());
    tokio::time::timeout(Duration::from_secs(60), stopped)
        .await
        .expect("`stop` returns")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_server_on_one_thread() {
    survives(Runtime::CurrentThread).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_server_on_two_threads() {
    survives(Runtime::TwoWorkers).await;
}
