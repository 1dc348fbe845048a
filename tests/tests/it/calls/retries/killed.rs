//! A service that is killed, loses its connection or is stopped while it has a call: how often the call is handled.
//!
//! What is not idempotent is handled once at most. What is idempotent is handled again only where the caller learns in time that the call
//! has failed: a service that was killed tells nobody.

use std::time::Duration;

use natsmicro::{Call, RunningServer, Server};
use natsmicro_tests::common::{Nats, TestResult, Text, code_of, soon, text};
use natsmicro_tests::persistence::eventually;
use natsmicro_tests::persistence::proxy::{Fault, Proxy};
use tokio::runtime::{Builder, Runtime};

use super::{Peer, WorkClient, WorkServer, Worker, call, quick, retrying, start, subject};

/// How long a call waits that has no answer; meanwhile another instance is started.
const TIMEOUT: Duration = Duration::from_millis(1_500);

/// An instance that can be killed as a process can: nothing of it runs any more, and its connection ends.
struct Process(Option<Runtime>);

impl Process {
    async fn start(nats: &Nats, worker: &Worker) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (url, service) = (
            nats.server.url().to_owned(),
            WorkServer::new(worker.clone()),
        );
        let (started_sender, started) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let nats = async_nats::connect(url).await.unwrap();
            let server = Server::new(nats)
                .add_service(service)
                .start()
                .await
                .unwrap();
            started_sender.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(server);
        });
        soon(started).await.unwrap();
        Self(Some(runtime))
    }

    /// Ends it, and waits until the NATS server knows.
    async fn kill(mut self, nats: &Nats) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
        eventually("the instance is gone", || async {
            let asked = nats.service.request("r.once", "".into()).await;
            let kind = asked.err()?.kind();
            (kind == async_nats::RequestErrorKind::NoResponders).then_some(())
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A call of a method that handles one call after the other.
fn in_turn(client: &WorkClient, idempotent: bool, request: &str) -> Call<Text> {
    if idempotent {
        client.again_in_turn(text(request))
    } else {
        client.once_in_turn(text(request))
    }
}

fn in_turn_subject(idempotent: bool) -> &'static str {
    if idempotent {
        "r.again_in_turn"
    } else {
        "r.once_in_turn"
    }
}

/// Starts an instance whose connection goes through the proxy.
async fn start_behind(proxy: &Proxy, worker: &Worker) -> RunningServer {
    let server = proxy.service().await;
    let server = server.add_service(WorkServer::new(worker.clone()));
    server.start().await.unwrap()
}

/// Waits until the NATS server has sent this many requests on `subject`; its log has the protocol.
async fn delivered(nats: &Nats, subject: &str, requests: usize) {
    let line = format!("MSG {subject} ");
    eventually("the requests are delivered", || async {
        (nats.server.log().matches(&line).count() >= requests).then_some(())
    })
    .await;
}

/// Whether an instance has handled no call but the one that is made now.
async fn is_idle(nats: &Nats, worker: &Worker) -> bool {
    let client = WorkClient::new(nats.caller.clone());
    soon(client.once(text("the first"))).await.unwrap();
    worker.runs() == 1
}

#[tokio::test]
async fn killed_before_the_call() -> TestResult {
    for idempotent in [false, true] {
        let nats = Nats::start().await;
        let (killed, next) = (Worker::default(), Worker::default());
        let process = Process::start(&nats, &killed).await;
        process.kill(&nats).await;
        let (client, counted) = retrying(&nats, quick(u32::MAX));
        let called = tokio::spawn(call(&client, idempotent, "it").into_future());
        eventually("the call is retried", || async {
            (counted.retry_stats().retries > 0).then_some(())
        })
        .await;
        let _server = start(&nats, &next).await;
        assert_eq!(soon(called).await??.text, "answer to it");
        assert_eq!((killed.runs(), next.runs()), (0, 1));
    }
    Ok(())
}

#[tokio::test]
async fn cut_off_while_the_request_is_on_its_way() -> TestResult {
    for idempotent in [false, true] {
        let nats = Nats::traced().await;
        let proxy = Proxy::start(&nats.server).await;
        let worker = Worker::default();
        let _server = start_behind(&proxy, &worker).await;
        let (client, counted) = retrying(&nats, quick(u32::MAX));
        proxy.mute();
        let call = call(&client, idempotent, "it").with_timeout(TIMEOUT);
        let called = tokio::spawn(call.into_future());
        delivered(&nats, subject(idempotent), 1).await;
        proxy.cut();
        assert_eq!(code_of(soon(called).await?), "DEADLINE_EXCEEDED");
        assert_eq!(worker.runs(), 0);
        assert_eq!(counted.retry_stats().retries, 0);
    }
    Ok(())
}

#[tokio::test]
async fn killed_while_the_call_waits_for_its_turn() -> TestResult {
    for idempotent in [false, true] {
        let nats = Nats::traced().await;
        let (killed, next) = (Worker::default(), Worker::default());
        let process = Process::start(&nats, &killed).await;
        let (client, counted) = retrying(&nats, quick(u32::MAX));
        let send = |request| {
            let call = in_turn(&client, idempotent, request).with_timeout(TIMEOUT);
            tokio::spawn(call.into_future())
        };
        let first = send("wait");
        soon(killed.gate.reached_by(1)).await;
        let second = send("it");
        delivered(&nats, in_turn_subject(idempotent), 2).await;
        process.kill(&nats).await;
        let _server = start(&nats, &next).await;
        assert_eq!(code_of(soon(first).await?), "DEADLINE_EXCEEDED");
        assert_eq!(code_of(soon(second).await?), "DEADLINE_EXCEEDED");
        assert_eq!(killed.runs(), 1);
        assert!(is_idle(&nats, &next).await);
        assert_eq!(counted.retry_stats().retries, 0);
    }
    Ok(())
}

#[tokio::test]
async fn killed_in_the_handler() -> TestResult {
    for idempotent in [false, true] {
        let nats = Nats::start().await;
        let (killed, next) = (Worker::default(), Worker::default());
        let process = Process::start(&nats, &killed).await;
        let (client, counted) = retrying(&nats, quick(u32::MAX));
        let call = call(&client, idempotent, "wait").with_timeout(TIMEOUT);
        let called = tokio::spawn(call.into_future());
        soon(killed.gate.reached_by(1)).await;
        process.kill(&nats).await;
        let _server = start(&nats, &next).await;
        assert_eq!(code_of(soon(called).await?), "DEADLINE_EXCEEDED");
        assert_eq!(killed.runs(), 1);
        assert!(is_idle(&nats, &next).await);
        assert_eq!(counted.retry_stats().retries, 0);
    }
    Ok(())
}

#[tokio::test]
async fn cut_off_between_the_handler_and_its_reply() -> TestResult {
    for idempotent in [false, true] {
        let nats = Nats::start().await;
        let proxy = Proxy::start(&nats.server).await;
        let worker = Worker::default();
        let _server = start_behind(&proxy, &worker).await;
        let (client, counted) = retrying(&nats, quick(u32::MAX));
        proxy.fail("answer to it", Fault::Lost);
        let call = call(&client, idempotent, "it").with_timeout(TIMEOUT);
        let called = tokio::spawn(call.into_future());
        soon(proxy.failed()).await;
        assert_eq!(code_of(soon(called).await?), "DEADLINE_EXCEEDED");
        assert_eq!(worker.runs(), 1);
        assert_eq!(counted.retry_stats().retries, 0);
    }
    Ok(())
}

#[tokio::test]
async fn killed_after_the_reply() -> TestResult {
    for idempotent in [false, true] {
        let nats = Nats::start().await;
        let (killed, next) = (Worker::default(), Worker::default());
        let process = Process::start(&nats, &killed).await;
        let (client, counted) = retrying(&nats, quick(u32::MAX));
        let answer = soon(call(&client, idempotent, "it")).await?;
        assert_eq!(answer.text, "answer to it");
        process.kill(&nats).await;
        let _server = start(&nats, &next).await;
        assert_eq!(killed.runs(), 1);
        assert!(is_idle(&nats, &next).await);
        assert_eq!(counted.retry_stats().retries, 0);
    }
    Ok(())
}

/// The answer of a service that stops is the same for both calls, so that neither is sent again unless it is idempotent.
#[tokio::test]
async fn stopped_in_the_handler_and_while_a_call_waits_for_its_turn() -> TestResult {
    for idempotent in [false, true] {
        let nats = Nats::traced().await;
        let (stopped, next) = (Worker::default(), Worker::default());
        let server = start(&nats, &stopped).await;
        let (client, counted) = retrying(&nats, quick(u32::MAX));
        let send = |request| tokio::spawn(in_turn(&client, idempotent, request).into_future());
        let first = send("wait");
        soon(stopped.gate.reached_by(1)).await;
        let second = send("it");
        delivered(&nats, in_turn_subject(idempotent), 2).await;
        next.gate.open();
        let _server = start(&nats, &next).await;
        let lost = soon(server.stop()).await.unwrap_err();
        assert_eq!(lost.unfinished_calls()[0].calls, 2);
        let results = [soon(first).await?, soon(second).await?];
        assert_eq!(stopped.runs(), 1);
        if idempotent {
            let texts = results.map(|result| result.unwrap().text);
            assert_eq!(texts, ["answer to wait", "answer to it"]);
            assert_eq!(next.runs(), 2);
            assert_eq!(counted.retry_stats().recovered, 2);
        } else {
            assert_eq!(results.map(code_of), ["UNAVAILABLE", "UNAVAILABLE"]);
            assert!(is_idle(&nats, &next).await);
            assert_eq!(counted.retry_stats().retries, 0);
        }
    }
    Ok(())
}

/// A peer whose connection is lost while it has the request.
#[tokio::test]
async fn a_lost_peer_leaves_the_call_without_an_answer() -> TestResult {
    for idempotent in [false, true] {
        let nats = Nats::start().await;
        let (client, counted) = retrying(&nats, quick(u32::MAX));
        let mut peer = Peer::listen(&nats, subject(idempotent)).await;
        let call = call(&client, idempotent, "it").with_timeout(Duration::from_millis(300));
        let called = tokio::spawn(call.into_future());
        drop(peer.request().await);
        nats.service.drain().await?;
        assert_eq!(code_of(soon(called).await?), "DEADLINE_EXCEEDED");
        assert_eq!(counted.retry_stats().retries, 0);
    }
    Ok(())
}
