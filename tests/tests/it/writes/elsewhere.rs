//! A stream that is not the bucket acknowledges what is written to it, or one that is a bucket no more.

use async_nats::jetstream::stream::{Config, SubjectTransform};
use natsmicro::store::StoreErrorKind;
use natsmicro::testing::NatsServer;
use natsmicro::{Code, RunningServer, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually, persistence};

#[natsmicro::service]
pub trait Elsewhere {
    #[kv_store(bucket = "entries", key = "<key>")]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "entries", key = "<key>", persist = "before_response")]
    async fn before(&self, request: Save) -> Result<Saved, Status>;

    #[kv_delete(bucket = "entries", key = "<key>", persist = "before_response")]
    async fn delete(&self, request: Save) -> Result<(), Status>;

    #[object_store(bucket = "objects", key = "<key>", persist = "before_response")]
    async fn object(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Elsewhere for Echo {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn delete(&self, _request: Save) -> Result<(), Status> {
        Ok(())
    }
    async fn object(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

async fn start(nats: &Nats, with_batches: bool) -> (RunningServer, ElsewhereClient) {
    let server = nats.service().await.with_batches(with_batches);
    let server = server.add_service(ElsewhereServer::new(Echo)).start().await;
    (server.unwrap(), ElsewhereClient::new(nats.client()))
}

fn save(key: &str) -> Save {
    Save::new(key, "")
}

/// All that a client and a service write fails, with this kind of error of the client.
async fn nothing_is_stored(
    server: RunningServer,
    client: &ElsewhereClient,
    kind: StoreErrorKind,
) -> TestResult {
    let (entries, objects) = (client.after_kv(), client.object_object_store());
    let value = save("key").saved();
    for error in [
        entries.put("key", &value).await.unwrap_err(),
        entries.create("new", &value).await.unwrap_err(),
        entries.delete("key").await.unwrap_err(),
        entries.purge("key").await.unwrap_err(),
        objects.put("key", &value).await.unwrap_err(),
    ] {
        assert_eq!(*error.kind(), kind, "{error}");
    }
    for error in [
        client.before(save("key")).await.unwrap_err(),
        client.delete(save("key")).await.unwrap_err(),
        client.object(save("key")).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), &Code::Unavailable, "{error}");
    }
    for n in 0..20 {
        client.after(save(&n.to_string())).await?;
    }
    eventually("the writes are given up", || async {
        let stats = persistence(&server, "after");
        (stats.persist_pending == 0).then_some(())
    })
    .await;
    assert_eq!(persistence(&server, "after").persist_failed, 20);
    assert_eq!(server.stop().await.unwrap_err().lost_write_count(), 23);
    Ok(())
}

/// Another stream takes the subjects of buckets that are gone.
async fn another_stream(with_batches: bool) -> TestResult {
    let nats = Nats::start().await;
    let (server, client) = start(&nats, with_batches).await;
    client.before(save("key")).await?;
    client.object(save("key")).await?;
    for stream in ["KV_entries", "OBJ_objects"] {
        nats.js.delete_stream(stream).await?;
    }
    nats.js
        .create_stream(Config {
            name: "ARCHIVE".to_owned(),
            subjects: vec!["$KV.>".to_owned(), "$O.>".to_owned()],
            allow_batch_publish: with_batches,
            allow_rollup: true,
            ..Config::default()
        })
        .await?;
    nothing_is_stored(server, &client, StoreErrorKind::BucketNotFound).await
}

#[tokio::test]
async fn in_another_stream() -> TestResult {
    another_stream(false).await
}

#[tokio::test]
async fn in_another_stream_in_batches() -> TestResult {
    another_stream(true).await
}

#[tokio::test]
async fn in_another_bucket_by_a_mapping_of_the_account() -> TestResult {
    let config =
        "mappings = { \"$KV.entries.>\": \"$KV.other.>\", \"$O.objects.>\": \"$KV.other.>\" }";
    let server = NatsServer::builder().config(config).start().await?;
    let nats = Nats::of(server).await;
    nats.js
        .create_key_value(async_nats::jetstream::kv::Config {
            bucket: "other".to_owned(),
            ..Default::default()
        })
        .await?;
    let (server, client) = start(&nats, false).await;
    nothing_is_stored(server, &client, StoreErrorKind::Nats).await
}

/// The stream stays, and is edited so that it is a bucket no more. That shows within five seconds, and a moment for the look.
#[tokio::test]
async fn in_a_bucket_whose_messages_get_other_subjects() -> TestResult {
    let nats = Nats::start().await;
    let (server, client) = start(&nats, false).await;
    client.before(save("key")).await?;
    for (stream, subjects) in [("KV_entries", "$KV.entries"), ("OBJ_objects", "$O.objects")] {
        let mut config = nats.stream_config(stream).await;
        config.subject_transform = Some(SubjectTransform {
            source: format!("{subjects}.>"),
            destination: format!("{subjects}.C.moved.>"),
        });
        nats.js.update_stream(&config).await?;
    }
    eventually("the service refuses to write", || async {
        let entry = client.before(save("probe")).await.is_err();
        let object = client.object(save("probe")).await.is_err();
        (entry && object).then_some(())
    })
    .await;
    let lost: u64 = ["before", "object"]
        .map(|method| persistence(&server, method).persist_failed)
        .iter()
        .sum();
    let (entries, objects) = (client.after_kv(), client.object_object_store());
    let value = save("key").saved();
    for error in [
        entries.put("key", &value).await.unwrap_err(),
        entries.delete("key").await.unwrap_err(),
        objects.put("key", &value).await.unwrap_err(),
    ] {
        assert_eq!(*error.kind(), StoreErrorKind::NotABucket, "{error}");
    }
    client.after(save("key")).await?;
    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count() as u64, lost + 1);
    for lost in error.lost_writes() {
        assert!(lost.cause.ends_with("is gone"), "{lost}");
    }

    // It is a bucket again.
    for stream in ["KV_entries", "OBJ_objects"] {
        let mut config = nats.stream_config(stream).await;
        config.subject_transform = None;
        nats.js.update_stream(&config).await?;
    }
    entries.put("key", &value).await?;
    objects.put("key", &value).await?;
    Ok(())
}

/// A stream of the name of the bucket that nothing written to the bucket reaches is as good as none.
#[tokio::test]
async fn nowhere_since_the_stream_is_no_bucket() -> TestResult {
    let nats = Nats::start().await;
    let (server, client) = start(&nats, false).await;
    for (stream, subject) in [("KV_entries", "other.k"), ("OBJ_objects", "other.o")] {
        nats.js.delete_stream(stream).await?;
        let subjects = vec![subject.to_owned()];
        let config = Config {
            name: stream.to_owned(),
            subjects,
            ..Config::default()
        };
        nats.js.create_stream(config).await?;
    }
    nothing_is_stored(server, &client, StoreErrorKind::NotABucket).await
}
