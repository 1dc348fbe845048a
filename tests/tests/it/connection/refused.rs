//! What NATS refuses is an error with the subject, where the events of the connection are there.

use std::time::{Duration, Instant};

use natsmicro::{Client, Code, Server, StartErrorKind};
use natsmicro_tests::common::{TestResult, soon, text};

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
