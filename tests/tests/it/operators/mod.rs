//! Operators change, purge, seal, mirror and make buckets again while services and clients use them.

mod direct_reads;
mod made_again;
mod mirrors;
mod moved;
mod no_bucket;
mod other_history;
mod paused;
mod purged;
mod sealed;
mod settings;
mod transformed;
mod uncovered;
mod walk;

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::kv;
use futures::StreamExt;
use natsmicro::store::{CacheEvent, CacheEvents, KvCache, Operation};
use natsmicro::{KvStore, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved};
use prost::Message as _;

#[natsmicro::service]
pub trait Profiles {
    #[kv_store(bucket = "profiles", key = "<key>", client_only)]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

async fn store_with(nats: &Nats, config: kv::Config) -> KvStore<Saved> {
    let bucket = "profiles".to_owned();
    let config = kv::Config { bucket, ..config };
    nats.js.create_key_value(config).await.unwrap();
    ProfilesClient::new(nats.client()).save_kv()
}

async fn store(nats: &Nats) -> KvStore<Saved> {
    store_with(nats, kv::Config::default()).await
}

fn value(n: u64) -> Saved {
    Save::number("", n).saved()
}

fn cached(cache: &KvCache<Saved>, key: &str) -> Option<u64> {
    cache.get(key).unwrap().map(|value| value.n)
}

/// Writes a value with a header that the crate does not write by itself.
async fn put_with_header(nats: &Nats, key: &str, n: u64, header: (&str, &str)) {
    let headers = HeaderMap::from_iter([(header.0.parse().unwrap(), header.1.parse().unwrap())]);
    let subject = format!("$KV.profiles.{key}");
    let payload = value(n).encode_to_vec().into();
    let written = nats.js.publish_with_headers(subject, headers, payload);
    written.await.unwrap().await.unwrap();
}

/// Waits until the event says that these keys have no value.
async fn removed(events: &mut CacheEvents<Saved>, mut keys: Vec<&str>) {
    while !keys.is_empty() {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next());
        let event = event
            .await
            .unwrap_or_else(|_| panic!("no event of {keys:?}"));
        if let Some(CacheEvent::Changed(entry)) = event
            && entry.value.is_none()
        {
            assert_eq!(entry.operation, Operation::Purge);
            assert!(keys.contains(&&*entry.key), "{} has a value", entry.key);
            keys.retain(|key| *key != entry.key);
        }
    }
}
