//! What a watch begins with, what it goes through, and how it ends.

use std::time::Duration;

use async_nats::jetstream::kv;
use futures::{StreamExt, TryStreamExt};
use natsmicro::store::{Operation, StoreErrorKind, Watch, WatchEvent};
use natsmicro::{KvStore, Status};
use natsmicro_tests::persistence::watching::{entry, next};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually};

#[natsmicro::service]
pub trait Profiles {
    #[kv_store(bucket = "profiles", key = "user.<key>", client_only)]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

async fn store(nats: &Nats, history: i64) -> KvStore<Saved> {
    create(nats, history).await;
    ProfilesClient::new(nats.client()).save_kv()
}

async fn create(nats: &Nats, history: i64) {
    let config = kv::Config {
        bucket: "profiles".to_owned(),
        history,
        limit_markers: Some(Duration::from_secs(3600)),
        ..kv::Config::default()
    };
    nats.js.create_key_value(config).await.unwrap();
}

fn value(n: u64) -> Saved {
    Save::number("", n).saved()
}

async fn revision(watch: &mut Watch<Saved>) -> u64 {
    entry(watch).await.revision
}

/// The revisions before the end of the initial part.
async fn initial(watch: &mut Watch<Saved>) -> Vec<u64> {
    let mut revisions = Vec::new();
    while let WatchEvent::Entry(entry) = next(watch).await.unwrap() {
        revisions.push(entry.revision);
    }
    revisions
}

#[tokio::test]
async fn what_comes_before_the_changes() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, 5).await;
    let a1 = store.put("a", &value(1)).await?;
    let a2 = store.put("a", &value(2)).await?;
    let b1 = store.put("b", &value(1)).await?;
    store.delete("b").await?;
    let b2 = store.entry("b").await?.unwrap().revision;
    let c1 = store.put("c", &value(1)).await?;

    let mut values = store.watch_all().await?;
    assert_eq!(initial(&mut values).await, [a2, c1]);
    let mut deletes = store.watch_all().with_deletes().await?;
    assert_eq!(initial(&mut deletes).await, [a2, b2, c1]);
    let mut history = store.watch_all().with_history().await?;
    assert_eq!(initial(&mut history).await, [a1, a2, b1, b2, c1]);
    let mut later = store.watch_all().with_history_from(b1).await?;
    assert_eq!(initial(&mut later).await, [b1, b2, c1]);
    let mut future = store.watch_all().with_history_from(c1 + 1).await?;
    assert!(initial(&mut future).await.is_empty());
    let mut updates = store.watch_all().with_updates_only().await?;
    assert!(initial(&mut updates).await.is_empty());
    let mut two = store
        .watch("a")
        .with_additional_pattern("c.>")
        .with_additional_pattern("c")
        .await?;
    assert_eq!(initial(&mut two).await, [a2, c1]);

    let a3 = store.put("a", &value(3)).await?;
    for watch in [
        &mut values,
        &mut deletes,
        &mut history,
        &mut later,
        &mut future,
        &mut updates,
        &mut two,
    ] {
        assert_eq!(revision(watch).await, a3);
    }
    store.delete("c").await?;
    for watch in [&mut values, &mut updates, &mut two] {
        assert_eq!(entry(watch).await.operation, Operation::Delete);
    }
    Ok(())
}

#[tokio::test]
async fn the_initial_part_ends_when_its_last_entries_expire() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, 1).await;
    let short = store.clone().with_key_ttl(Duration::from_secs(1));
    let one = value(1);
    // More than a watch reads ahead, so that the last ones expire on the server.
    let keys: Vec<_> = (0..2_000).map(|n| format!("key.{n}")).collect();
    let puts = keys.iter().map(|key| store.put(key, &one));
    futures::stream::iter(puts)
        .buffered(500)
        .try_collect::<Vec<_>>()
        .await?;
    short.put("short.1", &one).await?;
    let mut watch = store.watch_all().await?;
    entry(&mut watch).await;
    // All that is still to come goes away, with and without a marker.
    let stream = nats.js.get_stream("KV_profiles").await?;
    stream.purge().filter("$KV.profiles.key.>").await?;
    eventually("the last entry has expired", || async {
        store.get("short.1").await.unwrap().is_none().then_some(())
    })
    .await;
    let mut read = 1;
    while let WatchEvent::Entry(_) = next(&mut watch).await? {
        read += 1;
    }
    assert!(
        read < 2_000,
        "{read} were read, so that nothing was missing"
    );
    let last = store.put("last", &one).await?;
    while revision(&mut watch).await != last {}
    Ok(())
}

/// The server restarts while the initial part is being read: nothing is repeated, and no superseded revision comes up.
#[tokio::test]
async fn a_restart_in_the_initial_part() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, 5).await;
    let (one, two) = (value(1), value(2));
    let keys: Vec<_> = (0..2_000).map(|n| format!("key.{n}")).collect();
    for value in [&one, &two] {
        let puts = keys.iter().map(|key| store.put(key, value));
        futures::stream::iter(puts)
            .buffered(500)
            .try_collect::<Vec<_>>()
            .await?;
    }
    let mut watch = store.watch_all().await?;
    let mut history = store.watch_all().with_history().await?;
    let mut updates = store.watch_all().with_updates_only().await?;
    let first = entry(&mut watch).await;
    assert_eq!(first.value.as_ref(), Some(&two));
    assert_eq!(revision(&mut history).await, 1);
    nats.server.restart().await?;
    eventually("the store answers", || async {
        store.get("key.0").await.ok()
    })
    .await;
    let three = value(3);
    let newest = store.put("key.1999", &three).await?;

    let mut last = first.revision;
    let mut values = std::collections::HashMap::from([(first.key, first.value)]);
    while last < newest {
        if let WatchEvent::Entry(entry) = next(&mut watch).await? {
            assert!(entry.revision > last, "in order and once");
            assert_ne!(entry.value.as_ref(), Some(&one), "an old revision");
            last = entry.revision;
            values.insert(entry.key, entry.value);
        }
    }
    assert_eq!(values.len(), 2_000);
    let mut expected = 2;
    while expected <= newest {
        if let WatchEvent::Entry(entry) = next(&mut history).await? {
            assert_eq!(entry.revision, expected);
            expected += 1;
        }
    }
    assert_eq!(initial(&mut updates).await, [0; 0]);
    assert_eq!(revision(&mut updates).await, newest);
    Ok(())
}

/// A reader that is slower than the writer loses nothing, and has at most a window of what is written in memory.
#[tokio::test]
async fn a_slow_reader() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, 1).await;
    let mut watch = store.watch_all().await?;
    assert!(initial(&mut watch).await.is_empty());
    let one = value(1);
    let keys: Vec<_> = (0..5_000).map(|n| format!("key.{n}")).collect();
    let puts = keys.iter().map(|key| store.put(key, &one));
    let mut written: Vec<u64> = futures::stream::iter(puts)
        .buffered(500)
        .try_collect()
        .await?;
    written.sort_unstable();
    let stream = nats.js.get_stream("KV_profiles").await?;
    let consumer = stream.consumers().next().await.unwrap()?;
    assert!(consumer.num_pending >= 3_000, "{}", consumer.num_pending);
    // What is not deleted, since the process has died, the server removes.
    assert_eq!(consumer.config.inactive_threshold, Duration::from_secs(60));
    let mut read = Vec::new();
    while read.len() < written.len() {
        read.push(revision(&mut watch).await);
    }
    assert!(read == written, "in order, and all of them");
    Ok(())
}

#[tokio::test]
async fn values_larger_than_all_that_is_asked_for_at_once() -> TestResult {
    let server = natsmicro::testing::NatsServer::builder()
        .max_payload(8 << 20)
        .start()
        .await?;
    let nats = Nats::of(server).await;
    let store = store(&nats, 1).await;
    let large = Save::new("", "x".repeat(7 << 20)).saved();
    for key in ["a", "b", "c"] {
        store.put(key, &large).await?;
    }
    let mut watch = store.watch_all().await?;
    for key in ["a", "b", "c"] {
        let entry = entry(&mut watch).await;
        assert_eq!(
            (entry.key.as_str(), entry.value.as_ref()),
            (key, Some(&large))
        );
    }
    assert_eq!(next(&mut watch).await?, WatchEvent::EndOfInitial);
    Ok(())
}

#[tokio::test]
async fn a_deleted_bucket_is_the_end() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, 1).await;
    store.put("a", &value(1)).await?;
    let mut read = store.watch_all().await?;
    initial(&mut read).await;
    let mut unread = store.watch_all().await?;
    store.delete_bucket().await?;
    let error = next(&mut read).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::BucketNotFound);
    assert!(error.to_string().contains("`profiles`"), "{error}");
    assert!(read.next().await.is_none());

    // Another one under its name is not the one that was watched.
    create(&nats, 1).await;
    store.put("b", &value(1)).await?;
    let mut end = None;
    while let Some(event) = unread.next().await {
        match event {
            Ok(WatchEvent::Entry(entry)) => assert_eq!(entry.key, "a"),
            Ok(_) => {}
            Err(error) => end = Some(*error.kind()),
        }
    }
    assert_eq!(end, Some(StoreErrorKind::BucketNotFound));
    Ok(())
}

/// Without a word of the server, as in a cluster that has moved the consumer.
#[tokio::test]
async fn a_consumer_that_is_taken_away() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, 1).await;
    let mut watch = store.watch_all().await?;
    assert!(initial(&mut watch).await.is_empty());
    let stream = nats.js.get_stream("KV_profiles").await?;
    for n in 0..3 {
        let name = stream.consumer_names().next().await.unwrap()?;
        stream.delete_consumer(&name).await?;
        let written = store.put("a", &value(n)).await?;
        assert_eq!(revision(&mut watch).await, written);
    }
    drop(watch);
    eventually("no consumer is left behind", || async {
        let left = stream.get_info().await.unwrap().state.consumer_count;
        (left == 0).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn bad_patterns_are_refused() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, 1).await;
    let error = store
        .watch("a")
        .with_additional_pattern("b>")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::InvalidKey);
    let error = store
        .watch("a.*")
        .with_additional_pattern("a.b")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::Nats, "they overlap: {error}");
    Ok(())
}
