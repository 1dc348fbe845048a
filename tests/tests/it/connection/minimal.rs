//! A service starts and serves with the fewest permissions, and stops without loss.

use async_nats::ConnectOptions;
use natsmicro::Server;
use natsmicro::testing::NatsServer;
use natsmicro_tests::common::{TestResult, discover, soon, text};

use super::{Impl, PlainClient, PlainServer, as_service, server_with, told};

/// What replies alone need.
const MINIMAL: &str =
    r#"subscribe: ["con.*", "$SRV.>", "_INBOX.>"], publish: { deny: ">" }, allow_responses: true"#;

async fn serves(server: &NatsServer, nats: async_nats::Client) -> TestResult {
    let running = soon(
        Server::new(nats)
            .add_service(PlainServer::new(Impl))
            .start(),
    )
    .await?;
    let caller = server.connect().await?;
    let client = PlainClient::new(caller.clone());
    for number in 0..100 {
        let request = text(number.to_string());
        assert_eq!(soon(client.echo(request.clone())).await?, request);
    }
    let info = soon(discover(&caller, "$SRV.INFO.Plain", 1)).await;
    assert_eq!(info[0]["name"], "Plain");
    soon(running.stop()).await?;
    Ok(())
}

#[tokio::test]
async fn a_service_that_may_publish_replies_alone() -> TestResult {
    let server = server_with(MINIMAL).await;
    serves(&server, server.connect_with(as_service()).await?).await
}

#[tokio::test]
async fn the_same_with_events_knows_at_once() -> TestResult {
    let server = server_with(MINIMAL).await;
    let (nats, events) = told(&server, as_service()).await;
    let starting = Server::new(nats)
        .with_connection_events(events)
        .add_service(PlainServer::new(Impl))
        .start();
    soon(soon(starting).await?.stop()).await?;
    Ok(())
}

#[tokio::test]
async fn a_service_on_a_connection_without_echo() -> TestResult {
    let server = NatsServer::start().await?;
    let options = ConnectOptions::new().no_echo();
    serves(&server, server.connect_with(options).await?).await
}

#[tokio::test]
async fn a_service_that_may_not_subscribe_to_its_inbox() -> TestResult {
    let permissions =
        r#"subscribe: ["con.*", "$SRV.>"], publish: { deny: ">" }, allow_responses: true"#;
    let server = server_with(permissions).await;
    serves(&server, server.connect_with(as_service()).await?).await
}

#[tokio::test]
async fn custom_inboxes_on_both_sides() -> TestResult {
    let permissions =
        r#"subscribe: ["con.*", "$SRV.>", "_INBOX_service.>"], publish: "_INBOX_caller.>""#;
    let server = server_with(permissions).await;
    let options = as_service().custom_inbox_prefix("_INBOX_service");
    let running = Server::new(server.connect_with(options).await?)
        .add_service(PlainServer::new(Impl))
        .start();
    let running = soon(running).await?;
    let options = ConnectOptions::new().custom_inbox_prefix("_INBOX_caller");
    let client = PlainClient::new(server.connect_with(options).await?);
    assert_eq!(soon(client.echo(text("a"))).await?, text("a"));
    soon(running.stop()).await?;
    Ok(())
}
