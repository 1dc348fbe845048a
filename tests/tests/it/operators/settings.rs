//! An operator changes the settings of a bucket that is in use.

use std::time::Duration;

use async_nats::jetstream::kv;
use async_nats::jetstream::stream::ConsumerLimits;
use futures::TryStreamExt;
use natsmicro::store::{StoreErrorKind, WatchEvent};
use natsmicro::{Code, Status};
use natsmicro_tests::persistence::watching::next;
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually};

use super::{cached, removed, store, store_with, value};

/// The bucket gets a TTL: what is older expires at once, and what is younger later, without a message.
#[tokio::test]
async fn a_cache_follows_a_new_ttl() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &value(1)).await?;
    let cache = store.cached().await?;
    let mut events = cache.subscribe();
    let mut config = nats.stream_config("KV_profiles").await;
    config.max_age = Duration::from_secs(3);
    config.duplicate_window = Duration::from_secs(1);
    nats.js.update_stream(&config).await?;
    removed(&mut events, vec!["a"]).await;
    assert_eq!(cached(&cache, "a"), None);
    // What is written from now on expires too.
    store.put("b", &value(1)).await?;
    removed(&mut events, vec!["b"]).await;
    assert_eq!(cached(&cache, "b"), None);
    eventually("the store lets go of it too", || async {
        store.get("b").await.unwrap().is_none().then_some(())
    })
    .await;

    config.max_age = Duration::ZERO;
    nats.js.update_stream(&config).await?;
    store.put("c", &value(1)).await?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(cached(&cache, "c"), Some(1), "it does not expire any more");
    eventually("the cache agrees with the bucket", || async {
        (cache.status().age < cache.status().max_age).then_some(())
    })
    .await;
    Ok(())
}

#[natsmicro::service]
pub trait Sessions {
    #[kv_store(
        bucket = "profiles",
        key = "<key>",
        key_ttl = "1m",
        persist = "before_response"
    )]
    async fn open(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Sessions for Echo {
    async fn open(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

async fn set_history(nats: &Nats, revisions: i64) {
    let mut config = nats.stream_config("KV_profiles").await;
    config.max_messages_per_subject = revisions;
    nats.js.update_stream(&config).await.unwrap();
}

/// Over an older value that the bucket keeps, an entry with a TTL would bring that one back.
#[tokio::test]
async fn a_service_follows_a_new_history() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.service().await.add_service(SessionsServer::new(Echo));
    let server = server.start().await?;
    let client = SessionsClient::new(nats.client());
    client.open(Save::number("a", 1)).await?;
    set_history(&nats, 5).await;
    let refused = eventually_with(async || client.open(Save::number("a", 2)).await.err()).await;
    assert_eq!(refused.code(), &Code::Unavailable);
    set_history(&nats, 1).await;
    eventually_with(async || client.open(Save::number("a", 3)).await.ok()).await;
    server.stop().await.unwrap_err();
    Ok(())
}

#[tokio::test]
async fn a_handle_follows_a_new_history() -> TestResult {
    let nats = Nats::start().await;
    let config = kv::Config {
        limit_markers: Some(Duration::from_secs(60)),
        ..kv::Config::default()
    };
    let store = store_with(&nats, config).await;
    let expiring = store.clone().with_key_ttl(Duration::from_secs(60));
    expiring.put("a", &value(1)).await?;
    set_history(&nats, 5).await;
    let refused = eventually_with(async || expiring.put("a", &value(2)).await.err()).await;
    assert_eq!(refused.kind(), &StoreErrorKind::Unsupported);
    set_history(&nats, 1).await;
    eventually_with(async || expiring.put("a", &value(2)).await.ok()).await;
    Ok(())
}

async fn eventually_with<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let since = std::time::Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "never");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Consumers may live for less time without requests than those of readers are made for.
#[tokio::test]
async fn readers_keep_to_the_limits_of_consumers() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &value(1)).await?;
    let mut config = nats.stream_config("KV_profiles").await;
    config.consumer_limits = Some(ConsumerLimits {
        inactive_threshold: Duration::from_secs(1),
        max_ack_pending: 10,
    });
    nats.js.update_stream(&config).await?;
    let keys: Vec<String> = store.keys(">").await?.try_collect().await?;
    assert_eq!(keys, ["a"]);
    let cache = store.cached().await?;
    let mut watch = store.watch_all().await?;
    assert!(matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "a"));
    assert!(matches!(next(&mut watch).await?, WatchEvent::EndOfInitial));
    // Longer than a consumer lives without a reader.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let revision = store.put("b", &value(2)).await?;
    cache.wait_for(revision).await?;
    assert_eq!(cached(&cache, "b"), Some(2));
    assert!(matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "b"));
    Ok(())
}
