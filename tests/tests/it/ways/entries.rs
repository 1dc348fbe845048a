//! Key-Value buckets.

use std::time::Duration;

use async_nats::jetstream::kv;
use futures::TryStreamExt;
use natsmicro::store::{StoreErrorKind, WatchEvent};
use natsmicro_tests::persistence::watching::next;
use natsmicro_tests::persistence::{Save, Saved, TestResult, eventually};

use crate::ways::Way;

fn value(n: u64) -> Saved {
    Save::number("", n).saved()
}

/// The bucket where it is.
async fn home(way: &Way) -> kv::Store {
    way.home.get_key_value("goods").await.unwrap()
}

pub async fn are_read_and_written(way: &Way) -> TestResult {
    let store = way.goods().put_kv();
    store.create_bucket().await?;
    let home = home(way).await;

    let first = store.create("a", &value(1)).await?;
    assert_eq!(home.entry("a").await?.unwrap().revision, first);
    let again = store.create("a", &value(1)).await.unwrap_err();
    assert_eq!(*again.kind(), StoreErrorKind::AlreadyExists, "{again}");
    let second = store.update("a", &value(2), first).await?;
    let stale = store.update("a", &value(3), first).await.unwrap_err();
    assert_eq!(*stale.kind(), StoreErrorKind::WrongRevision, "{stale}");
    assert_eq!(home.entry("a").await?.unwrap().revision, second);
    let third = store.put("b", &value(3)).await?;

    for store in [store.clone(), store.clone().with_leader_reads()] {
        assert_eq!(store.get("a").await?, Some(value(2)));
        assert_eq!(store.get("none").await?, None);
        let found = store.entry_at("b", third).await?;
        assert_eq!(found.map(|entry| entry.value), Some(Some(value(3))));
        assert!(store.entry_at("a", third).await?.is_none());
    }
    let mut keys: Vec<String> = store.keys(">").await?.try_collect().await?;
    keys.sort();
    assert_eq!(keys, ["a", "b"]);
    let history: Vec<_> = store.history("b").await?.try_collect().await?;
    assert_eq!(history.len(), 1);
    assert_eq!(store.status().await?.values, 2);

    let wrong = store.delete_expect_revision("a", first).await.unwrap_err();
    assert_eq!(*wrong.kind(), StoreErrorKind::WrongRevision, "{wrong}");
    store.delete_expect_revision("a", second).await?;
    assert_eq!(home.get("a").await?, None);
    assert_eq!(store.get("a").await?, None);
    store.purge("b").await?;
    assert_eq!(home.get("b").await?, None);
    store.create("a", &value(4)).await?;
    assert_eq!(store.get("a").await?, Some(value(4)));
    store.delete_bucket().await?;
    assert!(way.home.get_key_value("goods").await.is_err());
    Ok(())
}

pub async fn are_watched_and_cached(way: &Way) -> TestResult {
    let store = way.goods().put_kv();
    store.create_bucket().await?;
    store.put("a", &value(1)).await?;
    let cache = store.cached().await?;
    let mut watch = store.watch(">").with_deletes().await?;
    assert!(matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "a"));
    assert!(matches!(next(&mut watch).await?, WatchEvent::EndOfInitial));

    let revision = store.put("b", &value(2)).await?;
    cache.wait_for(revision).await?;
    assert_eq!(cache.get("b")?.as_deref(), Some(&value(2)));
    assert!(matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "b"));

    // One who is at home.
    let revision = home(way).await.put("c", prost(&value(3))).await?;
    cache.wait_for(revision).await?;
    assert_eq!(cache.get("c")?.as_deref(), Some(&value(3)));
    assert!(
        matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.revision == revision)
    );
    store.delete("a").await?;
    assert!(
        matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "a" && entry.value.is_none())
    );

    // What no message announces.
    way.home.get_stream("KV_goods").await?.purge().await?;
    eventually("the cache is empty", || async {
        cache.get("b").unwrap().is_none().then_some(())
    })
    .await;
    assert!(cache.status().is_complete);
    Ok(())
}

fn prost(value: &Saved) -> bytes::Bytes {
    prost::Message::encode_to_vec(value).into()
}

/// An entry with a TTL of its own, and the marker of its purge.
pub async fn expire(way: &Way) -> TestResult {
    let store = way.goods().put_kv();
    store.create_bucket().await?;
    let brief = store.clone().with_key_ttl(Duration::from_secs(1));
    brief.put("put", &value(1)).await?;
    brief.create("created", &value(2)).await?;
    let revision = store.put("updated", &value(3)).await?;
    brief.update("updated", &value(4), revision).await?;
    store.put("stays", &value(5)).await?;
    assert_eq!(store.get("created").await?, Some(value(2)));
    eventually("the entries expire", || async {
        let keys: Vec<String> = store.keys(">").await.unwrap().try_collect().await.unwrap();
        (keys == ["stays"]).then_some(())
    })
    .await;
    let purging = store.clone().with_purge_ttl(Duration::from_secs(1));
    purging.purge("stays").await?;
    let stream = way.home.get_stream("KV_goods").await?;
    eventually("the marker expires", || async {
        let newest = stream.get_last_raw_message_by_subject("$KV.goods.stays");
        newest.await.is_err().then_some(())
    })
    .await;
    Ok(())
}
