//! `natsmicro::testing`: what a server is started with, and what is said when it does not start.

#![cfg(unix)]

use std::env;
use std::fs;
use std::time::{Duration, Instant};

use async_nats::ConnectOptions;
use natsmicro::testing::{NatsCluster, NatsServer, NatsServerErrorKind};

type TestResult = Result<(), Box<dyn std::error::Error>>;

#[tokio::test]
async fn a_binary_that_ends_at_once_is_an_error_at_once() {
    let since = Instant::now();
    let error = NatsServer::builder()
        .binary("/bin/false")
        .start()
        .await
        .unwrap_err();
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
    assert_eq!(error.kind(), NatsServerErrorKind::Start);
    assert_eq!(
        error.to_string(),
        "nats-server did not start: `/bin/false` ended with exit status: 1 before it was ready; its log is empty"
    );
}

#[tokio::test]
async fn a_server_that_does_not_start_tells_why() {
    let error = NatsServer::builder()
        .config("max_payload: [")
        .start()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), NatsServerErrorKind::Start);
    assert!(
        error
            .to_string()
            .contains("the end of its log:\n    nats-server: Parse error on line"),
        "{error}"
    );

    let error = NatsServer::builder()
        .binary("/no/such/file")
        .start()
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`/no/such/file` ended with exit status: 127"),
        "{error}"
    );
    assert_eq!(
        format!("{error:?}"),
        error.to_string(),
        "`unwrap` shows the log as it is"
    );
}

#[tokio::test]
async fn the_builder_sets_the_server_up() -> TestResult {
    let server = NatsServer::builder()
        .jetstream(false)
        .max_payload(4096)
        .config("authorization { token: secret }")
        .start()
        .await?;

    let error = server.connect().await.unwrap_err();
    assert_eq!(error.kind(), NatsServerErrorKind::Connect);
    let client = server
        .connect_with(ConnectOptions::with_token("secret".into()))
        .await?;
    assert_eq!(client.server_info().max_payload, 4096);
    assert!(!client.server_info().jetstream);
    Ok(())
}

/// Setting an environment variable is `unsafe`, so another process has to do it.

#[tokio::test]
async fn a_cluster_of_one_is_refused() {
    let error = NatsCluster::start(1).await.unwrap_err();
    assert_eq!(error.kind(), NatsServerErrorKind::Start);
}

#[tokio::test]
async fn a_failed_start_leaves_nothing_behind() {
    const CONFIG: &str = "port: [ # left behind";
    let _ = NatsServer::builder()
        .config(CONFIG)
        .start()
        .await
        .unwrap_err();
    let left = fs::read_dir(env::temp_dir())
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("nats-server.conf")).ok())
        .any(|text| text.contains(CONFIG));
    assert!(!left);
}
