//! An operator pauses the consumers of a bucket: the server still sends heartbeats, and no changes.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use natsmicro::store::WatchEvent;
use natsmicro_tests::persistence::{Nats, TestResult, eventually, watching};

use super::{cached, store, value};

async fn consumers(nats: &Nats) -> Vec<String> {
    let stream = nats.js.get_stream("KV_profiles").await.unwrap();
    stream.consumer_names().try_collect().await.unwrap()
}

async fn pause(nats: &Nats, consumer: &str) {
    let request = format!("$JS.API.CONSUMER.PAUSE.KV_profiles.{consumer}");
    let until = r#"{"pause_until": "2100-01-01T00:00:00Z"}"#;
    let answer = nats.nats.request(request, until.into()).await.unwrap();
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(text.contains(r#""paused":true"#), "{text}");
}

/// It learns of that when its request for changes expires.
#[tokio::test]
async fn a_watch_goes_on() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let mut watch = store.watch("a.*").with_updates_only().await?;
    assert_eq!(watching::next(&mut watch).await?, WatchEvent::EndOfInitial);
    for consumer in consumers(&nats).await {
        pause(&nats, &consumer).await;
    }
    store.put("a.1", &value(1)).await?;
    let next = tokio::time::timeout(Duration::from_secs(90), watch.next());
    let event = next.await?.expect("the watch goes on")?;
    assert!(matches!(event, WatchEvent::Entry(entry) if entry.key == "a.1"));
    store.put("a.2", &value(2)).await?;
    assert_eq!(watching::entry(&mut watch).await.key, "a.2");
    Ok(())
}

#[tokio::test]
async fn a_cache_goes_on() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a.1", &value(1)).await?;
    for pattern in [">", "a.*"] {
        let cache = store.cached().with_pattern(pattern).await?;
        for consumer in consumers(&nats).await {
            pause(&nats, &consumer).await;
        }
        store.put("a.1", &value(2)).await?;
        eventually("the new value is there", || async {
            (cached(&cache, "a.1") == Some(2)).then_some(())
        })
        .await;
        store.put("a.1", &value(1)).await?;
        eventually("the next one is there", || async {
            (cached(&cache, "a.1") == Some(1)).then_some(())
        })
        .await;
    }
    Ok(())
}
