//! Lists, watches and caches are complete, whatever is written while they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use natsmicro::store::{KvStore, ObjectStore, StoreError, WatchEvent};
use natsmicro::{Result, Status};
use natsmicro_tests::persistence::watching::{entry, next};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};
use tokio::task::JoinSet;

const KEYS: u64 = 50;
const WRITERS: u64 = 8;

#[natsmicro::service]
pub trait Lists {
    #[kv_store(bucket = "newest", key = "<key>", client_only)]
    async fn newest(&self, request: Save) -> Result<Saved>;

    #[kv_store(bucket = "history", key = "<key>", max_history = 3, client_only)]
    async fn history(&self, request: Save) -> Result<Saved>;

    #[object_store(bucket = "objects", key = "<key>", client_only)]
    async fn object(&self, request: Save) -> Result<Saved, Status>;
}

fn key(n: u64) -> String {
    format!("key.{}", n % KEYS)
}

fn all_keys() -> BTreeSet<String> {
    (0..KEYS).map(key).collect()
}

fn value(n: u64) -> Saved {
    Save::number("", n).saved()
}

/// Tasks that write to all keys again and again until this is dropped.
struct Writers {
    stop: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Writers {
    fn start<F>(write: impl Fn(String, u64) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = Result<u64, StoreError>> + Send,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let (write, stop) = (write.clone(), Arc::clone(&stop));
            tasks.spawn(async move {
                // Each in an order of its own.
                let mut n = writer * 7;
                while !stop.load(Ordering::Relaxed) {
                    write(key(n), n).await.unwrap();
                    n += 2 * writer + 1;
                }
            });
        }
        Self {
            stop,
            _tasks: tasks,
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A bucket in which all keys have values, and that is written to on a connection of its own.
async fn busy(nats: &Nats, store: fn(&ListsClient) -> KvStore<Saved>) -> (KvStore<Saved>, Writers) {
    let other = nats.server.connect().await.unwrap();
    let jetstream = async_nats::jetstream::new(other.clone());
    let other = natsmicro::Client::new(other).with_jetstream(jetstream);
    let writing = store(&ListsClient::new(other));
    writing.create_bucket().await.unwrap();
    for n in 0..KEYS {
        writing.put(key(n), &value(n)).await.unwrap();
    }
    let writers = Writers::start(move |key, n| {
        let writing = writing.clone();
        async move { writing.put(key, &value(n)).await }
    });
    (store(&ListsClient::new(nats.client())), writers)
}

async fn keys_are_complete(store: fn(&ListsClient) -> KvStore<Saved>) -> TestResult {
    let nats = Nats::start().await;
    let (store, _writers) = busy(&nats, store).await;
    for list in 0..200 {
        let mut keys: Vec<String> = store.keys("key.*").await?.try_collect().await?;
        keys.sort();
        assert!(
            keys.iter().eq(&all_keys()),
            "list {list} has {} keys: {keys:?}",
            keys.len()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_written_meanwhile_are_listed_once() -> TestResult {
    keys_are_complete(ListsClient::newest_kv).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_bucket_with_history_are_listed_once() -> TestResult {
    keys_are_complete(ListsClient::history_kv).await
}

async fn initial_parts_are_complete(
    store: fn(&ListsClient) -> KvStore<Saved>,
    with_history: bool,
) -> TestResult {
    let nats = Nats::start().await;
    let (store, _writers) = busy(&nats, store).await;
    for watched in 0..100 {
        let watch = store.watch(">");
        let watch = if with_history {
            watch.with_history()
        } else {
            watch
        };
        let mut watch = watch.await?;
        let mut revisions = BTreeMap::new();
        while let WatchEvent::Entry(entry) = next(&mut watch).await? {
            let before = revisions.insert(entry.key, entry.revision);
            assert!(before < Some(entry.revision));
        }
        let missing: Vec<_> = all_keys()
            .into_iter()
            .filter(|key| !revisions.contains_key(key))
            .collect();
        assert!(missing.is_empty(), "watch {watched} lacks {missing:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_initial_part_of_a_watch_is_complete() -> TestResult {
    initial_parts_are_complete(ListsClient::newest_kv, false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_initial_part_of_a_watch_with_history_is_complete() -> TestResult {
    initial_parts_are_complete(ListsClient::history_kv, true).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_cache_is_complete() -> TestResult {
    let nats = Nats::start().await;
    let (store, _writers) = busy(&nats, ListsClient::newest_kv).await;
    for loaded in 0..100 {
        let cache = store.cached().await?;
        for key in all_keys() {
            assert!(cache.get(&key)?.is_some(), "cache {loaded} lacks {key}");
        }
    }
    Ok(())
}

async fn names(objects: &ObjectStore<Saved>) -> Result<Vec<String>, StoreError> {
    let listed: Vec<_> = objects.list().await?.try_collect().await?;
    Ok(listed.into_iter().map(|object| object.key).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_are_put_meanwhile_are_listed_once() -> TestResult {
    let nats = Nats::start().await;
    let objects = ListsClient::new(nats.client()).object_object_store();
    objects.create_bucket().await?;
    for n in 0..KEYS {
        objects.put(key(n), &value(n)).await?;
    }
    let putting = objects.clone();
    let _writers = Writers::start(move |key, n| {
        let putting = putting.clone();
        async move {
            match putting.put(key, &value(n)).await {
                // Another writer was faster, again and again.
                Err(_) => Ok(0),
                put => put,
            }
        }
    });
    for list in 0..100 {
        let mut names = names(&objects).await?;
        names.sort();
        assert!(
            names.iter().eq(&all_keys()),
            "list {list} has {} names: {names:?}",
            names.len()
        );
    }
    Ok(())
}

/// What a watch has shown as a value does not vanish in silence.
#[tokio::test]
async fn a_deletion_during_the_initial_part_is_shown() -> TestResult {
    const COUNT: u64 = 3_000;
    let name = |n: u64| format!("key.{n}");
    let nats = Nats::start().await;
    let store = ListsClient::new(nats.client()).newest_kv();
    store.create_bucket().await?;
    for n in 0..COUNT {
        store.put(name(n), &value(n)).await?;
    }
    let mut watch = store.watch(">").await?;
    // The first ones were delivered, the last ones were not yet, and their markers come in their place.
    let first = entry(&mut watch).await;
    assert_eq!(first.key, name(0));
    let deleted: Vec<u64> = (0..10).chain(COUNT - 10..COUNT).collect();
    for n in &deleted {
        store.delete(name(*n)).await?;
    }
    let mut live = BTreeSet::from([first.key]);
    let mut has_ended = false;
    let last = name(COUNT - 1);
    loop {
        match next(&mut watch).await? {
            WatchEvent::Entry(entry) => {
                let is_live = entry.value.is_some();
                if is_live {
                    live.insert(entry.key.clone());
                } else {
                    live.remove(&entry.key);
                }
                if entry.key == last && !is_live {
                    break;
                }
            }
            _ => has_ended = true,
        }
        if has_ended && live.len() == usize::try_from(COUNT)? - deleted.len() {
            break;
        }
    }
    for n in deleted {
        assert!(!live.contains(&name(n)), "key {n} seems to be live");
    }
    Ok(())
}

/// A reader of which nobody reads holds no others up.
#[tokio::test]
async fn many_watches_are_opened_before_they_are_read() -> TestResult {
    const WATCHES: usize = 500;
    let nats = Nats::start().await;
    let store = ListsClient::new(nats.client()).newest_kv();
    store.create_bucket().await?;
    for n in 0..KEYS {
        let large = Save::new("", "x".repeat(10_000)).saved();
        store.put(key(n), &large).await?;
    }
    let open = async {
        let mut watches = Vec::new();
        for _ in 0..WATCHES {
            watches.push(store.watch(">").await.unwrap());
        }
        watches
    };
    // Each that waited for the budget would take a tenth of a second more, all of them 50 seconds.
    let opened = tokio::time::timeout(Duration::from_secs(20), open).await;
    for mut watch in opened? {
        let mut live = BTreeSet::new();
        while let WatchEvent::Entry(entry) = next(&mut watch).await? {
            live.insert(entry.key);
        }
        assert_eq!(live, all_keys());
    }
    Ok(())
}
