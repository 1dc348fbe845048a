//! A connection that dies for good: the server, its client and its stores say so within a second.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures::StreamExt;
use natsmicro::testing::NatsServer;
use natsmicro::{
    Client, Code, ConnectionState, RunningServer, ServeErrorKind, Server, ServerState,
};
use natsmicro_tests::common::{TestResult, soon, text};
use natsmicro_tests::raw::RawPeer;
use tokio::sync::oneshot;

use super::{ConClient, ConServer, Impl, PlainClient, PlainServer};

/// On a bare carriage return in a header, async-nats's task panics.
fn poison(server: &NatsServer, subject: &str) {
    let headers = "NATS/1.0\r\nA: b\rc\r\n\r\n";
    let size = headers.len();
    let message = format!("HPUB {subject} {size} {size}\r\n{headers}\r\n");
    RawPeer::connect(server.url()).write_and_close(message.as_bytes());
}

async fn start(server: &NatsServer) -> (RunningServer, async_nats::Client) {
    let nats = server.connect().await.unwrap();
    let running = Server::new(nats.clone())
        .with_jetstream(jetstream::new(nats.clone()))
        .add_service(ConServer::new(Impl))
        .start();
    (soon(running).await.unwrap(), nats)
}

#[tokio::test]
async fn a_poisoned_message_ends_the_server_with_what_is_lost() -> TestResult {
    for subject in ["con.echo", "$SRV.PING"] {
        let server = NatsServer::start().await?;
        let (running, _nats) = start(&server).await;
        assert_eq!(running.state(), ServerState::Serving);
        assert!(running.health().live && running.health().ready);
        let caller = ConClient::new(
            Client::new(server.connect().await?).with_timeout(Duration::from_secs(60)),
        );
        let hanging: Vec<_> = (0..3)
            .map(|_| {
                let caller = caller.clone();
                tokio::spawn(async move { caller.hang(text("a")).await })
            })
            .collect();
        soon(async {
            while running.stats()[0]
                .endpoints
                .iter()
                .all(|it| it.name != "hang")
            {}
            tokio::time::sleep(Duration::from_millis(200)).await;
        })
        .await;
        let begin = Instant::now();
        poison(&server, subject);
        let lost = soon(running.closed()).await.unwrap_err();
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{:?}",
            begin.elapsed()
        );
        let calls = lost.unfinished_calls();
        assert_eq!(
            (calls.len(), calls[0].endpoint.as_str(), calls[0].calls),
            (1, "hang", 3)
        );
        assert_eq!(lost.lost_write_count(), 0);
        assert_eq!(running.state(), ServerState::Closed);
        let health = running.health();
        assert!(!health.live && !health.ready, "{health:?}");
        // All who ask are told the same.
        let error = soon(running.handle().stop()).await.unwrap_err();
        assert_eq!(error.unfinished_calls(), calls);
        let error = soon(running.stop()).await.unwrap_err();
        assert_eq!(error.unfinished_calls(), calls);
        for call in hanging {
            call.abort();
        }
    }
    Ok(())
}

/// A connection that soon gives up reconnecting.
fn gives_up() -> async_nats::ConnectOptions {
    async_nats::ConnectOptions::new()
        .max_reconnects(2)
        .reconnect_delay_callback(|_| Duration::from_millis(10))
}

/// Calls that end by themselves once the connection is lost cannot be answered either.
#[tokio::test]
async fn calls_that_end_too_late_are_in_the_error() -> TestResult {
    let server = NatsServer::start().await?;
    let nats = server.connect_with(gives_up()).await?;
    let running = Server::new(nats).add_service(PlainServer::new(Impl));
    let running = soon(running.start()).await?;
    let caller = PlainClient::new(server.connect().await?);
    let mut ticks = soon(caller.until_stop(text("a"))).await?;
    soon(ticks.next()).await.unwrap()?;
    // A drained connection might still take the end of the stream.
    server.kill()?;
    let lost = soon(running.closed()).await.unwrap_err();
    let calls = lost.unfinished_calls();
    assert_eq!(
        (calls.len(), calls[0].endpoint.as_str(), calls[0].calls),
        (1, "until_stop", 1)
    );
    let error = soon(running.stop()).await.unwrap_err();
    assert_eq!(error.connection(), Some("the connection is closed"));
    Ok(())
}

#[tokio::test]
async fn a_drained_connection_is_lost_too() -> TestResult {
    let server = NatsServer::start().await?;
    let (running, nats) = start(&server).await;
    nats.drain().await?;
    let lost = soon(running.closed()).await.unwrap_err();
    assert!(lost.unfinished_calls().is_empty());
    assert_eq!(running.state(), ServerState::Closed);
    Ok(())
}

#[tokio::test]
async fn a_connection_that_gives_up_reconnecting_is_lost() -> TestResult {
    let server = NatsServer::start().await?;
    let nats = server.connect_with(gives_up()).await?;
    let running = Server::new(nats)
        .add_service(PlainServer::new(Impl))
        .start();
    let running = soon(running).await?;
    server.kill()?;
    soon(running.closed()).await.unwrap_err();
    Ok(())
}

/// Nothing can be stored any more.
#[tokio::test]
async fn the_connection_of_the_stores_counts_too() -> TestResult {
    let server = NatsServer::start().await?;
    let stores = server.connect().await?;
    let running = Server::new(server.connect().await?)
        .with_jetstream(jetstream::new(stores.clone()))
        .add_service(ConServer::new(Impl))
        .start();
    let running = soon(running).await?;
    stores.drain().await?;
    soon(running.closed()).await.unwrap_err();
    assert_eq!(running.state(), ServerState::Closed);
    Ok(())
}

#[tokio::test]
async fn an_interrupted_connection_is_not_lost() -> TestResult {
    let server = NatsServer::start().await?;
    let (running, _nats) = start(&server).await;
    let caller = ConClient::new(server.connect().await?);
    server.kill()?;
    soon(async {
        while running.state() != ServerState::Disconnected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let health = running.handle().health();
    assert!(health.live && !health.ready, "{health:?}");
    server.restart().await?;
    soon(async {
        while caller.echo(text("a")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(running.state(), ServerState::Serving);
    soon(running.stop()).await?;
    Ok(())
}

#[tokio::test]
async fn writes_that_wait_are_in_the_error() -> TestResult {
    let server = NatsServer::start().await?;
    let (running, _nats) = start(&server).await;
    let caller = ConClient::new(server.connect().await?);
    soon(caller.save(text("a"))).await?;
    // What is written from here on is not acknowledged.
    let jetstream = jetstream::new(server.connect().await?);
    jetstream.delete_key_value("con").await?;
    for key in ["b", "c"] {
        soon(caller.save_later(text(key))).await?;
    }
    poison(&server, "con.echo");
    let lost = soon(running.closed()).await.unwrap_err();
    assert_eq!(lost.lost_write_count(), 2, "{lost}");
    let mut keys: Vec<_> = lost.lost_writes().iter().map(|lost| &lost.key).collect();
    keys.sort();
    assert_eq!(keys, ["b", "c"]);
    assert!(lost.to_string().contains("2 writes given up"), "{lost}");
    Ok(())
}

#[tokio::test]
async fn a_stopped_server_is_closed_and_several_may_stop_it() -> TestResult {
    let server = NatsServer::start().await?;
    let (running, _nats) = start(&server).await;
    let (first, second) = (running.handle(), running.handle());
    let (first, second) = soon(async { tokio::join!(first.stop(), second.stop()) }).await;
    first?;
    second?;
    soon(running.closed()).await?;
    assert_eq!(running.state(), ServerState::Closed);
    soon(running.stop()).await?;
    Ok(())
}

#[tokio::test]
async fn a_handle_does_not_keep_a_server_alive() -> TestResult {
    let server = NatsServer::start().await?;
    let (running, _nats) = start(&server).await;
    let handle = running.handle();
    drop(running);
    soon(handle.closed()).await?;
    assert_eq!(handle.state(), ServerState::Closed);
    let error = soon(handle.stop()).await.unwrap_err();
    assert!(error.connection().is_some());
    let caller = ConClient::new(server.connect().await?);
    soon(async { while caller.echo(text("a")).await.is_ok() {} }).await;
    Ok(())
}

#[tokio::test]
async fn serving_in_a_loop_is_back_within_a_second() -> TestResult {
    const ROUNDS: usize = 3;
    let server = NatsServer::start().await?;
    let caller = Client::new(server.connect().await?).with_timeout(Duration::from_millis(200));
    let caller = PlainClient::new(caller);
    let (stop, mut stopped) = oneshot::channel::<()>();
    let url = server.url().to_owned();
    let serving = tokio::spawn(async move {
        let mut lost = 0;
        loop {
            let nats = async_nats::connect(&url).await.unwrap();
            let server = Server::new(nats).add_service(PlainServer::new(Impl));
            match server.serve_until(&mut stopped).await {
                Err(error) if *error.kind() == ServeErrorKind::ConnectionLost => {
                    assert!(error.connection_lost().is_some());
                    lost += 1;
                }
                ended => return ended.map(|()| lost),
            }
        }
    });
    for _ in 0..ROUNDS {
        let answered = async {
            while caller.echo(text("a")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon(answered).await;
        poison(&server, "con.echo");
    }
    let answered = async {
        while caller.echo(text("a")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(answered).await;
    stop.send(()).unwrap();
    assert_eq!(soon(serving).await??, ROUNDS);
    Ok(())
}

/// A loop connects again then too.
#[tokio::test]
async fn a_connection_that_is_lost_before_the_start_is_lost() -> TestResult {
    let server = NatsServer::start().await?;
    let nats = server.connect().await?;
    nats.drain().await?;
    soon(async {
        while nats.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let serving = Server::new(nats)
        .add_service(PlainServer::new(Impl))
        .serve_until(std::future::pending::<()>());
    let error = soon(serving).await.unwrap_err();
    assert_eq!(*error.kind(), ServeErrorKind::ConnectionLost);
    assert!(error.connection_lost().is_some());
    Ok(())
}

#[tokio::test]
async fn a_signal_ends_a_start_that_hangs() -> TestResult {
    let server = NatsServer::start().await?;
    let nats = server.connect().await?;
    server.pause()?;
    let serving = Server::new(nats)
        .add_service(PlainServer::new(Impl))
        .serve_until(tokio::time::sleep(Duration::from_millis(100)));
    soon(serving).await?;
    server.resume()?;
    Ok(())
}

#[tokio::test]
async fn a_client_knows_that_its_connection_is_lost() -> TestResult {
    let server = NatsServer::start().await?;
    let (running, _service) = start(&server).await;
    let nats = server.connect().await?;
    let client = Client::new(nats.clone())
        .with_jetstream(jetstream::new(nats.clone()))
        .with_timeout(Duration::from_secs(60));
    let con = ConClient::new(client.clone());
    assert_eq!(client.state(), ConnectionState::Connected);
    let mut ticks = soon(con.tick(text("a"))).await?;
    soon(ticks.next()).await.unwrap()?;
    let hanging = tokio::spawn({
        let con = con.clone();
        async move { con.hang(text("a")).await }
    });
    let mut messages = nats.subscribe("poison").await?;
    natsmicro_tests::common::synced(&nats).await;
    poison(&server, "poison");
    soon(client.closed()).await;
    assert_eq!(client.state(), ConnectionState::Closed);
    assert!(soon(messages.next()).await.is_none());
    // What waits, what is open and what comes later: all end at once.
    let waited = soon(hanging).await?.unwrap_err();
    assert_eq!(waited.code(), &Code::Unavailable, "{waited}");
    let open = soon(async {
        loop {
            match ticks.next().await {
                Some(Ok(_)) => {}
                end => break end,
            }
        }
    })
    .await;
    assert_eq!(open.unwrap().unwrap_err().code(), &Code::Unavailable);
    let later = soon(con.echo(text("a"))).await.unwrap_err();
    assert_eq!(later.code(), &Code::Unavailable, "{later}");
    let later = soon(con.tick(text("a"))).await.map(drop).unwrap_err();
    assert_eq!(later.code(), &Code::Unavailable, "{later}");
    drop(running);
    Ok(())
}
