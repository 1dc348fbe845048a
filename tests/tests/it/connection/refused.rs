//! What NATS refuses is an error with the subject, where the events of the connection are there.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures::StreamExt;
use natsmicro::store::{StoreErrorKind, WatchEvent};
use natsmicro::{Client, Code, Server, StartErrorKind};
use natsmicro_tests::common::{TestResult, soon, synced, text};
use natsmicro_tests::raw::RawPeer;

use super::{ConClient, Impl, PlainClient, PlainServer, as_service, server_with, told};

#[tokio::test]
async fn a_refused_subscription_fails_the_start() -> TestResult {
    for (permissions, refused) in [
        (r#"subscribe: ["$SRV.>", "_INBOX.>"]"#, vec!["con.echo"]),
        (
            r#"subscribe: ["con.*", "_INBOX.>"]"#,
            vec!["$SRV.PING", "$SRV.INFO", "$SRV.STATS", "$SRV.PING.Plain"],
        ),
        (
            r#"subscribe: { deny: ["con.echo"] }, publish: { deny: ">" }, allow_responses: true"#,
            vec!["con.echo"],
        ),
    ] {
        let server = server_with(permissions).await;
        let (nats, events) = told(&server, as_service()).await;
        let started = Server::new(nats)
            .with_connection_events(events)
            .add_service(PlainServer::new(Impl))
            .start();
        let error = soon(started).await.unwrap_err();
        assert_eq!(*error.kind(), StartErrorKind::PermissionDenied, "{error}");
        for subject in refused {
            let named = format!("`{subject}`");
            assert!(error.to_string().contains(&named), "{subject}: {error}");
        }
    }
    Ok(())
}

/// NATS tells nobody else. The service is not in discovery, and answers.
#[tokio::test]
async fn without_events_a_service_without_discovery_serves() -> TestResult {
    let server = server_with(r#"subscribe: ["con.*", "_INBOX.>"]"#).await;
    let running = Server::new(server.connect_with(as_service()).await?)
        .add_service(PlainServer::new(Impl))
        .start();
    let running = soon(running).await?;
    let client = PlainClient::new(server.connect().await?);
    assert_eq!(soon(client.echo(text("a"))).await?, text("a"));
    soon(running.stop()).await?;
    Ok(())
}

#[tokio::test]
async fn a_refused_call_fails_at_once() -> TestResult {
    let server = server_with(r#"publish: ["other"], subscribe: "_INBOX.>""#).await;
    let (nats, events) = told(&server, as_service()).await;
    let client = Client::new(nats)
        .with_connection_events(events)
        .with_timeout(Duration::from_secs(60));
    let client = ConClient::new(client);
    let begin = Instant::now();
    for _ in 0..20 {
        let status = soon(client.echo(text("a"))).await.unwrap_err();
        assert_eq!(status.code(), &Code::PermissionDenied);
        assert!(
            status.message().contains("publish to `con.echo`"),
            "{status}"
        );
    }
    let status = soon(client.tick(text("a"))).await.unwrap_err();
    assert_eq!(status.code(), &Code::PermissionDenied);
    assert!(
        status.message().contains("publish to `con.tick`"),
        "{status}"
    );
    assert!(begin.elapsed() < Duration::from_secs(10));
    Ok(())
}

#[tokio::test]
async fn a_caller_without_an_inbox_fails_at_once() -> TestResult {
    let server = server_with(r#"publish: "con.>", subscribe: "other""#).await;
    let (nats, events) = told(&server, as_service()).await;
    let client = Client::new(nats)
        .with_connection_events(events)
        .with_timeout(Duration::from_secs(60));
    let client = ConClient::new(client);
    // The refusal is met anew, and not waited for after the first one.
    for _ in 0..3 {
        let status = soon(client.echo(text("a"))).await.unwrap_err();
        assert_eq!(status.code(), &Code::PermissionDenied);
        assert!(
            status.message().contains("subscribe to `_INBOX."),
            "{status}"
        );
    }
    let status = soon(client.tick(text("a"))).await.unwrap_err();
    assert_eq!(status.code(), &Code::PermissionDenied);
    assert!(
        status.message().contains("subscribe to `_INBOX."),
        "{status}"
    );
    Ok(())
}

#[tokio::test]
async fn a_caller_without_events_is_told_what_may_be_missing() -> TestResult {
    let server = server_with(r#"publish: ["other"], subscribe: "_INBOX.>""#).await;
    let client = Client::new(server.connect_with(as_service()).await?)
        .with_timeout(Duration::from_millis(300));
    let client = ConClient::new(client);
    for status in [
        client.echo(text("a")).await.unwrap_err(),
        client.tick(text("a")).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), &Code::DeadlineExceeded);
        for hint in [
            "permission to publish",
            "`_INBOX.>`",
            "with_connection_events",
        ] {
            assert!(status.message().contains(hint), "{hint}: {status}");
        }
    }
    Ok(())
}

/// The service may send one message to its caller, and no second one: its handler ends, and the caller does not wait for the heartbeats
/// that are missing.
#[tokio::test]
async fn a_stream_whose_messages_are_refused_ends() -> TestResult {
    let permissions = r#"subscribe: ["con.*", "$SRV.>", "_INBOX.>"], publish: "other", allow_responses: { max: 1 }"#;
    let server = server_with(permissions).await;
    let (nats, events) = told(&server, as_service()).await;
    let running = Server::new(nats)
        .with_connection_events(events)
        .add_service(PlainServer::new(Impl))
        .start();
    let running = soon(running).await?;
    let client = PlainClient::new(server.connect().await?);
    let opened = soon(client.tick(text("a"))).await;
    soon(async {
        while running.stats()[0].endpoints[1].last_error.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let error = running.stats()[0].endpoints[1].last_error.clone();

    assert!(error.contains("publish to `_INBOX."), "{error}");
    drop(opened);
    soon(running.stop()).await?;
    Ok(())
}

/// The user `service` is permitted what the guide lists for a watch, and the connection is interrupted twice where nothing comes.
#[tokio::test]
async fn a_watch_survives_interruptions_with_the_permissions_of_the_guide() -> TestResult {
    let permissions = r#"subscribe: "_INBOX.>", publish: [
        "$JS.API.STREAM.INFO.KV_con", "$JS.API.CONSUMER.CREATE.KV_con.*.$KV.con.>", "$JS.API.CONSUMER.MSG.NEXT.KV_con.*",
        "$JS.API.CONSUMER.INFO.KV_con.*", "$JS.API.CONSUMER.DELETE.KV_con.*"]"#;
    let server = server_with(permissions).await;
    let caller = server.connect().await?;
    let caller = Client::new(caller.clone()).with_jetstream(jetstream::new(caller));
    let store = ConClient::new(caller).save_kv();
    soon(store.create_bucket()).await?;
    soon(store.put("a", &text("1"))).await?;
    let (nats, events) = told(&server, as_service()).await;
    let client = Client::new(nats.clone())
        .with_jetstream(jetstream::new(nats.clone()))
        .with_connection_events(events);
    let mut watch = soon(ConClient::new(client).save_kv().watch_all()).await?;
    for _ in ["the value", "the end of the initial values"] {
        soon(watch.next()).await.unwrap()?;
    }
    // Polled all the time, so that it finds out what the connection has come to.
    let item = tokio::spawn(async move { watch.next().await });
    for _ in 0..3 {
        let before = nats.statistics().connects.load(Ordering::Relaxed);
        server.kill()?;
        server.restart().await?;
        soon(async {
            while nats.statistics().connects.load(Ordering::Relaxed) == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        // The watch looks at its connection every half second.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    soon(store.put("b", &text("1"))).await?;
    assert!(matches!(soon(item).await?, Some(Ok(WatchEvent::Entry(entry))) if entry.key == "b"));
    Ok(())
}

/// A reader that may not look at the entry does not interrupt its connection for ever.
#[tokio::test]
async fn a_watch_that_may_not_pass_over_an_entry_ends() -> TestResult {
    let server = server_with(r#"publish: { deny: "$JS.API.STREAM.MSG.GET.>" }"#).await;
    let (nats, events) = told(&server, as_service()).await;
    let client = Client::new(nats.clone())
        .with_jetstream(jetstream::new(nats))
        .with_connection_events(events);
    let store = ConClient::new(client).save_kv();
    soon(store.create_bucket()).await?;
    let entry = b"HPUB $KV.con.p 22 22\r\nNATS/1.0\r\nno colon\r\n\r\n\r\n";
    RawPeer::connect(server.url()).write_and_close(entry);
    let mut watch = soon(store.watch_all()).await?;
    let error = soon(watch.next()).await.unwrap().unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::PermissionDenied, "{error}");
    assert!(
        error.to_string().contains("STREAM.MSG.GET.KV_con"),
        "{error}"
    );
    Ok(())
}

/// Somebody else uses the connection too, and subscribes to what it may not.
#[tokio::test]
async fn the_refused_inbox_of_somebody_else_fails_nothing() -> TestResult {
    let server = server_with(r#"subscribe: { deny: "_INBOX.forbidden.>" }"#).await;
    let (nats, events) = told(&server, as_service()).await;
    let client = Client::new(nats.clone())
        .with_jetstream(jetstream::new(nats.clone()))
        .with_connection_events(events);
    let _foreign = nats.subscribe("_INBOX.forbidden.a").await?;
    synced(&nats).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let store = ConClient::new(client).save_kv();
    soon(store.create_bucket()).await?;
    let revision = soon(store.put("a", &text("1"))).await?;
    assert!(soon(store.entry_at("a", revision)).await?.is_some());
    let keys: Vec<_> = soon(store.keys(">").await?.collect()).await;
    assert_eq!(keys.len(), 1);
    Ok(())
}

/// NATS ends the subscription, and makes it not again when it is permitted again.
#[tokio::test]
async fn a_subscription_that_is_refused_later_is_in_the_health() -> TestResult {
    let server = server_with(r#"publish: ">""#).await;
    let (nats, events) = told(&server, as_service()).await;
    let running = Server::new(nats)
        .with_connection_events(events)
        .add_service(PlainServer::new(Impl))
        .start();
    let running = soon(running).await?;
    assert!(running.health().live && running.health().ready);
    let pid = server.pid().unwrap().to_string();
    let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    let mut arguments = arguments.split('\0').skip_while(|it| *it != "--config");
    let config = arguments.nth(1).unwrap();
    let text = std::fs::read_to_string(config)?;
    let denied = text.replace(r#"publish: ">""#, r#"subscribe: { deny: "con.echo" }"#);
    assert_ne!(text, denied);
    std::fs::write(config, denied)?;
    let told = std::process::Command::new("kill")
        .args(["-HUP", &pid])
        .status()?;
    assert!(told.success());
    let health = soon(async {
        loop {
            let health = running.health();
            if !health.ready {
                break health;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(!health.live);
    assert!(health.reasons[0].contains("`con.echo`"), "{health:?}");
    Ok(())
}
