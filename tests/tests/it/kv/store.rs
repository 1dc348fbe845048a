//! The typed handle of a Key-Value bucket.

use std::time::{Duration, SystemTime};

use natsmicro::store::{InvalidKey, InvalidKeyKind, Operation, StoreErrorKind};
use natsmicro::{KvStore, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};

#[natsmicro::service]
pub trait Profiles {
    #[kv_store(
        bucket = "profiles",
        key = "user.<key>",
        max_value_size = 1024,
        max_history = 5
    )]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Profiles for Echo {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

/// A handle on a bucket that a service has created.
async fn store(nats: &Nats) -> KvStore<Saved> {
    let server = nats.service().await.add_service(ProfilesServer::new(Echo));
    server.start().await.unwrap().stop().await.unwrap();
    ProfilesClient::new(nats.client()).save_kv()
}

fn value(text: &str) -> Saved {
    Save::new("", text).saved()
}

#[tokio::test]
async fn revisions_of_an_entry() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    assert_eq!(store.bucket(), "profiles");
    assert_eq!(store.get("a").await?, None);
    assert!(store.entry("a").await?.is_none());

    let begun = SystemTime::now() - Duration::from_secs(1);
    let first = store.put("a", &value("1")).await?;
    let second = store.put("a", &value("2")).await?;
    assert!(second > first);
    assert_eq!(store.get("a").await?, Some(value("2")));
    let entry = store.entry("a").await?.unwrap();
    assert_eq!(entry.key, "a");
    assert_eq!(entry.value, Some(value("2")));
    assert_eq!(entry.revision, second);
    assert_eq!(entry.operation, Operation::Put);
    assert!(entry.created >= begun && entry.created <= SystemTime::now() + Duration::from_secs(1));

    store.delete("a").await?;
    assert_eq!(store.get("a").await?, None);
    let entry = store.entry("a").await?.unwrap();
    assert_eq!((entry.value, entry.operation), (None, Operation::Delete));
    assert!(entry.revision > second);
    assert_eq!(nats.revisions("profiles", "a").await.len(), 3);

    store.purge("a").await?;
    assert_eq!(store.get("a").await?, None);
    let entry = store.entry("a").await?.unwrap();
    assert_eq!((entry.value, entry.operation), (None, Operation::Purge));
    assert_eq!(nats.revisions("profiles", "a").await.len(), 1);

    // Neither needs a value to be there.
    store.delete("nothing").await?;
    store.purge("nothing").await?;
    Ok(())
}

#[tokio::test]
async fn create_needs_a_key_without_a_value() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.create("a", &value("1")).await?;
    let error = store.create("a", &value("2")).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::AlreadyExists);
    assert!(error.to_string().contains("`a`"), "{error}");
    assert_eq!(store.get("a").await?, Some(value("1")));
    store.delete("a").await?;
    store.create("a", &value("3")).await?;
    store.purge("a").await?;
    store.create("a", &value("4")).await?;
    assert_eq!(store.get("a").await?, Some(value("4")));
    Ok(())
}

#[tokio::test]
async fn update_needs_the_newest_revision() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let first = store.put("a", &value("1")).await?;
    let second = store.update("a", &value("2"), first).await?;
    let error = store.update("a", &value("3"), first).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::WrongRevision);
    assert_eq!(store.get("a").await?, Some(value("2")));
    store.update("a", &value("3"), second).await?;
    // Zero is the revision of a key that was never written.
    store.update("b", &value("1"), 0).await?;
    let error = store.update("b", &value("2"), 0).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::WrongRevision);
    // Of concurrent updates exactly one succeeds.
    let revision = store.put("c", &value("0")).await?;
    let values: Vec<_> = (0..20).map(|n| value(&n.to_string())).collect();
    let updates = values
        .iter()
        .map(|value| store.update("c", value, revision));
    let results = futures::future::join_all(updates).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), &StoreErrorKind::WrongRevision);
    }
    Ok(())
}

#[tokio::test]
async fn deletions_that_need_the_newest_revision() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let first = store.put("a", &value("1")).await?;
    let second = store.put("a", &value("2")).await?;
    let wrong = [
        store.delete_expect_revision("a", first).await,
        store.purge_expect_revision("a", first).await,
        store.delete_expect_revision("a", 0).await,
        store.purge_expect_revision("nothing", second).await,
    ];
    for error in wrong.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind(), &StoreErrorKind::WrongRevision);
    }
    assert_eq!(store.get("a").await?, Some(value("2")));
    assert!(store.entry("nothing").await?.is_none());

    store.delete_expect_revision("a", second).await?;
    let deleted = store.entry("a").await?.unwrap();
    assert_eq!(
        (deleted.value, deleted.operation),
        (None, Operation::Delete)
    );
    assert_eq!(nats.revisions("profiles", "a").await.len(), 3);
    store.purge_expect_revision("a", deleted.revision).await?;
    let purged = store.entry("a").await?.unwrap();
    assert_eq!((purged.value, purged.operation), (None, Operation::Purge));
    assert_eq!(nats.revisions("profiles", "a").await.len(), 1);

    // Of concurrent ones exactly one succeeds.
    let revision = store.put("b", &value("1")).await?;
    let deletions = (0..20).map(|_| store.delete_expect_revision("b", revision));
    let results = futures::future::join_all(deletions).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), &StoreErrorKind::WrongRevision);
    }
    let error = store.delete_expect_revision("a b", 1).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::InvalidKey);
    Ok(())
}

#[tokio::test]
async fn keys_are_checked_before_anything_is_sent() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let long = "x".repeat(5_000);
    for (key, kind) in [
        ("", InvalidKeyKind::Empty),
        ("a..b", InvalidKeyKind::Empty),
        (".a", InvalidKeyKind::Empty),
        ("a.", InvalidKeyKind::Empty),
        ("a.*", InvalidKeyKind::Character('*')),
        (">", InvalidKeyKind::Character('>')),
        ("a b", InvalidKeyKind::Character(' ')),
        ("a\r\nPUB x 0\r\n", InvalidKeyKind::Character('\r')),
        ("\u{e9}", InvalidKeyKind::Character('\u{e9}')),
        (&long, InvalidKeyKind::TooLong),
    ] {
        let errors = [
            store.get(key).await.err(),
            store.entry(key).await.err(),
            store.put(key, &value("x")).await.err(),
            store.create(key, &value("x")).await.err(),
            store.update(key, &value("x"), 1).await.err(),
            store.delete(key).await.err(),
            store.purge(key).await.err(),
        ];
        for error in errors {
            let error = error.unwrap_or_else(|| panic!("{key:?} is taken for a key"));
            assert_eq!(error.kind(), &StoreErrorKind::InvalidKey);
            let source = std::error::Error::source(&error).unwrap();
            let source = source.downcast_ref::<InvalidKey>().unwrap();
            assert_eq!(source.kind(), &kind, "{key:?}");
        }
    }
    let longest = "x".repeat(natsmicro::store::MAX_KEY_LEN);
    store.put(&longest, &value("x")).await?;
    assert_eq!(store.get(&longest).await?, Some(value("x")));
    assert_eq!(
        nats.nats
            .statistics()
            .connects
            .load(std::sync::atomic::Ordering::Relaxed),
        1
    );
    Ok(())
}

#[tokio::test]
async fn a_foreign_value_is_a_decode_error() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let raw = nats.bucket("profiles").await;
    raw.put("a", "\u{1}\u{2}\u{3} no message".into()).await?;
    for error in [
        store.get("a").await.unwrap_err(),
        store.entry("a").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), &StoreErrorKind::Decode);
        assert!(error.to_string().contains("`a`"), "{error}");
    }
    store.put("a", &value("repaired")).await?;
    assert_eq!(store.get("a").await?, Some(value("repaired")));
    Ok(())
}

#[tokio::test]
async fn a_value_that_is_too_large() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    // For the bucket, and for the server.
    for size in [2_000, 2 << 20] {
        let large = value(&"x".repeat(size));
        let errors = [
            store.put("a", &large).await.unwrap_err(),
            store.create("a", &large).await.unwrap_err(),
            store.update("a", &large, 0).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), &StoreErrorKind::TooLarge, "{size}: {error}");
        }
    }
    assert_eq!(store.get("a").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_missing_bucket_is_found_when_it_is_there() -> TestResult {
    let nats = Nats::start().await;
    let missing = ProfilesClient::new(nats.client()).save_kv();
    for error in [
        missing.get("a").await.err(),
        missing.put("a", &value("x")).await.err(),
        missing.create("a", &value("x")).await.err(),
        missing.delete("a").await.err(),
        missing.watch(">").await.err(),
    ] {
        let error = error.unwrap();
        assert_eq!(error.kind(), &StoreErrorKind::BucketNotFound);
        assert!(error.to_string().contains("`profiles`"), "{error}");
    }
    store(&nats).await;
    missing.put("a", &value("x")).await?;

    // One that goes away after it was opened; the handle finds it again.
    nats.js.delete_key_value("profiles").await?;
    for error in [
        missing.get("a").await.err(),
        missing.put("a", &value("x")).await.err(),
        missing.create("a", &value("x")).await.err(),
        missing.update("a", &value("x"), 1).await.err(),
        missing.delete("a").await.err(),
        missing.purge("a").await.err(),
        missing.watch(">").await.err(),
        missing.keys(">").await.err(),
        missing.history("a").await.err(),
        missing.status().await.err(),
        missing.delete_bucket().await.err(),
    ] {
        assert_eq!(error.unwrap().kind(), &StoreErrorKind::BucketNotFound);
    }
    store(&nats).await;
    missing.put("a", &value("y")).await?;
    assert_eq!(missing.get("a").await?, Some(value("y")));
    Ok(())
}

#[tokio::test]
async fn a_store_that_does_not_answer_times_out() -> TestResult {
    let nats = Nats::start().await;
    let client = nats.client().with_timeout(Duration::from_millis(200));
    store(&nats).await;
    let store = ProfilesClient::new(client).save_kv();
    store.put("a", &value("x")).await?;
    nats.server.pause()?;
    let errors = [
        store.get("a").await.err(),
        store.put("a", &value("x")).await.err(),
        store.delete("a").await.err(),
        store.watch(">").await.err(),
    ];
    nats.server.resume()?;
    for error in errors {
        assert_eq!(error.unwrap().kind(), &StoreErrorKind::TimedOut);
    }
    Ok(())
}
