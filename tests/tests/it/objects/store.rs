//! Object Stores: through the typed handle, through a service, and in the layout that any client reads.

use std::time::{Duration, Instant};

use async_nats::jetstream::object_store::Config;
use async_nats::jetstream::stream::StorageType;
use natsmicro::store::StoreErrorKind;
use natsmicro::testing::NatsCluster;
use natsmicro::{ObjectStore, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};
use prost::Message;
use tokio::io::AsyncReadExt;

#[natsmicro::service]
pub trait Reports {
    #[object_store(bucket = "reports", key = "report.<key>")]
    async fn report(&self, request: Save) -> Result<Saved, Status>;

    #[object_store(bucket = "reports", key = "first.<key>", persist = "before_response")]
    async fn first(&self, request: Save) -> Result<Saved, Status>;
}

/// Answers with as many bytes of text as it is asked for.
struct Writer;

impl Reports for Writer {
    async fn report(&self, request: Save) -> Result<Saved, Status> {
        let size = request.n as usize;
        Ok(Saved {
            text: "x".repeat(size),
            ..request.saved()
        })
    }
    async fn first(&self, request: Save) -> Result<Saved, Status> {
        self.report(request).await
    }
}

const CHUNK: usize = 128 * 1024;

async fn store(nats: &Nats) -> ObjectStore<Saved> {
    let server = nats.service().await.add_service(ReportsServer::new(Writer));
    server.start().await.unwrap().stop().await.unwrap();
    ReportsClient::new(nats.client()).report_object_store()
}

/// A message of some size that differs by name.
fn value(name: &str, size: usize) -> Saved {
    Save::new(name, name.chars().cycle().take(size).collect::<String>()).saved()
}

/// The chunks in the bucket: subjects, and messages in all.
async fn chunks(nats: &Nats) -> (usize, usize) {
    let subjects = nats.subjects("OBJ_reports", "$O.reports.C.>").await;
    (subjects.len(), subjects.values().sum())
}

#[tokio::test]
async fn put_get_replace_delete() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    assert_eq!(store.bucket(), "reports");
    assert_eq!(store.get("a").await?, None);
    store.delete("a").await?;

    let first = store.put("a", &value("one", 10)).await?;
    assert_eq!(store.get("a").await?, Some(value("one", 10)));
    let second = store.put("a", &value("two", 3 * CHUNK)).await?;
    assert!(second > first);
    assert_eq!(store.get("a").await?, Some(value("two", 3 * CHUNK)));
    assert_eq!(chunks(&nats).await, (1, 4), "those of the first are gone");
    store.put("b", &Saved::default()).await?;
    assert_eq!(
        store.get("b").await?,
        Some(Saved::default()),
        "an empty one"
    );

    store.delete("a").await?;
    assert_eq!(store.get("a").await?, None);
    assert_eq!(chunks(&nats).await, (0, 0));
    store.delete("a").await?;
    store.put("a", &value("three", 10)).await?;
    assert_eq!(store.get("a").await?, Some(value("three", 10)));
    Ok(())
}

#[tokio::test]
async fn a_large_object_is_what_any_client_reads() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let large = value("large report", 5 << 20);
    let bytes = large.encode_to_vec();
    store.put("with space / \u{e9}.pdf", &large).await?;

    let raw = nats.js.get_object_store("reports").await?;
    let mut object = raw.get("with space / \u{e9}.pdf").await?;
    let info = object.info().clone();
    assert_eq!(info.size, bytes.len());
    assert_eq!(info.chunks, bytes.len().div_ceil(CHUNK));
    assert_eq!(chunks(&nats).await, (1, info.chunks));
    let mut read = Vec::new();
    object.read_to_end(&mut read).await?;
    assert!(read == bytes);

    // And the other way.
    let name = "by_client".to_string();
    raw.put(name.as_str(), &mut bytes.as_slice()).await?;
    assert_eq!(store.get("by_client").await?, Some(large));
    raw.delete("by_client").await?;
    assert_eq!(store.get("by_client").await?, None);
    Ok(())
}

#[tokio::test]
async fn concurrent_puts_leave_one_object() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let values: Vec<_> = (0..16)
        .map(|n| value(&format!("v{n}"), (n % 4 + 1) * CHUNK))
        .collect();
    let puts = values.iter().map(|value| store.put("a", value));
    futures::future::try_join_all(puts).await?;
    let left = store.get("a").await?.unwrap();
    assert!(values.contains(&left));
    let size = left.encode_to_vec().len();
    assert_eq!(chunks(&nats).await, (1, size.div_ceil(CHUNK)));
    Ok(())
}

#[tokio::test]
async fn reading_while_others_write_finds_whole_objects() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &value("0", 4 * CHUNK)).await?;
    let writes = async {
        for n in 1..40 {
            store.put("a", &value(&n.to_string(), 4 * CHUNK)).await?;
        }
        Ok::<_, natsmicro::store::StoreError>(())
    };
    let reads = async {
        for _ in 0..60 {
            let read = store.get("a").await?.expect("there is always one");
            assert_eq!(read, value(&read.key, 4 * CHUNK));
        }
        Ok::<_, natsmicro::store::StoreError>(())
    };
    tokio::try_join!(writes, reads)?;
    Ok(())
}

#[tokio::test]
async fn an_object_without_its_chunks_fails_in_time() -> TestResult {
    let nats = Nats::start().await;
    store(&nats).await;
    let client = nats.client().with_timeout(Duration::from_secs(1));
    let store = ReportsClient::new(client).report_object_store();
    store.put("all", &value("x", 3 * CHUNK)).await?;
    let stream = nats.js.get_stream("OBJ_reports").await?;
    stream.purge().filter("$O.reports.C.>").await?;
    store.put("some", &value("x", 3 * CHUNK)).await?;
    // The chunk before the metadata.
    let state = nats.js.get_stream("OBJ_reports").await?;
    let chunk = state.cached_info().state.last_sequence - 1;
    stream.delete_message(chunk).await?;

    for name in ["all", "some"] {
        let begun = Instant::now();
        let error = store.get(name).await.unwrap_err();
        assert_eq!(error.kind(), &StoreErrorKind::Incomplete, "{name}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{name}");
    }
    // A damaged one is replaced and deleted like any other.
    store.put("all", &value("y", 10)).await?;
    assert_eq!(store.get("all").await?, Some(value("y", 10)));
    store.delete("some").await?;
    assert_eq!(store.get("some").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_foreign_object_is_a_decode_error_and_a_bad_name_is_refused() -> TestResult {
    let nats = Nats::start().await;
    let missing = ReportsClient::new(nats.client()).report_object_store();
    let error = missing.get("a").await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::BucketNotFound);
    let store = store(&nats).await;
    let raw = nats.js.get_object_store("reports").await?;
    raw.put("a", &mut &b"\x01\x02\x03"[..]).await?;
    let error = store.get("a").await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::Decode);
    raw.add_link("link", &raw.get("a").await?).await?;
    let error = store.get("link").await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::Unsupported);
    let long = "x".repeat(5_000);
    for name in ["", &long] {
        let errors = [
            store.get(name).await.err(),
            store.put(name, &value("x", 1)).await.err(),
            store.delete(name).await.err(),
        ];
        for error in errors {
            assert_eq!(error.unwrap().kind(), &StoreErrorKind::InvalidKey);
        }
    }
    let longest = "x".repeat(natsmicro::store::MAX_KEY_LEN);
    store.put(&longest, &value("x", 1)).await?;
    assert_eq!(store.get(&longest).await?, Some(value("x", 1)));
    Ok(())
}

#[tokio::test]
async fn behind_or_before_the_reply() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.service().await.add_service(ReportsServer::new(Writer));
    let server = server.start().await?;
    let client = ReportsClient::new(nats.client());
    let small = client.first(Save::number("small", 10)).await?;
    let stored = client.get_first_from_object_store("first.small").await?;
    assert_eq!(stored, Some(small));
    client.report(Save::number("small", 10)).await?;
    server.stop().await?;
    let stored = client.get_report_from_object_store("report.small").await?;
    assert_eq!(stored.unwrap().text.len(), 10);
    Ok(())
}

/// In a cluster, what is read may come from a replica that is behind.
#[tokio::test]
async fn what_is_stored_can_be_read_at_once_on_every_server() -> TestResult {
    let cluster = NatsCluster::start(3).await?;
    let js = async_nats::jetstream::new(cluster.connect().await?);
    js.create_object_store(Config {
        bucket: "reports".to_owned(),
        num_replicas: 3,
        storage: StorageType::Memory,
        ..Config::default()
    })
    .await?;
    for server in cluster.servers() {
        let nats = server.connect().await?;
        let jetstream = async_nats::jetstream::new(nats.clone());
        let client = natsmicro::Client::new(nats).with_jetstream(jetstream);
        let store = ReportsClient::new(client).report_object_store();
        for n in 0..6 {
            let values = (0..4).map(|k| value(&format!("{n}.{k}"), 8 * CHUNK));
            let values = values.map(async |value| {
                store.put(&value.key, &value).await?;
                let read = store.get(&value.key).await?;
                assert!(read.as_ref() == Some(&value));
                store.put(&value.key, &value).await?;
                let mut reader = store.reader(&value.key).await?.unwrap();
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).await.unwrap();
                assert!(bytes == value.encode_to_vec());
                Ok::<_, natsmicro::store::StoreError>(())
            });
            futures::future::try_join_all(values).await?;
        }
    }
    Ok(())
}

/// The writes to one object are made in the order of its calls.
#[tokio::test]
async fn calls_that_write_one_object() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.service().await.add_service(ReportsServer::new(Writer));
    let server = server.start().await?;
    let client = ReportsClient::new(nats.client());
    for n in 0..50 {
        client.report(Save::number("same", n * 1_000)).await?;
    }
    server.stop().await?;
    let stored = client.get_report_from_object_store("report.same").await?;
    assert_eq!(stored.unwrap().text.len(), 49_000);
    assert_eq!(chunks(&nats).await, (1, 1));
    Ok(())
}
