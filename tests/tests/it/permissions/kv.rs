//! The clients of Key-Value buckets: reading, following, and writing.

use std::time::Duration;

use async_nats::{ConnectOptions, jetstream};
use futures::{StreamExt, TryStreamExt};
use natsmicro::__private::permissions::{
    KV_COMPARE, KV_READ, KV_READ_LEADER, KV_READ_REVISION, KV_WATCH, KV_WATCH_PATTERNS, KV_WRITE,
};
use natsmicro::store::{StoreErrorKind, WatchEvent};
use natsmicro::testing::NatsServer;
use natsmicro::{Client, ConnectionEvents, KvStore};
use natsmicro_tests::common::{TestResult, Text, soon, synced, text};

use super::trial::{Run, Trial, outcome};
use super::writes::{BOXES, BoxesClient, make_buckets};

fn bucket(run: &Run) -> KvStore<Text> {
    BoxesClient::new(run.client()).later_kv()
}

/// A bucket with a key that has two revisions, and a deleted key.
async fn filled(trial: &Trial) {
    make_buckets(trial).await;
    let nats = trial.admin().await;
    let client = natsmicro::Client::new(nats.clone());
    let client = client.with_jetstream(async_nats::jetstream::new(nats));
    let store = BoxesClient::new(client).later_kv();
    for key in ["a.1", "a.2"] {
        store.put(key, &text(key)).await.unwrap();
    }
    store.put("a.3", &text("a.3")).await.unwrap();
    store.delete("a.3").await.unwrap();
}

#[tokio::test]
async fn reading_entries() {
    let trial = Trial::of(&[KV_READ], BOXES).await;
    filled(&trial).await;
    let read = async |run: &Run| {
        outcome(
            async {
                let store = bucket(run);
                assert_eq!(store.get("a.1").await?, Some(text("a.1")));
                assert_eq!(store.get("a.9").await?, None);
                assert!(store.entry("a.3").await?.is_some());
                Ok(())
            }
            .await,
        )
    };
    trial.run(read).await;
    trial
        .run_untold("<api>.DIRECT.GET.KV_<bucket>.$KV.<bucket>.>", read)
        .await;
}

#[tokio::test]
async fn reading_from_the_leader() {
    let trial = Trial::of(&[KV_READ_LEADER], BOXES).await;
    filled(&trial).await;
    let read = async |run: &Run| {
        let value = bucket(run).with_leader_reads().get("a.1").await;
        outcome(value.map(|value| assert_eq!(value, Some(text("a.1")))))
    };
    trial.run(read).await;
    trial
        .run_untold("<api>.STREAM.MSG.GET.KV_<bucket>", read)
        .await;
}

#[tokio::test]
async fn reading_revisions() {
    let trial = Trial::of(&[KV_READ_REVISION], BOXES).await;
    filled(&trial).await;
    let read = async |run: &Run| {
        let entry = bucket(run).entry_at("a.1", 1).await;
        outcome(entry.map(|entry| assert_eq!(entry.unwrap().value, Some(text("a.1")))))
    };
    trial.run(read).await;
    trial.run_untold("<api>.DIRECT.GET.KV_<bucket>", read).await;
}

#[tokio::test]
async fn watching_several_patterns() {
    let trial = Trial::of(&[KV_WATCH_PATTERNS], BOXES).await;
    filled(&trial).await;
    let watch = async |run: &Run| {
        outcome(
            async {
                let watch = bucket(run).watch("a.*").with_additional_pattern("b.*");
                let first = soon(watch.await?.next()).await.unwrap()?;
                assert!(matches!(first, WatchEvent::Entry(_)));
                Ok(())
            }
            .await,
        )
    };
    trial.run(watch).await;
    trial
        .run_untold("<api>.CONSUMER.CREATE.KV_<bucket>.*", watch)
        .await;
}

#[tokio::test]
async fn listing_keys_and_revisions() {
    let trial = Trial::of(&[KV_WATCH], BOXES).await;
    filled(&trial).await;
    let list = async |run: &Run| {
        outcome(
            async {
                let store = bucket(run);
                let mut keys: Vec<_> = store.keys("a.*").await?.try_collect().await?;
                keys.sort();
                assert_eq!(keys, ["a.1", "a.2"]);
                let revisions: Vec<_> = store.history("a.1").await?.try_collect().await?;
                assert_eq!(revisions.len(), 1);
                Ok(())
            }
            .await,
        )
    };
    trial.run(list).await;
    trial
        .run_untold("<api>.CONSUMER.CREATE.KV_<bucket>.*.$KV.<bucket>.>", list)
        .await;
}

#[tokio::test]
async fn watching() {
    let trial = Trial::of(&[KV_WATCH], BOXES).await;
    filled(&trial).await;
    trial
        .run(async |run| {
            outcome(
                async {
                    let mut watch = bucket(run).watch("a.>").await?;
                    let mut values = 0;
                    while let WatchEvent::Entry(_) = soon(watch.next()).await.unwrap()? {
                        values += 1;
                    }
                    assert_eq!(values, 2);
                    Ok(())
                }
                .await,
            )
        })
        .await;
}

#[tokio::test]
async fn caching() {
    let trial = Trial::of(&[KV_WATCH], BOXES).await;
    filled(&trial).await;
    let cache = async |run: &Run| {
        outcome(
            async {
                let cache = bucket(run).cached().await?;
                assert_eq!(cache.get("a.1")?.as_deref(), Some(&text("a.1")));
                Ok(())
            }
            .await,
        )
    };
    trial.run(cache).await;
    trial
        .run_untold("<api>.CONSUMER.MSG.NEXT.KV_<bucket>.*", cache)
        .await;
}

#[tokio::test]
async fn writing_entries() {
    let trial = Trial::of(&[KV_WRITE], BOXES).await;
    filled(&trial).await;
    let write = async |run: &Run| {
        outcome(
            async {
                let store = bucket(run);
                let revision = store.put("b.1", &text("one")).await?;
                store.update("b.1", &text("two"), revision).await?;
                store.delete("b.1").await?;
                store.purge("b.1").await
            }
            .await,
        )
    };
    trial.run(write).await;
    trial.run_untold("$KV.<bucket>.>", write).await;
}

#[tokio::test]
async fn creating_entries() {
    let trial = Trial::of(&[KV_COMPARE], BOXES).await;
    filled(&trial).await;
    let create = async |run: &Run| {
        outcome(
            async {
                let store = bucket(run);
                store.create("a.3", &text("again")).await?;
                store.delete("a.3").await
            }
            .await,
        )
    };
    trial.run(create).await;
    trial
        .run_untold("<api>.STREAM.MSG.GET.KV_<bucket>", create)
        .await;
}

/// With the reports of NATS it is known that nothing was refused, and a store that does not answer is slow.
#[tokio::test]
async fn a_timeout_is_explained_only_where_refusals_are_not_told() -> TestResult {
    let server = NatsServer::start().await?;
    let silent = server.connect().await?;
    let _requests = silent.subscribe("SILENT.>").await?;
    synced(&silent).await;
    for is_told in [true, false] {
        let events = ConnectionEvents::new();
        let options = ConnectOptions::new().event_callback(events.callback());
        let nats = server.connect_with(options).await?;
        let client = Client::new(nats.clone())
            .with_jetstream(jetstream::with_prefix(nats, "SILENT"))
            .with_timeout(Duration::from_millis(200));
        let client = match is_told {
            true => client.with_connection_events(events),
            false => client,
        };
        let error = BoxesClient::new(client).later_kv().get("a").await;
        let error = error.unwrap_err();
        assert_eq!(*error.kind(), StoreErrorKind::TimedOut, "{error}");
        let is_explained = error.to_string().contains("permissions");
        assert_eq!(is_explained, !is_told, "{error}");
    }
    Ok(())
}
