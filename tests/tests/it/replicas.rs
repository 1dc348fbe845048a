//! Readers of a replicated bucket, which one of its replicas serves that is behind the others for a while.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures::{StreamExt, TryStreamExt};
use natsmicro::store::{StoreError, StoreErrorKind};
use natsmicro::testing::{NatsCluster, NatsServer};
use natsmicro::{Client, KvStore, Result};
use natsmicro_tests::persistence::{Save, Saved, TestResult};
use tokio::task::JoinSet;

const KEYS: u64 = 1000;
/// For how long the replica that comes back is read from. It has the messages that it has missed some seconds later.
const CATCHING_UP: Duration = Duration::from_secs(3);

#[natsmicro::service]
pub trait Replicated {
    #[kv_store(bucket = "replicated", key = "<key>", replicas = 3, client_only)]
    async fn save(&self, request: Save) -> Result<Saved>;
}

/// A bucket on three servers, with one of them that does not lead it.
struct Bucket {
    cluster: NatsCluster,
    follower: usize,
    store: KvStore<Saved>,
}

impl Bucket {
    async fn start() -> Self {
        let cluster = NatsCluster::start(3).await.unwrap();
        let js = jetstream::new(cluster.connect().await.unwrap());
        let client = Client::new(js.client()).with_jetstream(js.clone());
        let store = ReplicatedClient::new(client).save_kv();
        store.create_bucket().await.unwrap();
        let stream = js.get_stream("KV_replicated").await.unwrap();
        let leader = stream.cached_info().cluster.as_ref().unwrap();
        let leader = leader.leader.clone().unwrap();
        let mut names = Vec::new();
        for server in cluster.servers() {
            let nats = server.connect().await.unwrap();
            names.push(nats.server_info().server_name.clone());
        }
        let follower = names.iter().position(|name| *name != leader).unwrap();
        // On a server that goes on.
        let other = (0..3).find(|other| *other != follower).unwrap();
        let nats = cluster.servers()[other].connect().await.unwrap();
        let js = jetstream::new(nats.clone());
        let client = Client::new(nats).with_jetstream(js);
        let store = ReplicatedClient::new(client).save_kv();
        Self {
            cluster,
            follower,
            store,
        }
    }

    fn follower(&self) -> &NatsServer {
        &self.cluster.servers()[self.follower]
    }

    /// Writes all keys of a round, and one beside them at last.
    async fn write(&self, keys: std::ops::Range<u64>, n: u64) {
        let value = Saved {
            text: "v".repeat(30_000),
            ..value(n)
        };
        let written = futures::stream::iter(keys).for_each_concurrent(100, async |key| {
            while self.store.put(format!("key.{key}"), &value).await.is_err() {}
        });
        written.await;
        while self.store.put("last", &value).await.is_err() {}
    }
}

fn value(n: u64) -> Saved {
    Save::number("", n).saved()
}

/// What is read; nothing if the server did not answer in time, which one that has just started may not.
fn in_time<T>(read: Result<T, StoreError>) -> Option<T> {
    match read {
        Err(error) if *error.kind() == StoreErrorKind::TimedOut => None,
        read => Some(read.unwrap()),
    }
}

/// Nobody writes while the lists are read.
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_complete() -> TestResult {
    let bucket = Bucket::start().await;
    for round in 1..=3 {
        bucket.follower().kill()?;
        let (from, to) = ((round - 1) * KEYS, round * KEYS);
        bucket.write(from..to, round).await;
        let expected: BTreeSet<_> = (0..to).map(|key| format!("key.{key}")).collect();
        bucket.follower().restart().await?;
        let since = Instant::now();
        let mut readers = JoinSet::new();
        for _ in 0..8 {
            let (store, expected) = (bucket.store.clone(), expected.clone());
            readers.spawn(async move {
                while since.elapsed() < CATCHING_UP {
                    let Some(listed) = in_time(store.keys("key.*").await) else {
                        continue;
                    };
                    let listed: BTreeSet<String> = listed.try_collect().await.unwrap();
                    let missing = expected.difference(&listed).count();
                    assert_eq!(missing, 0, "of {}", expected.len());
                }
            });
        }
        while let Some(read) = readers.join_next().await {
            read?;
        }
    }
    Ok(())
}

/// A cache has what was written before it was loaded, as its status says.
#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_cache_has_the_newest_values() -> TestResult {
    let bucket = Bucket::start().await;
    bucket.write(0..KEYS, 0).await;
    for round in 1..=3 {
        bucket.follower().kill()?;
        bucket.write(0..KEYS, round).await;
        bucket.follower().restart().await?;
        let since = Instant::now();
        let mut readers = JoinSet::new();
        for _ in 0..4 {
            let store = bucket.store.clone();
            readers.spawn(async move {
                while since.elapsed() < CATCHING_UP {
                    let cache = store.cached().with_pattern("key.*").await;
                    let Some(cache) = in_time(cache) else {
                        continue;
                    };
                    let entries = cache.entries();
                    let old = entries
                        .iter()
                        .filter(|it| it.value.as_ref().is_none_or(|value| value.n != round))
                        .count();
                    assert_eq!(
                        (entries.len() as u64, old),
                        (KEYS, 0),
                        "{:?}",
                        cache.status()
                    );
                }
            });
        }
        while let Some(read) = readers.join_next().await {
            read?;
        }
    }
    Ok(())
}
