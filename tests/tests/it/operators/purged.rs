//! An operator purges the stream of a bucket, whole or in part: no message tells of that.

use std::time::{Duration, Instant};

use async_nats::jetstream::kv;
use futures::{StreamExt, TryStreamExt};
use natsmicro::store::{CacheEvent, CacheEvents};
use natsmicro_tests::persistence::{Nats, Saved, TestResult, eventually};

use super::{cached, put_with_header, removed, store, store_with, value};

async fn purge(nats: &Nats, subject: Option<&str>) {
    let stream = nats.js.get_stream("KV_profiles").await.unwrap();
    match subject {
        Some(subject) => stream.purge().filter(subject).await.unwrap(),
        None => stream.purge().await.unwrap(),
    };
}

/// Waits for the event that a key has no value any more.
async fn has_gone(events: &mut CacheEvents<Saved>, key: &str) {
    loop {
        if let Some(CacheEvent::Changed(entry)) = events.next().await
            && entry.key == key
            && entry.value.is_none()
        {
            return;
        }
    }
}

#[tokio::test]
async fn a_cache_lets_go_of_what_was_purged() -> TestResult {
    for history in [1, 5] {
        let nats = Nats::start().await;
        let config = kv::Config {
            history,
            ..kv::Config::default()
        };
        let store = store_with(&nats, config).await;
        for key in ["a", "b", "c.1", "c.2", "gone"] {
            store.put(key, &value(1)).await?;
        }
        store.delete("gone").await?;
        let cache = store.cached().await?;
        let part = store.cached().with_pattern("c.*").await?;
        let mut events = cache.subscribe();
        let mut of_part = part.subscribe();

        purge(&nats, Some("$KV.profiles.a")).await;
        removed(&mut events, vec!["a"]).await;
        assert_eq!((cached(&cache, "a"), cached(&cache, "b")), (None, Some(1)));

        // One goes and another comes, so that there are as many as before.
        purge(&nats, Some("$KV.profiles.c.1")).await;
        store.put("d", &value(1)).await?;
        store.put("c.3", &value(1)).await?;
        removed(&mut events, vec!["c.1"]).await;
        removed(&mut of_part, vec!["c.1"]).await;
        assert_eq!(
            (cached(&part, "c.1"), cached(&part, "c.3")),
            (None, Some(1))
        );

        purge(&nats, None).await;
        removed(&mut events, vec!["b", "c.2", "c.3", "d"]).await;
        removed(&mut of_part, vec!["c.2", "c.3"]).await;
        let status = cache.status();
        assert_eq!((status.entries, status.is_complete), (0, true));
        // It goes on.
        let revision = store.put("a", &value(2)).await?;
        cache.wait_for(revision).await?;
        assert_eq!(cached(&cache, "a"), Some(2));
    }
    Ok(())
}

/// Others write all the time, and what was purged is noticed nevertheless.
#[tokio::test]
async fn while_others_write() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &value(1)).await?;
    store.put("b.1", &value(1)).await?;
    let cache = store.cached().await?;
    let part = store.cached().with_pattern("b.>").await?;
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for n in 0.. {
            let key = format!("b.w.{}", n % 100);
            match n % 3 {
                0 => writer.delete(&key).await,
                _ => writer.put(&key, &value(n)).await.map(drop),
            }
            .unwrap();
        }
    });
    let (mut events, mut of_part) = (cache.subscribe(), part.subscribe());
    purge(&nats, Some("$KV.profiles.a")).await;
    purge(&nats, Some("$KV.profiles.b.1")).await;
    let within = Duration::from_secs(20);
    tokio::time::timeout(within, has_gone(&mut events, "a")).await?;
    tokio::time::timeout(within, has_gone(&mut of_part, "b.1")).await?;
    writing.abort();
    assert_eq!((cached(&cache, "a"), cached(&cache, "b.1")), (None, None));
    assert_eq!(cached(&part, "b.1"), None);
    Ok(())
}

/// A cache that holds a part of the keys knows as little of the others as before, and nothing wrong of those that it holds.
#[tokio::test]
async fn a_bounded_cache() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    for key in ["a", "b", "c"] {
        store.put(key, &value(1)).await?;
    }
    let cache = store.cached().with_max_entries(2).await?;
    assert_eq!(cached(&cache, "c"), Some(1));
    let mut events = cache.subscribe();
    purge(&nats, Some("$KV.profiles.c")).await;
    removed(&mut events, vec!["c"]).await;
    // There is room for all now.
    assert_eq!(
        (cached(&cache, "a"), cached(&cache, "b")),
        (Some(1), Some(1))
    );
    assert_eq!(cached(&cache, "c"), None);
    Ok(())
}

#[tokio::test]
async fn through_a_restart_of_the_server() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &value(1)).await?;
    let cache = store.cached().await?;
    purge(&nats, None).await;
    nats.server.kill()?;
    nats.server.restart().await?;
    eventually("the purged entry is gone", || async {
        matches!(cache.get("a"), Ok(None)).then_some(())
    })
    .await;
    Ok(())
}

/// A message of another client may replace all others of the stream.
#[tokio::test]
async fn a_rollup_of_the_whole_stream() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &value(1)).await?;
    store.put("b", &value(1)).await?;
    let cache = store.cached().await?;
    let mut events = cache.subscribe();
    put_with_header(&nats, "c", 3, ("Nats-Rollup", "all")).await;
    removed(&mut events, vec!["a", "b"]).await;
    assert_eq!(cached(&cache, "c"), Some(3));
    assert_eq!(store.get("a").await?, None);
    Ok(())
}

/// What expires by itself is no disagreement: the cache is not loaded again for it. What is purged meanwhile is one.
#[tokio::test]
async fn expiry_is_no_purge() -> TestResult {
    let nats = Nats::start().await;
    let config = kv::Config {
        max_age: Duration::from_secs(5),
        ..kv::Config::default()
    };
    let store = store_with(&nats, config).await;
    let cache = store
        .cached()
        .with_max_age(Duration::from_millis(500))
        .await?;
    let consumers = || async {
        let stream = nats.js.get_stream("KV_profiles").await.unwrap();
        let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
        names
    };
    let first = consumers().await;
    assert_eq!(first.len(), 1);
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for n in 0.. {
            writer.put(format!("k.{n}"), &value(n)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    eventually("entries expire", || async {
        (cache.status().entries > 10 && cached(&cache, "k.10").is_none()).then_some(())
    })
    .await;
    assert_eq!(consumers().await, first, "it was loaded again");
    store.put("purged", &value(1)).await?;
    purge(&nats, Some("$KV.profiles.purged")).await;
    // When it would have expired, there is nothing left to be noticed.
    eventually("the cache is loaded again", || async {
        (!consumers().await.contains(&first[0])).then_some(())
    })
    .await;
    assert_eq!(cached(&cache, "purged"), None);
    writing.abort();
    Ok(())
}

/// When the copy was found to agree with the bucket after the purge, it is without the entry.
#[tokio::test]
async fn the_age_is_that_of_the_copy() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    for max_age in [Duration::from_millis(100), Duration::from_secs(2)] {
        for _ in 0..5 {
            store.put("a", &value(1)).await?;
            let cache = store.cached().with_max_age(max_age).await?;
            purge(&nats, None).await;
            let purged = Instant::now();
            eventually("the purge shows", || async {
                let is_after = cache.status().age < purged.elapsed();
                let is_held = cached(&cache, "a").is_some();
                assert!(!(is_after && is_held), "{:?}", cache.status());
                (!is_held).then_some(())
            })
            .await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_status_tells_the_age() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &value(1)).await?;
    let cache = store.cached().with_max_age(Duration::from_secs(1)).await?;
    assert_eq!(cache.status().max_age, Duration::from_secs(1));
    assert_eq!(
        store.cached().await?.status().max_age,
        Duration::from_secs(5)
    );
    let least = store.cached().with_max_age(Duration::ZERO).await?;
    assert_eq!(least.status().max_age, Duration::from_millis(100));
    store.cached().with_max_age(Duration::MAX).await?;

    // It grows while the server is silent, though the connection seems to be there, and falls when it answers.
    nats.server.pause()?;
    eventually("it is too old", || async {
        (cache.status().age > cache.status().max_age).then_some(())
    })
    .await;
    nats.server.resume()?;
    eventually("it is young again", || async {
        (cache.status().age < cache.status().max_age).then_some(())
    })
    .await;
    Ok(())
}
