//! The replies of a client arrive on one subscription: it begins with the first call, survives what a connection survives, and
//! ends with the last clone of the client.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use natsmicro::{Server, Status};
use natsmicro_tests::common::{Nats, PATIENCE, TestResult, Text, code_of, soon, text};
use tokio::task::JoinSet;

#[natsmicro::service(subject_prefix = "replies")]
trait Echo {
    async fn echo(&self, request: Text) -> Result<Text, Status>;
}

struct Service;

impl Echo for Service {
    async fn echo(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
}

/// Each reply reaches the call it belongs to, also when requests are sent together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.server().add_service(EchoServer::new(Service));
    let _server = server.start().await?;
    let client = EchoClient::new(nats.caller.clone());
    for round in 0..5 {
        let calls = (0..2_000).map(|n| {
            let client = client.clone();
            // Some too large to be sent with others.
            let sent = text(format!("{round} {n} {}", "x".repeat(n % 7 * 1_000)));
            tokio::spawn(async move {
                let call = client.echo(sent.clone());
                let answer = match n % 3 {
                    // With a header.
                    0 => call.with_timeout(PATIENCE).await,
                    _ => call.await,
                };
                (answer, sent)
            })
        });
        for call in soon(join_all(calls)).await {
            let (answer, sent) = call?;
            assert_eq!(answer?, sent);
        }
    }
    Ok(())
}

/// More than one subscription has room for: each is sent once, and gets its own answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_a_subscription_holds() -> TestResult {
    const CALLS: usize = 40_000;
    let nats = Nats::start().await;
    let mut requests = nats.peer("replies.echo").await;
    let client = EchoClient::new(nats.caller.clone());
    let mut calls: JoinSet<_> = (0..CALLS)
        .map(|n| {
            let call = client.echo(text(n.to_string()));
            let call = call.with_timeout(Duration::from_secs(120)).into_future();
            async move { (call.await, text(n.to_string())) }
        })
        .collect();
    let mut arrived = HashMap::new();
    while arrived.len() < CALLS {
        let request = soon(requests.next()).await.ok_or("no request")?;
        let earlier = arrived.insert(request.payload, request.reply);
        assert!(earlier.is_none(), "a call was sent twice");
    }
    for (payload, reply) in arrived {
        let reply = reply.ok_or("no reply subject")?;
        nats.service.publish(reply, payload).await?;
    }
    while let Some(call) = soon(calls.join_next()).await {
        let (answer, sent) = call?;
        assert_eq!(answer?, sent);
    }
    Ok(())
}

#[tokio::test]
async fn nobody_there_for_many_calls() -> TestResult {
    let nats = Nats::start().await;
    let client = EchoClient::new(nats.caller.clone());
    let calls = (0..200).map(|_| client.echo(text("x")).into_future());
    for answer in soon(join_all(calls)).await {
        assert_eq!(code_of(answer), "UNAVAILABLE");
    }
    Ok(())
}

/// A reply that comes late is nobody's, and the calls after it are not disturbed.
#[tokio::test]
async fn calls_that_were_given_up() -> TestResult {
    let nats = Nats::start().await;
    let mut requests = nats.peer("replies.echo").await;
    let client = EchoClient::new(natsmicro::Client::new(nats.caller.clone()));
    let given_up = (0..100).map(|_| {
        let call = client.echo(text("late"));
        call.with_timeout(Duration::from_millis(50)).into_future()
    });
    for answer in soon(join_all(given_up)).await {
        assert_eq!(code_of(answer), "DEADLINE_EXCEEDED");
    }
    for _ in 0..100 {
        let request = soon(requests.next()).await.ok_or("no request")?;
        let reply = request.reply.ok_or("no reply subject")?;
        nats.service.publish(reply, text("late").bytes()).await?;
    }
    let call = tokio::spawn(client.echo(text("now")).into_future());
    let request = soon(requests.next()).await.ok_or("no request")?;
    let reply = request.reply.ok_or("no reply subject")?;
    nats.service.publish(reply, request.payload).await?;
    assert_eq!(soon(call).await??, text("now"));
    Ok(())
}

#[tokio::test]
async fn calls_after_a_reconnect() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.server().add_service(EchoServer::new(Service));
    let _server = server.start().await?;
    let client = EchoClient::new(nats.caller.clone());
    assert_eq!(client.echo(text("before")).await?, text("before"));
    nats.server.restart().await?;
    let answered = async {
        while client.echo(text("after")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(answered).await;
    Ok(())
}

/// The subscription is there from the first call to the end of the last clone.
#[tokio::test]
async fn the_subscription_ends_with_the_client() -> TestResult {
    let nats = Nats::traced().await;
    let server = nats.server().add_service(EchoServer::new(Service));
    let _server = server.start().await?;
    let client = EchoClient::new(nats.caller.clone());
    let clone = client.clone();
    client.echo(text("x")).await?;
    drop(client);
    clone.echo(text("x")).await?;
    let call = clone.echo(text("x"));
    drop(clone);
    assert_eq!(call.await?, text("x"));
    nats.log_has("[UNSUB ").await;
    Ok(())
}

/// The runtime of the first call may end before that of the connection.
#[test]
fn calls_from_several_runtimes() -> TestResult {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
    };
    let (of_connection, of_first_call) = (runtime()?, runtime()?);
    let nats = of_connection.block_on(Nats::start());
    // Outside of any runtime.
    let client = EchoClient::new(nats.caller.clone());
    let server = Server::new(nats.service.clone()).add_service(EchoServer::new(Service));
    let _server = of_connection.block_on(server.start())?;
    assert_eq!(
        of_first_call.block_on(client.echo(text("first")).into_future())?,
        text("first")
    );
    of_first_call.shutdown_timeout(PATIENCE);
    let later = of_connection.block_on(soon(client.echo(text("later")).into_future()))?;
    assert_eq!(later, text("later"));
    Ok(())
}
