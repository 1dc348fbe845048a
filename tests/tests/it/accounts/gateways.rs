//! A service in one cluster, and its callers in another one that is connected to it by gateways.

use natsmicro::testing::NatsServer;
use natsmicro_tests::accounts::{accounts, connect};
use natsmicro_tests::common::{Nats, discover};
use natsmicro_tests::linked::{across, gateways, reached, streams_pass};
use natsmicro_tests::streams::{Fixture, range};

#[tokio::test]
async fn calls_streams_and_discovery_pass() {
    let builder = NatsServer::builder().jetstream(false);
    let (east, west) = gateways(&builder).await;
    let service = east.connect().await.unwrap();
    let mut fixture = across(east, service, &west).await;
    streams_pass(&mut fixture).await;
    let info = discover(&fixture.nats.caller, "$SRV.INFO.Streams", 1).await;
    assert_eq!(info[0]["endpoints"][0]["subject"], "s.count");
}

#[tokio::test]
async fn streams_pass_between_accounts() {
    let builder = NatsServer::builder().jetstream(false);
    let (east, west) = gateways(&builder.config(accounts("stream"))).await;
    let nats = Nats {
        service: connect(&east, "service").await,
        caller: connect(&west, "caller").await,
        server: east,
    };
    let mut fixture = Fixture::on(nats).await;
    reached(async || fixture.client.ping(range(0, 0)).await).await;
    streams_pass(&mut fixture).await;
}
