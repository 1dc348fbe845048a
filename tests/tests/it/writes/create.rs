//! `create` tells the truth about a key that others write to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use natsmicro::store::StoreErrorKind;
use natsmicro::{Result, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};
use tokio::task::JoinSet;

#[natsmicro::service]
pub trait Creates {
    #[kv_store(bucket = "created", key = "<key>", client_only)]
    async fn create(&self, request: Save) -> Result<Saved, Status>;
}

/// No writer but this one writes a value.
async fn create_beside(purge: bool) -> TestResult {
    let nats = Nats::start().await;
    let store = CreatesClient::new(nats.client()).create_kv();
    store.create_bucket().await?;
    let has_ended = Arc::new(AtomicBool::new(false));
    let mut others = JoinSet::new();
    for _ in 0..3 {
        let nats = nats.server.connect().await?;
        let jetstream = async_nats::jetstream::new(nats.clone());
        let client = natsmicro::Client::new(nats).with_jetstream(jetstream);
        let (store, has_ended) = (CreatesClient::new(client).create_kv(), has_ended.clone());
        others.spawn(async move {
            while !has_ended.load(Ordering::Relaxed) {
                let removed = if purge {
                    store.purge("key").await
                } else {
                    store.delete("key").await
                };
                removed.unwrap();
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
        });
    }
    let value = Save::new("", "value").saved();
    let mut created = 0;
    for _ in 0..200 {
        match store.create("key", &value).await {
            Ok(_) => created += 1,
            // The others were faster each time.
            Err(error) => assert_eq!(*error.kind(), StoreErrorKind::Contended, "{error}"),
        }
        store.delete("key").await?;
    }
    has_ended.store(true, Ordering::Relaxed);
    others.join_all().await;
    assert!(created > 0);
    store.create("key", &value).await?;
    let error = store.create("key", &value).await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::AlreadyExists);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_others_delete_does_not_exist() -> TestResult {
    create_beside(false).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_others_purge_does_not_exist() -> TestResult {
    create_beside(true).await
}
