//! Objects as bytes, as lists and as they change.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_nats::jetstream::object_store;
use futures::{StreamExt, TryStreamExt};
use natsmicro::store::{Operation, StoreError, StoreErrorKind, WatchEvent};
use natsmicro::{ObjectStore, Status};
use natsmicro_tests::persistence::watching::{entry, next};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

#[natsmicro::service]
pub trait Reports {
    #[object_store(bucket = "reports", key = "report.<key>", client_only)]
    async fn report(&self, request: Save) -> Result<Saved, Status>;
}

const CHUNK: usize = 128 * 1024;

async fn store(nats: &Nats) -> ObjectStore<Saved> {
    let config = object_store::Config {
        bucket: "reports".to_owned(),
        ..object_store::Config::default()
    };
    nats.js.create_object_store(config).await.unwrap();
    ReportsClient::new(nats.client()).report_object_store()
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

async fn read(store: &ObjectStore<Saved>, name: &str) -> io::Result<Vec<u8>> {
    let mut reader = store.reader(name).await.unwrap().unwrap();
    let mut data = Vec::new();
    reader.read_to_end(&mut data).await?;
    Ok(data)
}

async fn chunks(nats: &Nats) -> (usize, usize) {
    let subjects = nats.subjects("OBJ_reports", "$O.reports.C.>").await;
    (subjects.len(), subjects.values().sum())
}

async fn no_chunks_are_left(nats: &Nats) {
    eventually("the chunks are removed", || async {
        (chunks(nats).await == (0, 0)).then_some(())
    })
    .await;
}

/// Fails after so many bytes; never, if it is to hang.
struct Broken {
    left: usize,
    hangs: bool,
}

impl AsyncRead for Broken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return match self.hangs {
                true => Poll::Pending,
                false => Poll::Ready(Err(io::Error::other("the disk is gone"))),
            };
        }
        let length = self.left.min(buffer.remaining()).min(10_000);
        buffer.put_slice(&vec![7; length]);
        self.left -= length;
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn bytes_there_and_back() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    assert!(store.reader("a").await?.is_none());
    assert!(store.info("a").await?.is_none());
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 10 * CHUNK + 5] {
        let data = bytes(length);
        let revision = store.put_from("a", &data[..]).await?;
        assert!(read(&store, "a").await? == data, "{length}");
        let info = store.info("a").await?.unwrap();
        assert_eq!((info.size, info.revision), (length as u64, revision));
        assert_eq!(info.chunks, length.div_ceil(CHUNK) as u64);
        assert!(!info.is_link);
        // As async-nats sees it.
        let raw = nats.js.get_object_store("reports").await?;
        let mut object = raw.get("a").await?;
        let mut seen = Vec::new();
        object.read_to_end(&mut seen).await?;
        assert!(seen == data, "{length}");
    }
    assert_eq!(chunks(&nats).await, (1, 11), "those replaced are gone");
    Ok(())
}

#[tokio::test]
async fn a_source_that_gives_little_at_a_time() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let data = bytes(5 * CHUNK + 1);
    let (source, mut sink) = tokio::io::duplex(1_000);
    let written = data.clone();
    let writer = tokio::spawn(async move { sink.write_all(&written).await });
    let mut stored = Vec::new();
    store
        .put_from("a", source)
        .with_chunk_size(CHUNK / 2)
        .with_description("of the month")
        .with_metadata("author", "Ada")
        .with_progress(|bytes| stored.push(bytes))
        .await?;
    writer.await??;
    assert_eq!(stored.len(), 11);
    assert!(stored.is_sorted());
    assert_eq!(stored.last(), Some(&(data.len() as u64)));
    let info = store.info("a").await?.unwrap();
    assert_eq!(info.chunks, 11);
    assert_eq!(info.description.as_deref(), Some("of the month"));
    assert_eq!(info.metadata["author"], "Ada");
    assert!(read(&store, "a").await? == data);
    let reader = store.reader("a").await?.unwrap();
    assert_eq!(reader.info(), &info);
    Ok(())
}

#[tokio::test]
async fn what_fails_leaves_nothing_behind() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let broken = |hangs| Broken {
        left: 50 * CHUNK,
        hangs,
    };
    let error = store.put_from("a", broken(false)).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::Reader);
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.downcast_ref::<io::Error>().is_some(), "{source}");
    assert_eq!(chunks(&nats).await, (0, 0));
    assert!(store.info("a").await?.is_none());

    // Dropped half-way.
    let (first, stored) = tokio::sync::oneshot::channel();
    let mut first = Some(first);
    let put = store.put_from("a", broken(true)).with_progress(move |_| {
        first.take().map(|first| first.send(()));
    });
    let put = tokio::spawn(put.into_future());
    stored.await?;
    assert!(chunks(&nats).await.1 > 0);
    put.abort();
    no_chunks_are_left(&nats).await;

    // Over what the server takes.
    let large = vec![0; 3 << 20];
    let put = store.put_from("a", &large[..]).with_chunk_size(2 << 20);
    assert_eq!(put.await.unwrap_err().kind(), &StoreErrorKind::TooLarge);
    let mut config = nats.stream_config("OBJ_reports").await;
    config.max_bytes = 20 * CHUNK as i64;
    nats.js.update_stream(&config).await?;
    let error = store.put_from("a", &bytes(40 * CHUNK)[..]).await;
    assert_eq!(
        error.unwrap_err().kind(),
        &StoreErrorKind::Full,
        "it is full"
    );
    no_chunks_are_left(&nats).await;
    for name in ["", &"x".repeat(5_000)] {
        let error = store.put_from(name, &b"x"[..]).await.unwrap_err();
        assert_eq!(error.kind(), &StoreErrorKind::InvalidKey);
    }
    Ok(())
}

#[tokio::test]
async fn concurrent_puts_leave_one_object() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let all: Vec<_> = (1..=8_usize).map(|n| bytes(n * CHUNK)).collect();
    let puts = all
        .iter()
        .map(|data| store.put_from("a", &data[..]).into_future());
    futures::future::try_join_all(puts).await?;
    let left = read(&store, "a").await?;
    assert!(all.contains(&left));
    assert_eq!(chunks(&nats).await, (1, left.len() / CHUNK));
    Ok(())
}

/// Many tasks keep the runtime busy, so that sends are interrupted; the chunks stay in order all the same.
#[tokio::test]
async fn chunks_stay_in_order_on_a_busy_runtime() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let data = bytes(200 * 1_000 + 7);
    let names: Vec<_> = (0..8).map(|n| n.to_string()).collect();
    let puts = names.iter().map(|name| {
        let put = store.put_from(name, &data[..]);
        put.with_chunk_size(1_000).into_future()
    });
    futures::future::try_join_all(puts).await?;
    for name in &names {
        assert!(read(&store, name).await? == data);
    }
    Ok(())
}

#[tokio::test]
async fn a_reader_of_what_is_gone() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let data = bytes(100 * CHUNK);
    store.put_from("a", &data[..]).await?;
    let mut replaced = store.reader("a").await?.unwrap();
    let mut first = vec![0; CHUNK];
    replaced.read_exact(&mut first).await?;
    assert!(first == data[..CHUNK]);
    store.put_from("a", &b"short"[..]).await?;
    let error = replaced.read_to_end(&mut Vec::new()).await.unwrap_err();
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    let error: &StoreError = error.unwrap();
    assert_eq!(error.kind(), &StoreErrorKind::Incomplete);
    assert_eq!(read(&store, "a").await?, b"short");

    let stream = nats.js.get_stream("OBJ_reports").await?;
    stream.purge().filter("$O.reports.C.>").await?;
    let error = read(&store, "a").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);

    // Other bytes than the digest was made of.
    store.put_from("b", &b"right"[..]).await?;
    let raw = nats.js.get_object_store("reports").await?;
    let nuid = raw.info("b").await?.nuid;
    stream.purge().filter("$O.reports.C.>").await?;
    let chunk = format!("$O.reports.C.{nuid}");
    nats.js.publish(chunk, "wrong".into()).await?.await?;
    let error = read(&store, "b").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_away_while_an_object_is_read() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let data = bytes(200 * CHUNK);
    store.put_from("a", &data[..]).await?;
    let mut reader = store.reader("a").await?.unwrap();
    let mut read = vec![0; CHUNK];
    reader.read_exact(&mut read).await?;
    nats.server.restart().await?;
    reader.read_to_end(&mut read).await?;
    assert!(read == data);
    Ok(())
}

#[tokio::test]
async fn lists_and_changes() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    let mut watch = store.watch().await?;
    assert_eq!(next(&mut watch).await?, WatchEvent::EndOfInitial);
    assert!(store.list().await?.next().await.is_none());
    // Read one by one: the metadata of an object replaces the one before.
    for (name, text) in [
        ("a", "x"),
        ("with space / \u{e9}", "x"),
        ("gone", "x"),
        ("a", "y"),
    ] {
        let revision = store.put(name, &Save::new(name, text).saved()).await?;
        let seen = entry(&mut watch).await;
        assert_eq!((seen.key.as_str(), seen.revision), (name, revision));
        assert_eq!(seen.value, store.info(name).await?);
    }
    store.delete("gone").await?;
    let seen = entry(&mut watch).await;
    assert_eq!((seen.key.as_str(), seen.value), ("gone", None));
    assert_eq!(seen.operation, Operation::Delete);

    let listed: Vec<_> = store.list().await?.try_collect().await?;
    let names: Vec<_> = listed.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(names, ["with space / \u{e9}", "a"]);
    let info = store.info("a").await?;
    assert_eq!(listed[1].value, info);
    assert_eq!(listed[1].revision, info.unwrap().revision);

    let mut later = store.watch().await?;
    for name in ["with space / \u{e9}", "a"] {
        assert_eq!(entry(&mut later).await.key, name);
    }
    assert_eq!(next(&mut later).await?, WatchEvent::EndOfInitial);

    // What is no metadata is an error in its place.
    let meta = "$O.reports.M.b2Rk".to_owned();
    nats.js.publish(meta, "odd".into()).await?.await?;
    let error = next(&mut later).await.unwrap_err();
    assert_eq!(error.undecodable().unwrap().value, "odd");
    store.put("b", &Saved::default()).await?;
    assert_eq!(entry(&mut later).await.key, "b");
    Ok(())
}

#[tokio::test]
async fn a_deleted_bucket() -> TestResult {
    let nats = Nats::start().await;
    let store = store(&nats).await;
    store.put("a", &Saved::default()).await?;
    let status = store.status().await?;
    assert_eq!((status.bucket.as_str(), status.values), ("reports", 1));
    let mut watch = store.watch().await?;
    next(&mut watch).await?;
    next(&mut watch).await?;
    store.delete_bucket().await?;
    let error = next(&mut watch).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::BucketNotFound);
    for error in [
        store.get("a").await.err(),
        store.put("a", &Saved::default()).await.err(),
        store.delete("a").await.err(),
        store.info("a").await.err(),
        store.reader("a").await.err(),
        store.put_from("a", &b"x"[..]).await.err(),
        store.list().await.err(),
        store.watch().await.err(),
        store.status().await.err(),
        store.delete_bucket().await.err(),
    ] {
        assert_eq!(error.unwrap().kind(), &StoreErrorKind::BucketNotFound);
    }
    Ok(())
}
