//! Requests arrive while no reply can leave: first as many as run at once, then more than may wait. The calls that have their
//! replies ready and those that are refused wait for the same connection, and must not wait for each other.

use std::time::{Duration, Instant};

use bytes::Bytes;
use natsmicro::testing::NatsServer;
use natsmicro_tests::common::{soon, text};
use natsmicro_tests::raw::{RawPeer, message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::alone;
use crate::overload::all_answer;
use crate::server_process::{LARGE, LoadClient, MARKER, Runtime, ServerProcess, Services};

const SUBJECTS: [&str; 3] = ["load.quick", "load.quick_too", "load.fail"];
/// How many requests arrive at each endpoint: enough to fill the buffers of the connection and to have 1,024 calls in flight on
/// each, and then more than 16,384, which is how many may wait.
const FIRST: usize = 4_000;
const THEN: usize = 24_000;
/// How long the service may take to do with them what can be done.
const WORK: Duration = Duration::from_secs(2);
const CALL: Duration = Duration::from_secs(5);
const RECOVERY: Duration = Duration::from_secs(30);

/// A way to a NATS server on which nothing goes to the server while it is held, and everything comes from it.
struct Valve {
    url: String,
    held: watch::Sender<bool>,
}

impl Valve {
    async fn of(server: &NatsServer) -> Self {
        let upstream = server.url().trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let (held, is_held) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&upstream).await.unwrap();
                tokio::spawn(carry(near, far, is_held.clone()));
            }
        });
        Self { url, held }
    }
}

async fn carry(near: TcpStream, far: TcpStream, mut is_held: watch::Receiver<bool>) {
    let (mut from_client, mut to_client) = near.into_split();
    let (mut from_server, mut to_server) = far.into_split();
    let up = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if is_held.wait_for(|held| !held).await.is_err() {
                return;
            }
            match from_client.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => {
                    if to_server.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    let down = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! {
        () = up => {}
        _ = down => {}
    }
}

/// Sends so many requests to each endpoint, and waits until they have arrived and been looked at.
async fn send(url: &str, requests: usize, process: &mut ServerProcess) {
    let round: Vec<_> = SUBJECTS
        .map(|subject| message(subject, "_INBOX.held", &[], &text(LARGE).bytes()))
        .concat();
    let mut bytes = round.repeat(requests);
    bytes.extend(message(MARKER, "", &[], b""));
    let (before, url) = (process.markers(), url.to_owned());
    let sent = tokio::task::spawn_blocking(move || {
        let mut peer = RawPeer::connect(&url);
        peer.write(&bytes);
        peer.round_trip();
    });
    soon(sent).await.unwrap();
    let since = Instant::now();
    while process.markers() == before {
        assert!(since.elapsed() < RECOVERY, "the requests do not arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(WORK).await;
}

async fn leave_in_the_end(runtime: Runtime) {
    let _alone = alone().await;
    let nats = NatsServer::start().await.unwrap();
    let valve = Valve::of(&nats).await;
    let mut process = ServerProcess::start(&valve.url, runtime, Services::Two);
    let client = natsmicro::Client::new(nats.connect().await.unwrap()).with_timeout(CALL);
    let client = LoadClient::new(client);
    all_answer(&client, RECOVERY).await;
    let mut receiver = RawPeer::connect(nats.url());
    receiver.subscribe("_INBOX.held");
    receiver.round_trip();
    receiver.discard_input();

    valve.held.send_replace(true);
    send(nats.url(), FIRST, &mut process).await;
    send(nats.url(), THEN, &mut process).await;
    valve.held.send_replace(false);

    all_answer(&client, RECOVERY).await;
    let other = nats.connect().await.unwrap();
    let ping = other.request("$SRV.PING", Bytes::new());
    soon(ping).await.unwrap();
    let stopped = tokio::task::spawn_blocking(move || process.stop());
    let stopped = tokio::time::timeout(RECOVERY, stopped).await;
    assert!(stopped.expect("`stop` returns").unwrap(), "lost something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_server_on_one_thread() {
    leave_in_the_end(Runtime::CurrentThread).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_server_on_two_threads() {
    leave_in_the_end(Runtime::TwoWorkers).await;
}
