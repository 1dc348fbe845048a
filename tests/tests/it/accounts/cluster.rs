//! A service on one server of a cluster, and its callers on another one.

use natsmicro::testing::NatsServer;
use natsmicro_tests::accounts::{accounts, connect};
use natsmicro_tests::common::{Nats, soon};
use natsmicro_tests::linked::{cluster, reached, streams_pass};
use natsmicro_tests::streams::{Fixture, StreamsClient, range};

/// The NATS server of the service knows it when it has started, and the others a moment later.
#[tokio::test]
async fn calls_reach_a_service_that_has_just_started() {
    let (mut one, two) = cluster(&NatsServer::builder().jetstream(false)).await;
    let near = StreamsClient::new(one.connect().await.unwrap());
    let far = StreamsClient::new(two.connect().await.unwrap());
    for n in 0..20 {
        let nats = Nats {
            service: one.connect().await.unwrap(),
            caller: one.connect().await.unwrap(),
            server: one,
        };
        let fixture = Fixture::on(nats).await;
        let pong = soon(near.ping(range(n, 0))).await;
        assert_eq!(pong.unwrap(), range(n, 0));
        reached(async || far.ping(range(n, 0)).await).await;
        soon(fixture.server.stop()).await.unwrap();
        one = fixture.nats.server;
    }
}

#[tokio::test]
async fn streams_pass_between_accounts() {
    let builder = NatsServer::builder().jetstream(false);
    let (one, two) = cluster(&builder.config(accounts("stream"))).await;
    let nats = Nats {
        service: connect(&one, "service").await,
        caller: connect(&two, "caller").await,
        server: one,
    };
    let mut fixture = Fixture::on(nats).await;
    reached(async || fixture.client.ping(range(0, 0)).await).await;
    streams_pass(&mut fixture).await;
}
