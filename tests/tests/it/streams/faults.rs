//! What happens to a stream when one of its sides is killed, hangs, or loses its connection.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use natsmicro::{Code, Server, Streaming};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use natsmicro_tests::common::{Nats, code_of, soon, test_name};
use natsmicro_tests::streams::{Fixture, Impl, Number, StreamsClient, StreamsServer, range};

/// Says which side the process plays, and where nats-server is.
const ROLE: &str = "NATSMICRO_TEST_ROLE";
const URL: &str = "NATSMICRO_TEST_URL";

/// Another process with one side of the streams, which ends with this value.
struct Process(Child);

impl Process {
    fn start(role: &str, url: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &test_name(module_path!(), "the_other_process")])
            .envs([(ROLE, role), (URL, url)])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        let killed = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(killed.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test of its own: what the tests below start this program for.
#[tokio::test]
async fn the_other_process() {
    let (Ok(role), Ok(url)) = (std::env::var(ROLE), std::env::var(URL)) else {
        return;
    };
    let nats = async_nats::connect(url).await.unwrap();
    if role == "service" {
        let service = Impl {
            opened: mpsc::unbounded_channel().0,
            dropped: mpsc::unbounded_channel().0,
            go: std::sync::Arc::default(),
        };
        let server = Server::new(nats)
            .add_service(StreamsServer::new(service))
            .start()
            .await
            .unwrap();
        std::future::pending::<()>().await;
        drop(server);
    } else {
        let client = StreamsClient::new(nats);
        let mut feed = client.feed(range(1, 0)).await.unwrap();
        feed.message().await.unwrap();
        let (sender, numbers) = Streaming::channel(1);
        let sink = client.sink(numbers).into_future();
        sender.send(1.into()).await.unwrap();
        sink.await.unwrap();
    }
}

/// A client of a service in another process, with a stream of each kind that waits for it.
async fn streams_of(nats: &Nats) -> (Streaming<Number>, JoinHandle<String>) {
    let client = StreamsClient::new(nats.caller.clone());
    let feed = async {
        loop {
            match client.feed(range(1, 0)).await {
                Ok(feed) => return feed,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let mut feed = soon(feed).await;
    soon(feed.message()).await.unwrap();
    let (sender, numbers) = Streaming::channel(1);
    let sink = client.sink(numbers).into_future();
    let sink = tokio::spawn(async move { code_of(sink.await) });
    soon(sender.send(1.into())).await.unwrap();
    soon(sender.send(2.into())).await.unwrap();
    tokio::spawn(async move { sender.closed().await });
    (feed, sink)
}

#[tokio::test]
async fn a_service_that_is_killed() {
    let nats = Nats::start().await;
    let service = Process::start("service", nats.server.url());
    let (mut feed, sink) = streams_of(&nats).await;
    drop(service);
    assert_eq!(code_of(soon(feed.message()).await), "UNAVAILABLE");
    assert_eq!(soon(sink).await.unwrap(), "UNAVAILABLE");
}

#[tokio::test]
async fn a_service_that_hangs() {
    let nats = Nats::start().await;
    let service = Process::start("service", nats.server.url());
    let (mut feed, sink) = streams_of(&nats).await;
    service.signal("-STOP");
    assert_eq!(code_of(soon(feed.message()).await), "UNAVAILABLE");
    assert_eq!(soon(sink).await.unwrap(), "UNAVAILABLE");
}

#[tokio::test]
async fn a_caller_that_is_killed() {
    let mut fixture = Fixture::start().await;
    let caller = Process::start("caller", fixture.nats.server.url());
    for _ in 0..2 {
        soon(fixture.opened.recv()).await;
    }
    drop(caller);
    soon(fixture.dropped.recv()).await;
    soon(fixture.dropped.recv()).await;
}

#[tokio::test]
async fn a_caller_that_hangs() {
    let mut fixture = Fixture::start().await;
    let caller = Process::start("caller", fixture.nats.server.url());
    for _ in 0..2 {
        soon(fixture.opened.recv()).await;
    }
    caller.signal("-STOP");
    soon(fixture.dropped.recv()).await;
    soon(fixture.dropped.recv()).await;
}

/// The streams are idle, so nothing is lost while the connections are down for a moment.
#[tokio::test]
async fn a_server_that_restarts() {
    let fixture = Fixture::start().await;
    let (sender, numbers) = Streaming::channel(1);
    let mut doubled = fixture.client.double(numbers).await.unwrap();
    soon(sender.send(1.into())).await.unwrap();
    assert_eq!(soon(doubled.message()).await.unwrap().unwrap().n, 2);
    fixture.nats.server.restart().await.unwrap();
    // Either both were back in time, or both sides are told. Nobody waits for ever, and nothing is skipped.
    for n in 2..100 {
        if soon(sender.send(n.into())).await.is_err() {
            break;
        }
        match soon(doubled.message()).await {
            Ok(number) => assert_eq!(number.unwrap().n, 2 * n),
            Err(error) => {
                assert!(
                    matches!(error.code(), Code::Unavailable | Code::DataLoss),
                    "{error}"
                );
                break;
            }
        }
    }
}
