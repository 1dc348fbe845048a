//! An operator lets the stream of a bucket give other subjects to what comes to it, for a while.

use std::time::{Duration, Instant};

use async_nats::jetstream::stream::SubjectTransform;
use futures::{StreamExt, TryStreamExt};
use natsmicro::store::WatchEvent;
use natsmicro_tests::persistence::{Nats, TestResult, eventually};

use super::{cached, store, value};

/// What was stored under other subjects is not in the bucket, wherever it stands in the stream.
#[tokio::test]
async fn what_is_under_other_subjects_is_no_entry() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &value(1)).await?;
    let config = nats.stream_config("KV_profiles").await;
    let mut transformed = config.clone();
    transformed.subject_transform = Some(SubjectTransform {
        source: "$KV.profiles.>".to_owned(),
        destination: "$KV.other.>".to_owned(),
    });
    nats.js.update_stream(transformed).await?;
    for key in ["a", "b"] {
        let subject = format!("$KV.profiles.{key}");
        nats.js.publish(subject, "{}".into()).await?.await?;
    }
    nats.js.update_stream(config).await?;
    store.put("c", &value(3)).await?;

    let keys: Vec<String> = store.keys(">").await?.try_collect().await?;
    assert_eq!(keys, ["a", "c"]);
    let mut watch = store.watch_all().await?;
    let mut watched = Vec::new();
    while let Some(WatchEvent::Entry(entry)) = watch.next().await.transpose()? {
        watched.push(entry.key);
    }
    assert_eq!(watched, ["a", "c"]);
    let cache = store.cached().with_max_age(Duration::from_secs(1)).await?;
    let loaded_at = Instant::now();
    eventually("the cache agrees with the bucket", || async {
        let agreed_at = Instant::now().checked_sub(cache.status().age)?;
        (agreed_at > loaded_at).then_some(())
    })
    .await;
    assert_eq!(cache.status().entries, 2);
    assert_eq!(
        (cached(&cache, "a"), cached(&cache, "c")),
        (Some(1), Some(3))
    );
    Ok(())
}
