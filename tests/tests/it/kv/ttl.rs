//! Entries and markers that expire by themselves.

use std::time::Duration;

use async_nats::jetstream::kv;
use futures::StreamExt;
use natsmicro::store::{Operation, StoreErrorKind, WatchEvent};
use natsmicro::{KvStore, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually};

#[natsmicro::service]
pub trait Sessions {
    #[kv_store(bucket = "sessions", key = "<key>", client_only)]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

async fn store(nats: &Nats, history: i64, markers: Option<Duration>) -> KvStore<Saved> {
    let config = kv::Config {
        bucket: "sessions".to_owned(),
        history,
        limit_markers: markers,
        ..kv::Config::default()
    };
    nats.js.create_key_value(config).await.unwrap();
    SessionsClient::new(nats.client()).save_kv()
}

fn value(n: u64) -> Saved {
    Save::number("", n).saved()
}

async fn ttl_of(nats: &Nats, key: &str) -> Option<String> {
    nats.header("KV_sessions", &format!("$KV.sessions.{key}"), "Nats-TTL")
        .await
}

#[tokio::test]
async fn an_entry_expires() -> TestResult {
    let nats = Nats::start().await;
    let plain = store(&nats, 1, Some(HOUR)).await;
    let store = plain.clone().with_key_ttl(SECOND);
    let mut watch = plain.watch_all().with_updates_only().await?;
    store.put("put", &value(1)).await?;
    store.create("created", &value(1)).await?;
    let revision = plain.put("updated", &value(1)).await?;
    store.update("updated", &value(2), revision).await?;
    plain.put("stays", &value(1)).await?;
    // A key that was deleted or purged before is created anew, and expires all the same.
    for key in ["deleted", "purged"] {
        plain.put(key, &value(1)).await?;
    }
    plain.delete("deleted").await?;
    plain.purge("purged").await?;
    let mut last = 0;
    for key in ["deleted", "purged"] {
        last = store.create(key, &value(2)).await?;
        assert_eq!(ttl_of(&nats, key).await.as_deref(), Some("1"));
    }

    let mut expired = Vec::new();
    let expiries = async {
        while expired.len() < 5 {
            if let Some(Ok(WatchEvent::Entry(entry))) = watch.next().await
                && entry.revision > last
            {
                assert_eq!(entry.operation, Operation::Purge);
                expired.push(entry.key);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), expiries).await?;
    expired.sort();
    assert_eq!(expired, ["created", "deleted", "purged", "put", "updated"]);
    for key in &expired {
        assert_eq!(plain.get(key).await?, None, "{key}");
    }
    assert_eq!(plain.get("stays").await?, Some(value(1)));
    Ok(())
}

#[tokio::test]
async fn seconds_are_rounded_up() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, 1, Some(SECOND)).await;
    let odd = store.clone().with_key_ttl(Duration::from_millis(1_500));
    odd.put("a", &value(1)).await?;
    assert_eq!(ttl_of(&nats, "a").await.as_deref(), Some("2"));
    // A plain put has none, and takes away the one that was there.
    store.put("a", &value(2)).await?;
    assert_eq!(ttl_of(&nats, "a").await, None);
    let odd = store.with_purge_ttl(Duration::from_millis(2_001));
    odd.purge("a").await?;
    assert_eq!(ttl_of(&nats, "a").await.as_deref(), Some("3"));
    let revision = odd.put("b", &value(1)).await?;
    odd.purge_expect_revision("b", revision).await?;
    assert_eq!(ttl_of(&nats, "b").await.as_deref(), Some("3"));
    Ok(())
}

#[tokio::test]
async fn the_marker_of_a_purge_expires() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, 3, Some(SECOND)).await.with_purge_ttl(SECOND);
    store.put("a", &value(1)).await?;
    store.purge("a").await?;
    eventually("the marker is gone", || async {
        let gone = store.entry("a").await.unwrap().is_none();
        gone.then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_takes_no_ttls() -> TestResult {
    let nats = Nats::start().await;
    let plain = store(&nats, 1, None).await;
    plain.put("a", &value(1)).await?;
    let store = plain.clone().with_key_ttl(HOUR).with_purge_ttl(HOUR);
    for error in [
        store.put("a", &value(2)).await.err(),
        store.create("b", &value(2)).await.err(),
        store.update("a", &value(2), 1).await.err(),
        store.purge("a").await.err(),
    ] {
        let error = error.unwrap();
        assert_eq!(error.kind(), &StoreErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("`sessions`"), "{error}");
    }
    assert_eq!(plain.get("a").await?, Some(value(1)), "nothing was written");
    assert_eq!(plain.get("b").await?, None);

    // Somebody switches them on, and the handle notices.
    let mut config = nats.stream_config("KV_sessions").await;
    config.allow_message_ttl = true;
    nats.js.update_stream(&config).await?;
    store.put("a", &value(2)).await?;
    assert_eq!(ttl_of(&nats, "a").await.as_deref(), Some("3600"));
    Ok(())
}

#[tokio::test]
async fn a_ttl_that_would_bring_old_values_back_is_refused() -> TestResult {
    let nats = Nats::start().await;
    let plain = store(&nats, 3, Some(HOUR)).await;
    let revision = plain.put("a", &value(1)).await?;
    let store = plain.clone().with_key_ttl(HOUR);
    for error in [
        store.put("a", &value(2)).await.err(),
        store.update("a", &value(2), revision).await.err(),
        plain
            .clone()
            .with_key_ttl(Duration::from_millis(999))
            .create("b", &value(2))
            .await
            .err(),
    ] {
        assert_eq!(error.unwrap().kind(), &StoreErrorKind::Unsupported);
    }
    // Under a value that is created there is nothing.
    plain.delete("a").await?;
    store.create("a", &value(2)).await?;
    assert_eq!(ttl_of(&nats, "a").await.as_deref(), Some("3600"));
    Ok(())
}
