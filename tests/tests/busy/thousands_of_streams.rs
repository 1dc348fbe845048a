//! Thousands of streams on one endpoint.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use natsmicro::Status;

use natsmicro_tests::common::{PATIENCE, soon};
use natsmicro_tests::streams::{Fixture, range};

use crate::alone;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_streams() {
    const STREAMS: usize = 5000;
    let _alone = alone().await;
    let mut fixture = Fixture::start().await;
    let opening = (0..STREAMS).map(|_| {
        let client = fixture.client.clone();
        async move {
            let mut stream = client.feed(range(1, 0)).await?;
            stream.message().await?;
            Ok::<_, Status>(stream)
        }
    });
    let streams = futures::stream::iter(opening)
        .buffer_unordered(500)
        .collect::<Vec<_>>();
    let streams = tokio::time::timeout(Duration::from_secs(30), streams)
        .await
        .unwrap();
    let streams: Vec<_> = streams.into_iter().map(Result::unwrap).collect();
    assert_eq!(streams.len(), STREAMS);
    // All are alive after the time in which a silent one is taken for dead, and calls are answered.
    for _ in 0..80 {
        let ping = fixture.client.ping(range(0, 0)).with_timeout(PATIENCE);
        soon(ping.into_future()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut streams = streams;
    for stream in &mut streams {
        let more = stream.next().now_or_never();
        assert!(more.is_none(), "{more:?}");
    }
    drop(streams);
    for _ in 0..STREAMS {
        soon(fixture.dropped.recv()).await.unwrap();
    }
}
