//! A local copy of a Key-Value bucket.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::kv;
use futures::{FutureExt, StreamExt, TryStreamExt};
use natsmicro::store::{CacheEvent, CacheEvents, KvCache, Operation, StoreErrorKind};
use natsmicro::{KvStore, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually};
use prost::Message as _;

#[natsmicro::service]
pub trait Profiles {
    #[kv_store(bucket = "profiles", key = "user.<key>", client_only)]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

async fn store(nats: &Nats) -> KvStore<Saved> {
    store_with(nats, kv::Config::default()).await
}

async fn store_with(nats: &Nats, config: kv::Config) -> KvStore<Saved> {
    let config = kv::Config {
        bucket: "profiles".to_owned(),
        ..config
    };
    nats.js.create_key_value(config).await.unwrap();
    ProfilesClient::new(nats.client()).save_kv()
}

fn value(n: u64) -> Saved {
    Save::number("", n).saved()
}

fn cached(cache: &KvCache<Saved>, key: &str) -> Option<u64> {
    cache.get(key).unwrap().map(|value| value.n)
}

async fn event(events: &mut CacheEvents<Saved>) -> CacheEvent<Saved> {
    let event = tokio::time::timeout(Duration::from_secs(15), events.next());
    let event = event.await.expect("an event").expect("the cache is there");
    assert!(!matches!(event, CacheEvent::Missed(_)), "none is missed");
    event
}

#[tokio::test]
async fn a_copy_that_follows() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &value(1)).await?;
    store.put("gone", &value(1)).await?;
    store.delete("gone").await?;
    let cache = store.cached().await?;
    assert_eq!(cached(&cache, "a"), Some(1));
    assert_eq!(cached(&cache, "gone"), None);
    assert_eq!(cached(&cache, "b"), None);
    let mut events = cache.subscribe();

    let revision = store.put("b", &value(2)).await?;
    cache.wait_for(revision).await?;
    assert_eq!(cached(&cache, "b"), Some(2));
    let entry = cache.entry("b")?.unwrap();
    assert_eq!(
        (entry.revision, entry.operation),
        (revision, Operation::Put)
    );
    // The revision is good for an update.
    let revision = store.update("b", &value(3), entry.revision).await?;
    cache.wait_for(revision).await?;
    let status = cache.status();
    assert_eq!(
        (status.revision, status.entries, status.behind),
        (revision, 2, 0)
    );
    assert!(status.is_complete);
    assert!(status.age < Duration::from_secs(10));
    let mut entries = cache.entries();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].value.as_deref(), Some(&value(3)));

    store.delete("a").await?;
    store.purge("b").await?;
    store.delete("never").await?;
    let last = store.put("c", &value(4)).await?;
    cache.wait_for(last).await?;
    assert_eq!((cached(&cache, "a"), cached(&cache, "b")), (None, None));
    for (key, operation) in [
        ("b", Operation::Put),
        ("b", Operation::Put),
        ("a", Operation::Delete),
        ("b", Operation::Purge),
        ("never", Operation::Delete),
        ("c", Operation::Put),
    ] {
        let CacheEvent::Changed(entry) = event(&mut events).await else {
            panic!("no change");
        };
        assert_eq!((entry.key.as_str(), entry.operation), (key, operation));
    }
    Ok(())
}

#[tokio::test]
async fn an_empty_bucket_and_a_missing_one() -> TestResult {
    let nats = Nats::start().await;
    let missing = ProfilesClient::new(nats.client()).save_kv();
    let error = missing.cached().await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::BucketNotFound);
    let store = store(&nats).await;
    let error = store.cached().with_pattern("a b").await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::InvalidKey);
    let cache = store.cached().await?;
    assert_eq!(cached(&cache, "a"), None);
    assert_eq!(cache.status().entries, 0);
    let revision = store.put("a", &value(1)).await?;
    cache.wait_for(revision).await?;
    assert_eq!(cached(&cache, "a"), Some(1));
    Ok(())
}

#[tokio::test]
async fn a_part_of_a_bucket() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    for key in ["user.1", "user.2", "team.1"] {
        store.put(key, &value(1)).await?;
    }
    let users = store.cached().with_pattern("user.*").await?;
    assert_eq!(cached(&users, "user.1"), Some(1));
    assert_eq!(cached(&users, "user.3"), None);
    for key in ["team.1", "user", "user.1.2"] {
        let error = users.get(key).unwrap_err();
        assert_eq!(error.kind(), &StoreErrorKind::NotCached, "{key}");
    }

    // The two that were written last, whichever keys these are.
    let newest = store.cached().with_max_entries(2).await?;
    assert!(!newest.status().is_complete);
    assert_eq!(cached(&newest, "user.2"), Some(1));
    assert_eq!(cached(&newest, "team.1"), Some(1));
    let error = newest.get("user.1").unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::NotCached);
    let revision = store.put("user.1", &value(2)).await?;
    newest.wait_for(revision).await?;
    assert_eq!(cached(&newest, "user.1"), Some(2));
    assert!(newest.get("user.2").is_err());
    assert_eq!(newest.status().entries, 2);
    Ok(())
}

/// Whoever follows the events has all that the bucket has, also where the cache has no room for it.
#[tokio::test]
async fn changes_of_what_is_not_held() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("old", &value(1)).await?;
    let cache = store.cached().with_max_entries(1).await?;
    assert!(cache.status().is_complete);
    let mut events = cache.subscribe();
    store.put("a", &value(1)).await?;
    store.put("b", &value(1)).await?;
    store.delete("a").await?;
    store.purge("old").await?;
    store.delete("never").await?;
    store.delete("b").await?;
    for (key, operation) in [
        ("a", Operation::Put),
        ("b", Operation::Put),
        ("a", Operation::Delete),
        ("old", Operation::Purge),
        ("never", Operation::Delete),
        ("b", Operation::Delete),
    ] {
        let CacheEvent::Changed(entry) = event(&mut events).await else {
            panic!("no change");
        };
        assert_eq!((entry.key.as_str(), entry.operation), (key, operation));
        assert_eq!(entry.value.is_some(), operation == Operation::Put);
    }
    let status = cache.status();
    assert_eq!((status.entries, status.is_complete), (0, false));
    let error = cache.get("a").unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::NotCached);
    // A new look finds that there is room for all.
    let again = store.cached().with_max_entries(1).await?;
    assert!(again.status().is_complete);
    assert_eq!(cached(&again, "a"), None);
    Ok(())
}

#[tokio::test]
async fn what_is_undecodable() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let raw = nats.bucket("profiles").await;
    let odd = raw.put("a", "\u{1}\u{2}\u{3}".into()).await?;
    let cache = store.cached().await?;
    for error in [cache.get("a").unwrap_err(), cache.entry("a").unwrap_err()] {
        assert_eq!(error.kind(), &StoreErrorKind::Decode);
        let found = error.undecodable().unwrap();
        assert_eq!((found.key.as_str(), found.revision), ("a", odd));
        assert_eq!(&found.value[..], b"\x01\x02\x03");
    }
    let mut events = cache.subscribe();
    let repaired = store.put("a", &value(1)).await?;
    cache.wait_for(repaired).await?;
    assert_eq!(cached(&cache, "a"), Some(1));
    raw.put("a", "\u{1}\u{2}\u{3}".into()).await?;
    event(&mut events).await;
    assert!(matches!(
        event(&mut events).await,
        CacheEvent::Undecodable { key, .. } if key == "a"
    ));
    Ok(())
}

/// A bucket without markers says nothing of what expires, and one with them does.
#[tokio::test]
async fn what_expires() -> TestResult {
    for markers in [None, Some(Duration::from_secs(60))] {
        let nats = Nats::start().await;
        let store = store_with(
            &nats,
            kv::Config {
                max_age: Duration::from_secs(2),
                limit_markers: markers,
                ..kv::Config::default()
            },
        )
        .await;
        store.put("a", &value(1)).await?;
        let cache = store.cached().await?;
        let mut events = cache.subscribe();
        let revision = store.put("b", &value(1)).await?;
        cache.wait_for(revision).await?;
        assert_eq!(cached(&cache, "b"), Some(1));
        let mut expired = Vec::new();
        while expired.len() < 2 {
            if let CacheEvent::Changed(entry) = event(&mut events).await
                && entry.value.is_none()
            {
                assert_eq!(entry.operation, Operation::Purge);
                assert_eq!(cached(&cache, &entry.key), None);
                expired.push(entry.key);
            }
        }
        expired.sort();
        assert_eq!(expired, ["a", "b"]);
        assert_eq!(cache.status().entries, 0);
        // Each is told of once, whether the server's marker comes first or the clock here.
        let last = store.put("c", &value(1)).await?;
        let CacheEvent::Changed(entry) = event(&mut events).await else {
            panic!("no change");
        };
        assert_eq!((entry.key.as_str(), entry.revision), ("c", last));
    }
    Ok(())
}

/// What another client has written may have a TTL in each form that nats-server takes.
#[tokio::test]
async fn what_expires_by_itself() -> TestResult {
    let without_ttl = [("stays", "never"), ("seconds", "1"), ("duration", "1.5s")];
    let with_ttl = [("stays", "never"), ("longer", "1h0m0s"), ("shorter", "1s")];
    for (ttl, entries) in [(0, without_ttl), (2, with_ttl)] {
        let nats = Nats::start().await;
        let config = kv::Config {
            max_age: Duration::from_secs(ttl),
            ..kv::Config::default()
        };
        let store = store_with(&nats, config).await;
        let mut config = nats.stream_config("KV_profiles").await;
        config.allow_message_ttl = true;
        nats.js.update_stream(config).await?;
        let cache = store.cached().await?;
        let mut events = cache.subscribe();
        for (key, ttl) in entries {
            let headers = HeaderMap::from_iter([("Nats-TTL".parse()?, ttl.parse()?)]);
            let subject = format!("$KV.profiles.{key}");
            let payload = value(1).encode_to_vec().into();
            let written = nats.js.publish_with_headers(subject, headers, payload);
            written.await?.await?;
        }
        for _ in 0..2 {
            let key = loop {
                if let CacheEvent::Changed(entry) = event(&mut events).await
                    && entry.value.is_none()
                {
                    break entry.key;
                }
            };
            eventually("the store lets go of it too", async || {
                store.get(&key).await.unwrap().is_none().then_some(())
            })
            .await;
        }
        assert_eq!(cached(&cache, "stays"), Some(1));
        assert_eq!(cache.status().entries, 1);
        assert_eq!(store.get("stays").await?, Some(value(1)));
    }
    Ok(())
}

#[tokio::test]
async fn a_restart_of_the_server() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &value(1)).await?;
    let cache = store.cached().await?;
    nats.server.kill()?;
    assert_eq!(cached(&cache, "a"), Some(1), "the last known state");
    nats.server.restart().await?;
    eventually("the store answers", || async { store.get("a").await.ok() }).await;
    let revision = store.put("a", &value(2)).await?;
    cache.wait_for(revision).await?;
    assert_eq!(cached(&cache, "a"), Some(2));
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_goes_and_comes() -> TestResult {
    let nats = Nats::start().await;
    let first = store(&nats).await;
    first.put("a", &value(1)).await?;
    let cache = first.cached().await?;
    let mut events = cache.subscribe();
    first.delete_bucket().await?;
    assert!(matches!(event(&mut events).await, CacheEvent::Cleared));
    let error = cache.get("a").unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::BucketNotFound);
    assert!(!cache.status().is_complete);
    let second = store(&nats).await;
    second.put("b", &value(2)).await?;
    while !matches!(event(&mut events).await, CacheEvent::Loaded) {}
    eventually("the new entry is there", || async {
        (cached(&cache, "b") == Some(2)).then_some(())
    })
    .await;
    assert_eq!(cached(&cache, "a"), None);
    assert!(cache.status().is_complete);
    Ok(())
}

#[tokio::test]
async fn the_task_ends_with_the_last_clone() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let consumers = || async {
        let stream = nats.js.get_stream("KV_profiles").await.unwrap();
        stream.cached_info().state.consumer_count
    };
    let cache = store.cached().await?;
    let clone = cache.clone();
    drop(cache);
    let revision = store.put("a", &value(1)).await?;
    clone.wait_for(revision).await?;
    assert_eq!(consumers().await, 1);
    let mut events = clone.subscribe();
    drop(clone);
    eventually("the consumer is gone", || async {
        (consumers().await == 0).then_some(())
    })
    .await;
    assert!(events.next().await.is_none());
    Ok(())
}

/// A slow subscriber has 1,024 events to read, and is told how many it has missed.
#[tokio::test]
async fn events_are_kept_up_to_a_bound() -> TestResult {
    const WRITES: u64 = 1_500;
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let cache = store.cached().await?;
    let mut events = cache.subscribe();
    let writes = (1..=WRITES).map(|n| {
        let store = store.clone();
        async move { store.put(n.to_string(), &value(n)).await }
    });
    let revisions = futures::stream::iter(writes).buffered(64);
    let revisions: Vec<u64> = revisions.try_collect().await?;
    cache.wait_for(*revisions.iter().max().unwrap()).await?;
    let Some(CacheEvent::Missed(missed)) = events.next().await else {
        panic!("more came than are kept");
    };
    assert_eq!(missed, WRITES - 1_024);
    for _ in 0..1_024 {
        event(&mut events).await;
    }
    assert!(events.next().now_or_never().is_none());
    Ok(())
}
