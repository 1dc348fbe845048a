//! An operator pauses the consumers of a bucket: the server still sends heartbeats, and no changes.

use futures::TryStreamExt;
use natsmicro_tests::persistence::{Nats, TestResult, eventually};

use super::{cached, store, value};

#[tokio::test]
async fn a_cache_goes_on() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a.1", &value(1)).await?;
    for pattern in [">", "a.*"] {
        let cache = store.cached().with_pattern(pattern).await?;
        let stream = nats.js.get_stream("KV_profiles").await?;
        let consumers: Vec<String> = stream.consumer_names().try_collect().await?;
        for consumer in consumers {
            let request = format!("$JS.API.CONSUMER.PAUSE.KV_profiles.{consumer}");
            let until = r#"{"pause_until": "2100-01-01T00:00:00Z"}"#;
            let answer = nats.nats.request(request, until.into()).await?;
            let text = String::from_utf8_lossy(&answer.payload).into_owned();
            assert!(text.contains(r#""paused":true"#), "{text}");
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
