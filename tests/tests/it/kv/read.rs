//! What a Key-Value bucket holds: keys, revisions, and what the server says of it.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::kv;
use futures::{StreamExt, TryStreamExt};
use natsmicro::store::{Entry, Operation, Storage, StoreErrorKind};
use natsmicro::{KvStore, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};

#[natsmicro::service]
pub trait Profiles {
    #[kv_store(bucket = "profiles", key = "user.<key>", client_only)]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

async fn store(nats: &Nats) -> KvStore<Saved> {
    let config = kv::Config {
        bucket: "profiles".to_owned(),
        description: "of the users".to_owned(),
        history: 5,
        max_age: Duration::from_secs(3600),
        max_value_size: 4096,
        compression: true,
        ..kv::Config::default()
    };
    nats.js.create_key_value(config).await.unwrap();
    ProfilesClient::new(nats.client()).save_kv()
}

fn value(n: u64) -> Saved {
    Save::number("", n).saved()
}

async fn history(store: &KvStore<Saved>, key: &str) -> Vec<Entry<Saved>> {
    let revisions = store.history(key).await.unwrap();
    revisions.try_collect().await.unwrap()
}

async fn keys(store: &KvStore<Saved>, pattern: &str) -> Vec<String> {
    let keys = store.keys(pattern).await.unwrap();
    keys.try_collect().await.unwrap()
}

#[tokio::test]
async fn every_revision_that_is_kept() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    assert!(history(&store, "a").await.is_empty());
    let mut revisions = Vec::new();
    for n in 0..7 {
        revisions.push(store.put("a", &value(n)).await?);
        store.put("b", &value(100)).await?;
    }
    let kept = history(&store, "a").await;
    let kept_revisions: Vec<_> = kept.iter().map(|entry| entry.revision).collect();
    assert_eq!(kept_revisions, revisions[2..]);
    for (entry, n) in kept.iter().zip(2..) {
        assert_eq!((entry.key.as_str(), &entry.value), ("a", &Some(value(n))));
    }

    for leader in [false, true] {
        let store = if leader {
            store.clone().with_leader_reads()
        } else {
            store.clone()
        };
        let third = store.entry_at("a", revisions[3]).await?.unwrap();
        assert_eq!(
            (third.value, third.revision),
            (Some(value(3)), revisions[3])
        );
        assert_eq!(store.get("a").await?, Some(value(6)));
        assert_eq!(store.get("nobody").await?, None);
        // No longer kept, of another key, not yet written, of no key at all.
        for revision in [revisions[0], revisions[3] + 1, 1_000, 0] {
            assert_eq!(store.entry_at("a", revision).await?, None, "{revision}");
        }
    }

    store.delete("a").await?;
    let kept = history(&store, "a").await;
    let last = kept.last().unwrap();
    assert_eq!((last.operation, &last.value), (Operation::Delete, &None));
    let deleted = store.entry_at("a", last.revision).await?.unwrap();
    assert_eq!(&deleted, last);
    store.purge("a").await?;
    let kept = history(&store, "a").await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].operation, Operation::Purge);
    for key in ["", "a.*", ">", "a b"] {
        let error = store.history(key).await.unwrap_err();
        assert_eq!(error.kind(), &StoreErrorKind::InvalidKey, "{key:?}");
        let error = store.entry_at(key, 1).await.unwrap_err();
        assert_eq!(error.kind(), &StoreErrorKind::InvalidKey, "{key:?}");
    }
    Ok(())
}

#[tokio::test]
async fn keys_that_have_a_value() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    assert!(keys(&store, ">").await.is_empty());
    for key in ["a", "b.1", "b.2", "c.1", "deleted", "purged"] {
        store.put(key, &value(1)).await?;
        store.put(key, &value(2)).await?;
    }
    store.delete("deleted").await?;
    store.purge("purged").await?;
    // Only the subject is read.
    nats.bucket("profiles")
        .await
        .put("odd", "\u{1}".into())
        .await?;
    assert_eq!(keys(&store, ">").await, ["a", "b.1", "b.2", "c.1", "odd"]);
    assert_eq!(keys(&store, "b.*").await, ["b.1", "b.2"]);
    assert_eq!(keys(&store, "*.1").await, ["b.1", "c.1"]);
    assert!(keys(&store, "nobody.>").await.is_empty());
    let error = store.keys("a>").await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::InvalidKey);
    Ok(())
}

/// More than are on their way at once, and a reader that has them come on demand.
#[tokio::test]
async fn many_keys() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let one = value(1);
    let names: Vec<_> = (0..3_000).map(|n| format!("key.{n}")).collect();
    let puts = names.iter().map(|name| store.put(name, &one));
    futures::stream::iter(puts)
        .buffer_unordered(500)
        .try_collect::<Vec<_>>()
        .await?;
    let mut found = keys(&store, ">").await;
    found.sort();
    let mut names = names;
    names.sort();
    assert_eq!(found, names);
    Ok(())
}

#[tokio::test]
async fn what_is_undecodable_comes_with_its_bytes() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &value(1)).await?;
    let raw = nats.bucket("profiles").await;
    let odd = raw.put("a", "\u{1}\u{2}\u{3}".into()).await?;
    store.put("a", &value(3)).await?;
    let kept: Vec<_> = store.history("a").await?.collect().await;
    assert_eq!(kept.len(), 3);
    let by_watch = kept[1].as_ref().unwrap_err();
    assert!(kept[0].is_ok() && kept[2].is_ok());
    let by_get = store.entry_at("a", odd).await.unwrap_err();
    for error in [by_watch, &by_get] {
        assert_eq!(error.kind(), &StoreErrorKind::Decode);
        let found = error.undecodable().unwrap();
        assert_eq!((found.key.as_str(), found.revision), ("a", odd));
        assert_eq!(&found.value[..], b"\x01\x02\x03");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_server_says_of_a_bucket() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let empty = store.status().await?;
    assert_eq!((empty.values, empty.bytes, empty.last_revision), (0, 0, 0));
    let last = {
        store.put("a", &value(1)).await?;
        store.put("a", &value(2)).await?
    };
    let status = store.status().await?;
    assert_eq!(status.bucket, "profiles");
    assert_eq!(status.description.as_deref(), Some("of the users"));
    assert_eq!((status.values, status.last_revision), (2, last));
    assert!(status.bytes > 0);
    assert_eq!(status.history, 5);
    assert_eq!(status.ttl, Some(Duration::from_secs(3600)));
    assert_eq!((status.allows_entry_ttl, status.marker_ttl), (false, None));
    assert!(status.is_compressed);
    assert_eq!((status.storage, status.replicas), (Storage::File, 1));
    assert_eq!(
        (status.max_bytes, status.max_value_size),
        (None, Some(4096))
    );
    assert_eq!(status.max_consumers, None);
    assert!(status.created <= SystemTime::now() + Duration::from_secs(1));

    store.delete_bucket().await?;
    assert!(!nats.has_stream("KV_profiles").await);
    for error in [
        store.status().await.err(),
        store.delete_bucket().await.err(),
        store.entry_at("a", 1).await.err(),
        store.keys(">").await.err(),
        store.history("a").await.err(),
        store.clone().with_leader_reads().get("a").await.err(),
    ] {
        assert_eq!(error.unwrap().kind(), &StoreErrorKind::BucketNotFound);
    }
    Ok(())
}

/// What was written is there after a restart, for handles from before.
#[tokio::test]
async fn a_restart_of_the_server() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let first = store.put("a", &value(1)).await?;
    store.put("a", &value(2)).await?;
    store.put("gone", &value(1)).await?;
    store.delete("gone").await?;
    nats.server.restart().await?;
    assert_eq!(store.get("a").await?, Some(value(2)));
    assert_eq!(store.get("gone").await?, None);
    let leader = store.clone().with_leader_reads();
    let before = leader.entry_at("a", first).await?.unwrap();
    assert_eq!(before.value, Some(value(1)));
    assert_eq!(history(&store, "a").await.len(), 2);
    assert_eq!(keys(&store, ">").await, ["a"]);
    let third = store.put("a", &value(3)).await?;
    assert_eq!(store.entry("a").await?.unwrap().revision, third);
    assert_eq!(store.status().await?.last_revision, third);
    Ok(())
}

/// A list that cannot be complete is an error, not a short list.
#[tokio::test]
async fn a_bucket_that_is_deleted_while_it_is_listed() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let one = value(1);
    let names: Vec<_> = (0..5_000).map(|n| format!("key.{n}")).collect();
    let puts = names.iter().map(|name| store.put(name, &one));
    futures::stream::iter(puts)
        .buffer_unordered(500)
        .try_collect::<Vec<_>>()
        .await?;
    let mut listed = store.keys(">").await?;
    listed.next().await.unwrap()?;
    store.delete_bucket().await?;
    let rest: Result<Vec<String>, _> = listed.try_collect().await;
    assert_eq!(rest.unwrap_err().kind(), &StoreErrorKind::BucketNotFound);
    Ok(())
}
