//! The NATS server stands still under load: the connections take nothing, and nothing breaks. When it goes on, all goes on.

use std::time::Duration;

use bytes::Bytes;
use natsmicro::testing::NatsServer;
use natsmicro_tests::common::{soon, text};
use natsmicro_tests::raw::{RawPeer, message};
use tokio::task::JoinSet;

use crate::alone;
use crate::overload::{all_answer, ended};
use crate::server_process::{LARGE, LoadClient, Runtime, ServerProcess, Services};

/// How many requests of a peer without this crate arrive at each endpoint before the NATS server stops: more than may wait there,
/// so that some have to be refused while the connection takes no refusal.
const REQUESTS: usize = 24_000;
const SUBJECTS: [&str; 4] = ["load.quick", "load.quick_too", "load.fail", "feed.tick"];
/// How many calls of clients of this crate are on their way, on so many connections.
const CALLS: usize = 1_000;
const CONNECTIONS: usize = 2;
/// How long the NATS server may take to write what it has.
const DELIVERY: Duration = Duration::from_millis(300);
const STOPPED: Duration = Duration::from_secs(3);
/// How long one call may take, and everything until it works again.
const CALL: Duration = Duration::from_secs(5);
const RECOVERY: Duration = Duration::from_secs(30);

async fn survives(runtime: Runtime) {
    let _alone = alone().await;
    let nats = NatsServer::start().await.unwrap();
    let mut process = ServerProcess::start(nats.url(), runtime, Services::Two);
    let client = async || {
        let client = natsmicro::Client::new(nats.connect().await.unwrap());
        LoadClient::new(client.with_timeout(CALL))
    };
    let mut calls = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let client = client().await;
        for n in 0..CALLS {
            let (client, request) = (client.clone(), text(LARGE));
            calls.spawn(async move {
                for turn in 0..3 {
                    match (n + turn) % 3 {
                        0 => ended(client.quick(request.clone()).await),
                        1 => ended(client.slow(request.clone()).await),
                        _ => ended(client.fail(request.clone()).await),
                    }
                }
            });
        }
    }
    let payload = text(LARGE).bytes();
    let round: Vec<_> = SUBJECTS
        .map(|subject| message(subject, "_INBOX.s", &[], &payload))
        .concat();
    let requests = round.repeat(REQUESTS);
    let mut receiver = RawPeer::connect(nats.url());
    receiver.subscribe("_INBOX.s");
    receiver.round_trip();
    receiver.discard_input();
    let mut sender = RawPeer::connect(nats.url());
    // The requests get as far as the buffers of the service's connection, and the service begins with them when there is nothing
    // any more that takes its replies.
    process.signal("STOP");
    let sent = tokio::task::spawn_blocking(move || {
        sender.write(&requests);
        sender.round_trip();
    });
    soon(sent).await.unwrap();
    tokio::time::sleep(DELIVERY).await;
    nats.pause().unwrap();
    process.signal("CONT");
    tokio::time::sleep(STOPPED).await;
    nats.resume().unwrap();

    tokio::time::timeout(RECOVERY, calls.join_all())
        .await
        .expect("each call has an end");
    all_answer(&client().await, RECOVERY).await;
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
