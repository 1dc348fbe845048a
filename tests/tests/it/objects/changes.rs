//! Object Stores whose server restarts, whose objects expire, and that are emptied by others.

use std::time::Duration;

use async_nats::jetstream::object_store;
use futures::TryStreamExt;
use natsmicro::store::{Entry, ObjectInfo, Operation, StoreErrorKind, Watch, WatchEvent};
use natsmicro::{ObjectStore, Status};
use natsmicro_tests::persistence::watching::next;
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually};

#[natsmicro::service]
pub trait Reports {
    #[object_store(bucket = "reports", key = "report.<key>", client_only)]
    async fn report(&self, request: Save) -> Result<Saved, Status>;
}

async fn store(nats: &Nats, max_age: Duration) -> ObjectStore<Saved> {
    let config = object_store::Config {
        bucket: "reports".to_owned(),
        max_age,
        ..object_store::Config::default()
    };
    nats.js.create_object_store(config).await.unwrap();
    ReportsClient::new(nats.client()).report_object_store()
}

/// One of several chunks.
fn report(n: u64) -> Saved {
    Save {
        n,
        ..Save::new("", "x".repeat(300_000))
    }
    .saved()
}

async fn names(store: &ObjectStore<Saved>) -> Vec<String> {
    let listed: Vec<Entry<ObjectInfo>> = store.list().await.unwrap().try_collect().await.unwrap();
    listed.into_iter().map(|object| object.key).collect()
}

/// The next change: name and revision.
async fn change(watch: &mut Watch<ObjectInfo>) -> (String, u64) {
    let WatchEvent::Entry(entry) = next(watch).await.unwrap() else {
        panic!("no change")
    };
    (entry.key, entry.revision)
}

#[tokio::test]
async fn an_empty_bucket() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, Duration::ZERO).await;
    assert_eq!(store.get("a").await?, None);
    assert_eq!(store.info("a").await?, None);
    assert!(store.reader("a").await?.is_none());
    store.delete("a").await?;
    assert!(names(&store).await.is_empty());
    assert_eq!(store.status().await?.values, 0);
    Ok(())
}

#[tokio::test]
async fn a_restart_of_the_server() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, Duration::ZERO).await;
    let first = store.put("a", &report(1)).await?;
    let mut watch = store.watch().await?;
    assert_eq!(change(&mut watch).await, ("a".to_owned(), first));
    assert_eq!(next(&mut watch).await?, WatchEvent::EndOfInitial);
    for n in 2..5 {
        nats.server.restart().await?;
        assert_eq!(store.get("a").await?, Some(report(n - 1)));
        let revision = store.put("a", &report(n)).await?;
        // Neither a gap nor a repetition.
        assert_eq!(change(&mut watch).await, ("a".to_owned(), revision));
    }
    assert_eq!(names(&store).await, ["a"]);
    Ok(())
}

/// The chunks of an object expire before its metadata: what is between is no object, and then there is none.
#[tokio::test]
async fn an_object_that_expires() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, Duration::from_secs(1)).await;
    store.put("a", &report(1)).await?;
    assert_eq!(store.get("a").await?, Some(report(1)));
    eventually("the object is gone", async || match store.get("a").await {
        Ok(Some(found)) => {
            assert_eq!(found, report(1));
            None
        }
        Ok(None) => Some(()),
        Err(error) => {
            assert_eq!(error.kind(), &StoreErrorKind::Incomplete);
            None
        }
    })
    .await;
    assert_eq!(store.info("a").await?, None);
    assert!(names(&store).await.is_empty());
    let mut watch = store.watch().await?;
    assert_eq!(next(&mut watch).await?, WatchEvent::EndOfInitial);
    store.put("a", &report(2)).await?;
    assert_eq!(change(&mut watch).await.0, "a");
    Ok(())
}

/// An operator has limit markers written, which say in place of the metadata of an object that it has expired.
#[tokio::test]
async fn an_object_that_expires_with_a_marker() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, Duration::from_secs(1)).await;
    let stream = nats.js.get_stream("OBJ_reports").await?;
    let mut config = stream.cached_info().config.clone();
    config.allow_message_ttl = true;
    config.subject_delete_marker_ttl = Some(Duration::from_secs(3600));
    nats.js.update_stream(config).await?;
    let mut watch = store.watch().await?;
    assert_eq!(next(&mut watch).await?, WatchEvent::EndOfInitial);
    let revision = store.put("a b", &report(1)).await?;
    assert_eq!(change(&mut watch).await, ("a b".to_owned(), revision));
    let WatchEvent::Entry(marker) = next(&mut watch).await? else {
        panic!("no change")
    };
    assert_eq!((&*marker.key, &marker.value), ("a b", &None));
    assert_eq!(marker.operation, Operation::Purge);
    assert_eq!(store.get("a b").await?, None);
    assert_eq!(store.info("a b").await?, None);
    assert!(store.reader("a b").await?.is_none());
    assert!(names(&store).await.is_empty());
    store.delete("a b").await?;
    store.put("a b", &report(2)).await?;
    assert_eq!(change(&mut watch).await.0, "a b");
    Ok(())
}

/// As `nats stream purge` does it, which nothing announces.
#[tokio::test]
async fn a_bucket_that_is_emptied() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, Duration::ZERO).await;
    store.put("a", &report(1)).await?;
    let mut watch = store.watch().await?;
    change(&mut watch).await;
    assert_eq!(next(&mut watch).await?, WatchEvent::EndOfInitial);
    nats.js.get_stream("OBJ_reports").await?.purge().await?;
    assert_eq!(store.get("a").await?, None);
    assert!(names(&store).await.is_empty());
    let revision = store.put("a", &report(2)).await?;
    assert_eq!(change(&mut watch).await, ("a".to_owned(), revision));
    assert_eq!(store.get("a").await?, Some(report(2)));
    Ok(())
}

/// Whoever may write metadata must not have a service delete the chunks of all objects.
#[tokio::test]
async fn an_id_that_stands_for_all_objects() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats, Duration::ZERO).await;
    store.put("other", &report(1)).await?;
    for id in [">", "*", "a.b", ""] {
        let name = "forged";
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE, name);
        let meta = serde_json::json!({
            "name": name, "bucket": "reports", "nuid": id, "size": 10, "chunks": 1,
        });
        let subject = format!("$O.reports.M.{encoded}");
        nats.js
            .publish(subject.clone(), meta.to_string().into())
            .await?
            .await?;
        let read = store.get(name).await.unwrap_err();
        assert_eq!(*read.kind(), StoreErrorKind::Incomplete, "{id}: {read}");
        store.put(name, &report(2)).await?;
        assert_eq!(store.get(name).await?, Some(report(2)), "{id}");
        nats.js
            .publish(subject, meta.to_string().into())
            .await?
            .await?;
        store.delete(name).await?;
        assert_eq!(store.get("other").await?, Some(report(1)), "{id}");
    }
    Ok(())
}
