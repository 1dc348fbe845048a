//! What is left in an Object Store of puts and deletes whose messages or answers are lost: nothing.

use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, object_store};
use natsmicro::store::StoreErrorKind;
use natsmicro::testing::NatsServer;
use natsmicro::{ObjectStore, Status};
use natsmicro_tests::persistence::log::Log;
use natsmicro_tests::persistence::proxy::{Fault, Proxy};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually, persistence};
use tokio::io::{AsyncReadExt, repeat};

#[natsmicro::service]
pub trait Reports {
    #[object_store(bucket = "reports", key = "report.<key>", client_only)]
    async fn report(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Archive {
    #[object_store(bucket = "reports", key = "<key>")]
    async fn archive(&self, request: Save) -> Result<Saved, Status>;
}

struct Archivist;

impl Archive for Archivist {
    async fn archive(&self, request: Save) -> Result<Saved, Status> {
        Ok(request.saved())
    }
}

const CHUNK: usize = 128 * 1024;
const TIMEOUT: Duration = Duration::from_secs(2);
/// What the messages begin with that a change of an object consists of.
const CHUNKS: &str = "PUB $O.reports.C.";
const METADATA: &str = "HPUB $O.reports.M.";
const LOOK: &str = "STREAM.MSG.GET.OBJ_reports";
const PURGE: &str = "STREAM.PURGE.OBJ_reports";

async fn make_bucket(nats: &Nats) {
    let config = object_store::Config {
        bucket: "reports".to_owned(),
        ..object_store::Config::default()
    };
    nats.js.create_object_store(config).await.unwrap();
}

/// The store on the connection of the test.
fn store(nats: &Nats) -> ObjectStore<Saved> {
    ReportsClient::new(nats.client()).report_object_store()
}

/// The store through a proxy.
async fn store_behind(proxy: &Proxy) -> ObjectStore<Saved> {
    let nats = proxy.connect().await;
    let client = natsmicro::Client::new(nats.clone())
        .with_jetstream(jetstream::new(nats))
        .with_timeout(TIMEOUT);
    let store = ReportsClient::new(client).report_object_store();
    // Opens the bucket.
    assert!(store.info("a").await.unwrap().is_none());
    store
}

async fn put(
    store: &ObjectStore<Saved>,
    chunks: usize,
) -> Result<u64, natsmicro::store::StoreError> {
    let data = vec![7; chunks * CHUNK];
    store.put_from("a", &data[..]).await
}

/// How many chunks there are, of how many objects.
async fn chunks(nats: &Nats) -> (usize, usize) {
    let subjects = nats.subjects("OBJ_reports", "$O.reports.C.>").await;
    (subjects.len(), subjects.values().sum())
}

/// The last sequence of the bucket, and how many messages it has.
async fn state(nats: &Nats) -> (u64, u64) {
    let stream = nats.js.get_stream("OBJ_reports").await.unwrap();
    let state = &stream.cached_info().state;
    (state.last_sequence, state.messages)
}

/// How many chunks there should be.
async fn expected(nats: &Nats) -> (usize, usize) {
    let info = store(nats).info("a").await.unwrap();
    info.map_or((0, 0), |info| (1, usize::try_from(info.chunks).unwrap()))
}

/// Nothing but the object is there, and it is whole.
async fn is_tidy(nats: &Nats, what: &str) {
    eventually(&format!("nothing is left: {what}"), || async {
        (chunks(nats).await == expected(nats).await).then_some(())
    })
    .await;
    if let Some(mut reader) = store(nats).reader("a").await.unwrap() {
        let read = reader.read_to_end(&mut Vec::new()).await;
        assert!(read.is_ok(), "{what}: {read:?}");
    }
}

/// Ends what the server has heard of and never will answer.
async fn cut_after(proxy: &Proxy, fault: Fault) {
    proxy.failed().await;
    if fault == Fault::Unanswered {
        proxy.cut();
    }
}

#[tokio::test]
async fn a_put_while_the_server_is_away() -> TestResult {
    let nats = Nats::start().await;
    make_bucket(&nats).await;
    let client = nats.client().with_timeout(TIMEOUT);
    let behind = ReportsClient::new(client).report_object_store();
    let (half, stored) = tokio::sync::oneshot::channel();
    let mut half = Some(half);
    let endless = behind.put_from("a", repeat(7)).with_progress(move |bytes| {
        if bytes > 4 << 20 {
            half.take().map(|half| half.send(()));
        }
    });
    let endless = tokio::spawn(endless.into_future());
    stored.await?;
    nats.server.kill()?;
    let error = endless.await?.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::TimedOut, "{error}");
    nats.server.restart().await?;
    is_tidy(&nats, "a put that failed").await;
    Ok(())
}

#[tokio::test]
async fn a_put_whose_messages_are_lost() -> TestResult {
    for message in [LOOK, CHUNKS, METADATA, PURGE] {
        for fault in [Fault::Lost, Fault::Unanswered] {
            let what = format!("{message} {fault:?}");
            let nats = Nats::start().await;
            make_bucket(&nats).await;
            let proxy = Proxy::start(&nats.server).await;
            let behind = store_behind(&proxy).await;
            put(&behind, 3).await?;
            proxy.fail(message, fault);
            let (put, ()) = tokio::join!(put(&behind, 5), cut_after(&proxy, fault));
            let info = store(&nats).info("a").await?.unwrap();
            if message == PURGE || (message, fault) == (METADATA, Fault::Unanswered) {
                assert_eq!((info.chunks, info.revision), (5, put?), "{what}");
            } else {
                assert_eq!(put.unwrap_err().kind(), &StoreErrorKind::TimedOut, "{what}");
                assert_eq!(info.chunks, 3, "{what}");
            }
            is_tidy(&nats, &what).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_delete_whose_messages_are_lost() -> TestResult {
    for message in [METADATA, PURGE] {
        for fault in [Fault::Lost, Fault::Unanswered] {
            let what = format!("{message} {fault:?}");
            let nats = Nats::start().await;
            make_bucket(&nats).await;
            let proxy = Proxy::start(&nats.server).await;
            let behind = store_behind(&proxy).await;
            put(&behind, 3).await?;
            proxy.fail(message, fault);
            let (deleted, ()) = tokio::join!(behind.delete("a"), cut_after(&proxy, fault));
            let is_there = store(&nats).info("a").await?.is_some();
            let is_expected = (message, fault) == (METADATA, Fault::Lost);
            assert_eq!(is_there, is_expected, "{what}: {deleted:?}");
            is_tidy(&nats, &what).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_service_whose_messages_are_lost() -> TestResult {
    for fault in [Fault::Lost, Fault::Unanswered] {
        let nats = Nats::start().await;
        let proxy = Proxy::start(&nats.server).await;
        let service = proxy.service().await;
        let service = service
            .add_service(ArchiveServer::new(Archivist))
            .with_persist_timeout(TIMEOUT);
        let service = service.start().await?;
        let client = ArchiveClient::new(nats.client());
        let report = |chunks| Save::new("a", "x".repeat(chunks * CHUNK));
        client.archive(report(2)).await?;
        eventually("the first is stored", || async {
            (persistence(&service, "archive").persisted == 1).then_some(())
        })
        .await;
        proxy.fail(METADATA, fault);
        let (archived, ()) = tokio::join!(client.archive(report(4)), cut_after(&proxy, fault));
        archived?;
        eventually("the second has ended", || async {
            let written = persistence(&service, "archive");
            (written.persisted + written.persist_failed == 2).then_some(())
        })
        .await;
        is_tidy(&nats, &format!("{fault:?}")).await;
        assert_eq!(service.stop().await.is_err(), fault == Fault::Lost);
    }
    Ok(())
}

/// Whoever deleted or replaced it may be gone.
#[tokio::test]
async fn what_others_have_deleted_half_way() -> TestResult {
    let nats = Nats::start().await;
    make_bucket(&nats).await;
    let store = store(&nats);
    let stream = nats.js.get_stream("OBJ_reports").await?;
    for again in ["delete", "put"] {
        put(&store, 3).await?;
        let stored = stream.get_last_raw_message_by_subject("$O.reports.M.YQ==");
        let mut meta: serde_json::Value = serde_json::from_slice(&stored.await?.payload)?;
        meta["deleted"] = true.into();
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Rollup", "sub");
        let subject = "$O.reports.M.YQ==";
        let payload = meta.to_string().into();
        let published = nats.js.publish_with_headers(subject, headers, payload);
        published.await?.await?;
        assert_eq!(chunks(&nats).await, (1, 3));
        match again {
            "delete" => store.delete("a").await?,
            _ => drop(put(&store, 2).await?),
        }
        assert_eq!(chunks(&nats).await, expected(&nats).await, "{again}");
    }
    Ok(())
}

/// What a broken connection delivers, after the chunks are gone, does not make an object without chunks.
#[tokio::test]
async fn metadata_that_comes_late() -> TestResult {
    let nats = Nats::start().await;
    make_bucket(&nats).await;
    let proxy = Proxy::start(&nats.server).await;
    let behind = store_behind(&proxy).await;
    put(&behind, 3).await?;
    proxy.fail(METADATA, Fault::Late);
    let error = put(&behind, 5).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::TimedOut, "{error}");
    proxy.failed().await;
    is_tidy(&nats, "the put has failed").await;
    proxy.release().await;
    assert_eq!(expected(&nats).await, (1, 3));
    is_tidy(&nats, "the metadata came late").await;

    // The same with a delete: the chunks stay until it is done.
    let (before, _) = state(&nats).await;
    proxy.fail(METADATA, Fault::Late);
    let error = behind.delete("a").await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::TimedOut, "{error}");
    proxy.failed().await;
    eventually("what was looked for is removed", || async {
        let (last, messages) = state(&nats).await;
        (last > before && messages == 4).then_some(())
    })
    .await;
    proxy.release().await;
    is_tidy(&nats, "the delete came late").await;
    Ok(())
}

#[tokio::test]
async fn a_put_whose_answer_is_lost() -> TestResult {
    let nats = Nats::start().await;
    make_bucket(&nats).await;
    let proxy = Proxy::start(&nats.server).await;
    let behind = store_behind(&proxy).await;
    proxy.fail(METADATA, Fault::Unanswered);
    let value = Save::new("a", "x".repeat(3 * CHUNK)).saved();
    let error = behind.put("a", &value).await.unwrap_err();
    assert_eq!(error.kind(), &StoreErrorKind::TimedOut, "{error}");
    proxy.cut();
    is_tidy(&nats, "it is stored").await;
    assert_eq!(store(&nats).get("a").await?, Some(value));
    Ok(())
}

/// What is given up is in the log, and nothing goes on without a connection.
#[tokio::test]
async fn a_client_that_may_not_remove_chunks() -> TestResult {
    let server = NatsServer::builder().config(
        r#"
        no_auth_user: all
        authorization {
            users: [
                { user: all, password: x }
                { user: some, password: x, permissions { publish { deny: "$JS.API.STREAM.PURGE.>" } } }
            ]
        }"#,
    );
    let nats = Nats::of(server.start().await?).await;
    make_bucket(&nats).await;
    let log = Log::start();
    let options = ConnectOptions::with_user_and_password("some".into(), "x".into());
    let some = nats.server.connect_with(options).await?;
    let client = natsmicro::Client::new(some.clone()).with_jetstream(jetstream::new(some.clone()));
    let store = ReportsClient::new(client).report_object_store();
    put(&store, 1).await?;
    put(&store, 2).await?;
    assert_eq!(chunks(&nats).await, (2, 3));
    some.drain().await?;
    let text = eventually("it is given up", || async {
        Some(log.text()).filter(|text| text.contains("stay in the bucket"))
    })
    .await;
    assert_eq!(text.matches("stay in").count(), 1, "{text}");
    assert!(text.contains("bucket=\"reports\""), "{text}");
    assert!(text.contains("the connection is closed"), "{text}");
    Ok(())
}
