//! An entry that expires by itself over an older one, which then is the newest again.

use std::time::Duration;

use async_nats::jetstream::kv;
use natsmicro::store::KvCache;
use natsmicro_tests::persistence::{Nats, Saved, TestResult, eventually};

use super::{cached, put_with_header, store_with, value};

async fn comes_back(cache: &KvCache<Saved>, key: &str, n: u64) {
    eventually("the older value is back", || async {
        (cached(cache, key) == Some(n)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cache_has_the_older_value() -> TestResult {
    let nats = Nats::start().await;
    let config = kv::Config {
        history: 5,
        ..kv::Config::default()
    };
    let store = store_with(&nats, config).await;
    let mut config = nats.stream_config("KV_profiles").await;
    config.allow_message_ttl = true;
    nats.js.update_stream(config).await?;
    for key in ["value", "deleted", "replaced"] {
        store.put(key, &value(1)).await?;
    }
    let cache = store.cached().await?;
    put_with_header(&nats, "value", 2, ("Nats-TTL", "2s")).await;
    put_with_header(&nats, "alone", 2, ("Nats-TTL", "2s")).await;
    put_with_header(&nats, "replaced", 2, ("Nats-TTL", "2s")).await;
    let headers = async_nats::HeaderMap::from_iter([
        ("Nats-TTL".parse()?, "2s".parse()?),
        ("KV-Operation".parse()?, "DEL".parse()?),
    ]);
    let subject = "$KV.profiles.deleted";
    let marker = nats.js.publish_with_headers(subject, headers, "".into());
    let marked = marker.await?.await?.sequence;
    cache.wait_for(marked).await?;
    assert_eq!(
        (cached(&cache, "value"), cached(&cache, "deleted")),
        (Some(2), None)
    );
    assert_eq!(cached(&cache, "alone"), Some(2));
    store.put("replaced", &value(3)).await?;
    comes_back(&cache, "value", 1).await;
    comes_back(&cache, "deleted", 1).await;
    assert_eq!(store.get("value").await?, Some(value(1)));
    assert_eq!(cached(&cache, "alone"), None);
    assert_eq!(cached(&cache, "replaced"), Some(3));
    // It is not in doubt for ever.
    eventually("the cache agrees with the bucket", || async {
        (cache.status().age < Duration::from_secs(1)).then_some(())
    })
    .await;
    Ok(())
}
