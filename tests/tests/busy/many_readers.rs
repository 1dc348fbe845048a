//! Many who read much at once on one connection: what the server has to hold for them stays below what it holds for a client.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::jetstream::{kv, object_store};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use natsmicro::store::{ObjectReader, WatchEvent};
use natsmicro::testing::NatsServer;
use natsmicro::{KvStore, ObjectStore, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::alone;

#[natsmicro::service]
pub trait Reports {
    #[object_store(bucket = "reports", key = "report.<key>", client_only)]
    async fn report(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "drafts", key = "<key>", client_only)]
    async fn draft(&self, request: Save) -> Result<Saved, Status>;
}

const CHUNK: usize = 128 * 1024;
const READERS: usize = 64;

/// A server that holds half of what it holds by default.
async fn start() -> Nats {
    let server = NatsServer::builder()
        .max_payload(8 << 20)
        .config("max_pending: 32MB");
    let nats = Nats::of(server.start().await.unwrap()).await;
    let config = object_store::Config {
        bucket: "reports".to_owned(),
        ..object_store::Config::default()
    };
    nats.js.create_object_store(config).await.unwrap();
    nats
}

fn reports(nats: &Nats) -> ObjectStore<Saved> {
    ReportsClient::new(nats.client()).report_object_store()
}

async fn drafts(nats: &Nats) -> KvStore<Saved> {
    let config = kv::Config {
        bucket: "drafts".to_owned(),
        ..kv::Config::default()
    };
    nats.js.create_key_value(config).await.unwrap();
    ReportsClient::new(nats.client()).draft_kv()
}

fn bytes(length: usize) -> Bytes {
    (0..length).map(|n| (n % 251) as u8).collect()
}

async fn reader(store: &ObjectStore<Saved>) -> ObjectReader {
    store.reader("a").await.unwrap().unwrap()
}

async fn read_all(mut reader: ObjectReader, expected: &[u8]) {
    let mut data = Vec::new();
    reader.read_to_end(&mut data).await.unwrap();
    assert!(data == expected);
}

fn was_never_cut(nats: &Nats) {
    let connects = nats.nats.statistics().connects.load(Ordering::Relaxed);
    assert_eq!(connects, 1, "{}", nats.server.log());
}

async fn all_read(chunks: usize) -> TestResult {
    let nats = start().await;
    let store = reports(&nats);
    let data = bytes(chunks * CHUNK);
    store.put_from("a", &data[..]).await?;
    let readers = (0..READERS).map(|_| {
        let (store, data) = (store.clone(), data.clone());
        tokio::spawn(async move { read_all(reader(&store).await, &data).await })
    });
    for read in join_all(readers).await {
        read?;
    }
    was_never_cut(&nats);
    Ok(())
}

#[tokio::test]
async fn small_objects() -> TestResult {
    let _alone = alone().await;
    all_read(32).await
}

#[tokio::test]
async fn objects() -> TestResult {
    let _alone = alone().await;
    all_read(33).await
}

#[tokio::test]
async fn watches() -> TestResult {
    const VALUES: usize = 16;
    let _alone = alone().await;
    let nats = start().await;
    let store = drafts(&nats).await;
    let value = Save::new("", "x".repeat(700 << 10)).saved();
    for n in 0..VALUES {
        store.put(&n.to_string(), &value).await?;
    }
    let value = Arc::new(value);
    let watches = (0..READERS).map(|_| {
        let (store, value) = (store.clone(), value.clone());
        tokio::spawn(async move {
            let mut watch = store.watch(">").await.unwrap();
            for n in 0..VALUES {
                let Some(Ok(WatchEvent::Entry(entry))) = watch.next().await else {
                    panic!("{n} values have come");
                };
                assert_eq!(entry.key, n.to_string());
                assert!(entry.value.as_ref() == Some(&*value));
            }
            let end = watch.next().await.unwrap().unwrap();
            assert_eq!(end, WatchEvent::EndOfInitial);
        })
    });
    for watch in join_all(watches).await {
        watch?;
    }
    was_never_cut(&nats);
    Ok(())
}

/// Who begins and does not go on takes nothing from others, and can go on later.
#[tokio::test]
async fn paused_readers() -> TestResult {
    let _alone = alone().await;
    let nats = start().await;
    let store = reports(&nats);
    let data = bytes(80 * CHUNK);
    store.put_from("a", &data[..]).await?;
    let paused = (0..READERS / 2).map(async |_| {
        let mut reader = reader(&store).await;
        let mut first = vec![0; 10];
        reader.read_exact(&mut first).await.unwrap();
        assert_eq!(first, data[..10]);
        reader
    });
    let paused = join_all(paused).await;
    for _ in 0..4 {
        read_all(reader(&store).await, &data).await;
    }
    join_all(
        paused
            .into_iter()
            .map(|reader| read_all(reader, &data[10..])),
    )
    .await;
    was_never_cut(&nats);
    Ok(())
}

/// Who reads alone asks for as much as there is room for: two requests of 4 MiB.
#[tokio::test]
async fn a_single_reader() -> TestResult {
    let _alone = alone().await;
    let nats = start().await;
    let store = reports(&nats);
    let data = bytes(96 * CHUNK);
    store.put_from("a", &data[..]).await?;
    let other = nats.server.connect().await?;
    let mut requests = other.subscribe("$JS.API.CONSUMER.MSG.NEXT.>").await?;
    other.request("$JS.API.INFO", "".into()).await?;
    read_all(reader(&store).await, &data).await;
    for _ in 0..6 {
        let request: Value = serde_json::from_slice(&requests.next().await.unwrap().payload)?;
        assert_eq!(
            (&request["batch"], &request["max_bytes"]),
            (&16.into(), &(4 << 20).into())
        );
    }
    Ok(())
}

#[tokio::test]
async fn values_that_are_larger_than_a_request() -> TestResult {
    let _alone = alone().await;
    let nats = start().await;
    let store = drafts(&nats).await;
    for size in [10, 7 << 20, 1, 5 << 20, 7 << 20] {
        let value = Save::new("", "x".repeat(size)).saved();
        store.put(&size.to_string(), &value).await?;
        let watches = (0..8).map(async |_| {
            let mut watch = store.watch(size.to_string()).await.unwrap();
            let Some(Ok(WatchEvent::Entry(entry))) = watch.next().await else {
                panic!("the value has come");
            };
            assert!(entry.value.as_ref() == Some(&value));
            let end = watch.next().await.unwrap().unwrap();
            assert_eq!(end, WatchEvent::EndOfInitial);
            watch
        });
        let mut watch = join_all(watches).await.remove(0);
        // And while nothing is behind.
        let changed = Save::new("", "y".repeat(size)).saved();
        store.put(&size.to_string(), &changed).await?;
        let Some(Ok(WatchEvent::Entry(entry))) = watch.next().await else {
            panic!("the change has come");
        };
        assert!(entry.value.as_ref() == Some(&changed));
    }
    Ok(())
}
