//! Watching a Key-Value bucket.

use std::time::Duration;

use futures::StreamExt;
use natsmicro::store::{Operation, StoreErrorKind, Watch, WatchEvent};
use natsmicro::{KvStore, Status};
use natsmicro_tests::persistence::watching::{entry, next};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};

#[natsmicro::service]
pub trait Profiles {
    #[kv_store(bucket = "profiles", key = "user.<key>", max_history = 10)]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Profiles for Echo {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

async fn store(nats: &Nats) -> KvStore<Saved> {
    let server = nats.service().await.add_service(ProfilesServer::new(Echo));
    server.start().await.unwrap().stop().await.unwrap();
    ProfilesClient::new(nats.client()).save_kv()
}

fn value(n: u64) -> Saved {
    Save::number("", n).saved()
}

async fn end_of_initial(watch: &mut Watch<Saved>) {
    assert_eq!(next(watch).await.unwrap(), WatchEvent::EndOfInitial);
}

/// Nothing is on its way: a write of our own is what comes next.
async fn nothing_before(store: &KvStore<Saved>, watch: &mut Watch<Saved>, key: &str) {
    let revision = store.put(key, &value(999)).await.unwrap();
    assert_eq!(entry(watch).await.revision, revision);
}

#[tokio::test]
async fn current_values_then_changes() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &value(1)).await?;
    let newest = store.put("a", &value(2)).await?;
    store.put("b", &value(3)).await?;
    store.put("deleted", &value(4)).await?;
    store.delete("deleted").await?;
    store.put("purged", &value(4)).await?;
    store.purge("purged").await?;
    let mut watch = store.watch(">").await?;

    let first = entry(&mut watch).await;
    assert_eq!((first.key.as_str(), first.revision), ("a", newest));
    assert_eq!(
        (first.value, first.operation),
        (Some(value(2)), Operation::Put)
    );
    let second = entry(&mut watch).await;
    assert_eq!((second.key.as_str(), second.value), ("b", Some(value(3))));
    end_of_initial(&mut watch).await;

    store.put("c", &value(5)).await?;
    assert_eq!(entry(&mut watch).await.value, Some(value(5)));
    store.delete("a").await?;
    let deleted = entry(&mut watch).await;
    assert_eq!(
        (deleted.key.as_str(), deleted.operation),
        ("a", Operation::Delete)
    );
    assert_eq!(deleted.value, None);
    store.purge("b").await?;
    let purged = entry(&mut watch).await;
    assert_eq!(
        (purged.key.as_str(), purged.operation),
        ("b", Operation::Purge)
    );
    nothing_before(&store, &mut watch, "z").await;
    Ok(())
}

#[tokio::test]
async fn the_initial_part_ends_also_when_there_is_nothing() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let mut empty = store.watch(">").await?;
    end_of_initial(&mut empty).await;
    nothing_before(&store, &mut empty, "a").await;

    // Entries, of which none matches.
    let mut unmatched = store.watch("b.*").await?;
    end_of_initial(&mut unmatched).await;
    nothing_before(&store, &mut unmatched, "b.1").await;

    // Nothing but deleted keys.
    store.put("c", &value(1)).await?;
    store.delete("c").await?;
    let mut deleted = store.watch("c").await?;
    end_of_initial(&mut deleted).await;
    nothing_before(&store, &mut deleted, "c").await;
    Ok(())
}

#[tokio::test]
async fn patterns_choose_keys() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    for key in ["a", "a.b", "a.b.c", "x.b"] {
        store.put(key, &value(1)).await?;
    }
    for (pattern, keys) in [
        ("a", &["a"][..]),
        ("a.*", &["a.b"]),
        ("a.>", &["a.b", "a.b.c"]),
        ("*.b", &["a.b", "x.b"]),
        (">", &["a", "a.b", "a.b.c", "x.b"]),
    ] {
        let mut watch = store.watch(pattern).await?;
        for key in keys {
            assert_eq!(&entry(&mut watch).await.key, key, "{pattern}");
        }
        end_of_initial(&mut watch).await;
    }
    let long = "x".repeat(5_000);
    for pattern in ["", "a>", "a.>.b", "a*", "a b", ".a", "a..b", &long] {
        let error = store.watch(pattern).await.unwrap_err();
        assert_eq!(error.kind(), &StoreErrorKind::InvalidKey, "{pattern:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_undecodable_value_is_not_the_end() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let raw = nats.bucket("profiles").await;
    raw.put("a", "\u{1}\u{2}\u{3}".into()).await?;
    store.put("b", &value(1)).await?;
    let mut watch = store.watch(">").await?;
    let error = next(&mut watch).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::Decode);
    assert!(error.to_string().contains("`a`"), "{error}");
    assert_eq!(entry(&mut watch).await.key, "b");
    end_of_initial(&mut watch).await;
    raw.put("c", "\u{1}\u{2}\u{3}".into()).await?;
    let error = next(&mut watch).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::Decode);
    nothing_before(&store, &mut watch, "d").await;

    // The last of the initial values.
    raw.put("e", "\u{1}\u{2}\u{3}".into()).await?;
    let mut watch = store.watch("e").await?;
    next(&mut watch).await.unwrap_err();
    end_of_initial(&mut watch).await;
    Ok(())
}

/// One watch is read all the time, one was begun before there was anything, and one is not read while the server is away.
#[tokio::test]
async fn every_change_once_across_restarts() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("key", &value(0)).await?;
    let mut watch = store.watch(">").await?;
    let mut quiet = store.watch("other.>").await?;
    let mut unread = store.watch(">").await?;
    entry(&mut watch).await;
    end_of_initial(&mut watch).await;
    end_of_initial(&mut quiet).await;
    entry(&mut unread).await;
    end_of_initial(&mut unread).await;
    let reader = tokio::spawn(async move {
        let mut revisions = Vec::new();
        while revisions.len() < 80 {
            revisions.push(entry(&mut watch).await.revision);
        }
        (watch, revisions)
    });

    let mut revisions = Vec::new();
    for round in 0..2_u64 {
        for n in 0..20 {
            revisions.push(store.put(format!("key.{n}"), &value(n)).await?);
        }
        nats.server.restart().await?;
        natsmicro_tests::persistence::eventually("the store answers", || async {
            store.get("key").await.ok()
        })
        .await;
        for n in 20..40 {
            let key = format!("other.{round}.{n}");
            revisions.push(store.put(key, &value(n)).await?);
        }
    }
    let (mut watch, read) = reader.await?;
    assert_eq!(read, revisions);
    let others = revisions.chunks(20).skip(1).step_by(2).flatten();
    let of_quiet = async {
        for revision in others {
            assert_eq!(entry(&mut quiet).await.revision, *revision);
        }
    };
    let of_unread = async {
        for revision in &revisions {
            assert_eq!(entry(&mut unread).await.revision, *revision);
        }
    };
    tokio::join!(of_quiet, of_unread);
    nothing_before(&store, &mut watch, "other.last").await;
    assert_eq!(entry(&mut quiet).await.key, "other.last");
    assert_eq!(entry(&mut unread).await.key, "other.last");
    Ok(())
}

#[tokio::test]
async fn a_closed_connection_is_the_end() -> TestResult {
    let nats = Nats::start().await;
    store(&nats).await;
    let options = async_nats::ConnectOptions::new().max_reconnects(1);
    let own = nats.server.connect_with(options).await?;
    let client = natsmicro::Client::new(own.clone());
    let client = client.with_jetstream(async_nats::jetstream::new(own));
    let mut watch = ProfilesClient::new(client).save_kv().watch(">").await?;
    end_of_initial(&mut watch).await;
    nats.server.kill()?;
    let rest = tokio::time::timeout(Duration::from_secs(15), watch.collect::<Vec<_>>()).await?;
    assert!(
        rest.len() <= 1 && rest.iter().all(Result::is_err),
        "{rest:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_large_initial_part_with_changes_meanwhile() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let keys: Vec<_> = (0..500).map(|n| format!("key.{n}")).collect();
    let zero = value(0);
    let puts = keys.iter().map(|key| store.put(key, &zero));
    futures::future::try_join_all(puts).await?;
    let mut watch = store.watch(">").await?;
    // They change before they are delivered, and are delivered once.
    let one = value(1);
    let puts = keys.iter().map(|key| store.put(key, &one));
    let last = futures::future::try_join_all(puts).await?;
    let last = last.into_iter().max().unwrap();
    let (mut ended, mut revision) = (0, 0);
    let mut newest = std::collections::HashMap::new();
    while revision < last {
        match next(&mut watch).await? {
            WatchEvent::EndOfInitial => ended += 1,
            WatchEvent::Entry(entry) => {
                assert!(entry.revision > revision, "in order and once");
                revision = entry.revision;
                newest.insert(entry.key, entry.value);
            }
            _ => {}
        }
    }
    if ended == 0 {
        end_of_initial(&mut watch).await;
    }
    assert!(ended <= 1);
    assert_eq!(newest.len(), 500);
    assert!(newest.values().all(|value| value.as_ref() == Some(&one)));
    Ok(())
}
