//! A bucket that becomes a mirror, and a mirror that becomes a bucket of its own, under a service and its clients.

use async_nats::jetstream::stream::{Config, Source, SubjectTransform};
use futures::TryStreamExt;
use natsmicro::{KvStore, RunningServer, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually, persistence};

use super::value;

#[natsmicro::service]
pub trait Origin {
    #[kv_store(bucket = "origin", key = "<key>", client_only)]
    async fn origin(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Moved {
    #[kv_store(bucket = "moved", key = "<key>")]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "moved", key = "<key>", persist = "before_response")]
    async fn put(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "moved",
        key = "<key>",
        persist = "before_response",
        write = "create"
    )]
    async fn create(&self, request: Save) -> Result<Saved, Status>;

    #[kv_delete(bucket = "moved", key = "<key>", persist = "before_response")]
    async fn delete(&self, request: Save) -> Result<(), Status>;

    #[kv_delete(bucket = "moved", key = "<key>", persist = "before_response", purge)]
    async fn purge(&self, request: Save) -> Result<(), Status>;
}

struct Echo;

impl Moved for Echo {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn put(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn create(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn delete(&self, _request: Save) -> Result<(), Status> {
        Ok(())
    }
    async fn purge(&self, _request: Save) -> Result<(), Status> {
        Ok(())
    }
}

struct Fixture {
    nats: Nats,
    origin: KvStore<Saved>,
    client: MovedClient,
}

impl Fixture {
    async fn start() -> Self {
        let nats = Nats::start().await;
        // A mirror answers direct reads of its origin too.
        let origin = OriginClient::new(nats.client()).origin_kv();
        let origin = origin.with_leader_reads();
        origin.create_bucket().await.unwrap();
        Self {
            client: MovedClient::new(nats.client()),
            origin,
            nats,
        }
    }

    async fn serve(&self, with_batches: bool) -> RunningServer {
        let server = self.nats.service().await.with_batches(with_batches);
        let server = server.add_service(MovedServer::new(Echo)).start();
        server.await.unwrap()
    }

    /// A stream without subjects of its own, whose messages are those of the origin.
    async fn mirror(&self, transforms: Vec<SubjectTransform>) {
        let config = Config {
            name: "KV_moved".to_owned(),
            mirror: Some(Source {
                name: "KV_origin".to_owned(),
                subject_transforms: transforms,
                ..Source::default()
            }),
            max_messages_per_subject: 1,
            allow_rollup: true,
            allow_direct: true,
            ..Config::default()
        };
        self.nats.js.create_stream(config).await.unwrap();
    }

    /// As `nats stream edit --no-mirror` does.
    async fn promote(&self) {
        let config = Config {
            mirror: None,
            subjects: vec!["$KV.moved.>".to_owned()],
            ..self.nats.stream_config("KV_moved").await
        };
        self.nats.js.update_stream(config).await.unwrap();
    }

    /// A client that only reads, on a connection of its own.
    async fn reader(&self) -> KvStore<Saved> {
        let nats = self.nats.server.connect().await.unwrap();
        let jetstream = async_nats::jetstream::new(nats.clone());
        let client = natsmicro::Client::new(nats).with_jetstream(jetstream);
        MovedClient::new(client).put_kv()
    }

    async fn moved_keys(&self) -> usize {
        let own = self.nats.subjects("KV_moved", "$KV.moved.>").await;
        own.len()
    }
}

/// Finds an entry with a value, by a look-up and in the list of keys.
async fn is_found(store: &KvStore<Saved>, key: &str, n: u64) {
    eventually(&format!("`{key}` is found"), || async {
        let found = store.get(key).await.unwrap();
        found.filter(|it| it.n == n).map(drop)
    })
    .await;
    let keys: Vec<String> = store.keys(key).await.unwrap().try_collect().await.unwrap();
    assert_eq!(keys, [key]);
}

/// No write of the service is lost, of those that nobody waits for either.
async fn becomes_a_mirror(with_batches: bool) -> TestResult {
    const WRITES: u64 = 500;
    let fixture = Fixture::start().await;
    let Fixture { client, origin, .. } = &fixture;
    let server = fixture.serve(with_batches).await;
    client.put(Save::number("before", 0)).await?;
    let store = client.put_kv();
    store.put("before", &value(0)).await?;
    let reader = fixture.reader().await;
    assert_eq!(reader.get("before").await?, Some(value(0)));
    fixture.nats.js.delete_stream("KV_moved").await?;
    fixture.mirror(Vec::new()).await;

    for n in 0..WRITES {
        client.after(Save::number(format!("after-{n}"), n)).await?;
    }
    client.put(Save::number("put", 1)).await?;
    client.create(Save::number("created", 2)).await?;
    store.put("by-client", &value(3)).await?;
    for (key, n) in [("put", 1), ("created", 2), ("by-client", 3)] {
        assert_eq!(origin.get(key).await?, Some(value_of(key, n)));
    }
    is_found(&reader, "put", 1).await;
    client.delete(Save::new("put", "")).await?;
    client.purge(Save::new("created", "")).await?;
    assert_eq!(origin.get("put").await?, None);
    assert_eq!(origin.get("created").await?, None);
    eventually("all writes are settled", || async {
        (persistence(&server, "after").persist_pending == 0).then_some(())
    })
    .await;
    assert_eq!(origin.get("after-0").await?, Some(value_of("after-0", 0)));
    let stored = fixture.nats.subjects("KV_origin", "$KV.origin.*").await;
    let after = stored
        .keys()
        .filter(|it| it.starts_with("$KV.origin.after-"));
    assert_eq!(after.count() as u64, WRITES);
    server.stop().await?;
    Ok(())
}

/// What the service stores has the key in it.
fn value_of(key: &str, n: u64) -> Saved {
    match key {
        "by-client" => value(n),
        key => Save::number(key, n).saved(),
    }
}

#[tokio::test]
async fn a_bucket_that_becomes_a_mirror_is_written_to_at_its_origin() -> TestResult {
    becomes_a_mirror(false).await
}

#[tokio::test]
async fn a_bucket_with_batches_that_becomes_a_mirror_is_written_to_at_its_origin() -> TestResult {
    becomes_a_mirror(true).await
}

/// The origin goes on taking what is written to it, so that no answer of the server tells.
#[tokio::test]
async fn a_mirror_that_becomes_a_bucket_is_written_to_itself() -> TestResult {
    for transforms in [
        Vec::new(),
        vec![SubjectTransform {
            source: "$KV.origin.>".to_owned(),
            destination: "$KV.moved.>".to_owned(),
        }],
    ] {
        let fixture = Fixture::start().await;
        let Fixture { client, origin, .. } = &fixture;
        fixture.mirror(transforms).await;
        let server = fixture.serve(false).await;
        let store = client.put_kv();
        client.put(Save::number("service", 0)).await?;
        store.put("client", &value(0)).await?;
        assert_eq!(origin.get("service").await?.map(|it| it.n), Some(0));
        assert_eq!(origin.get("client").await?.map(|it| it.n), Some(0));
        eventually("the mirror has both", || async {
            let found = fixture.nats.subjects("KV_moved", ">").await;
            (found.len() == 2).then_some(())
        })
        .await;
        let reader = fixture.reader().await;
        assert_eq!(reader.get("client").await?, Some(value(0)));
        fixture.promote().await;
        let before = fixture.moved_keys().await;

        eventually("the service writes to the bucket", || async {
            let new = Save::number("new-service", 1);
            client.put(new).await.unwrap();
            (fixture.moved_keys().await > before).then_some(())
        })
        .await;
        eventually("the client writes to the bucket", || async {
            store.put("new-client", &value(1)).await.unwrap();
            (fixture.moved_keys().await > before + 1).then_some(())
        })
        .await;
        assert_eq!(store.get("new-service").await?.map(|it| it.n), Some(1));
        assert_eq!(store.get("new-client").await?, Some(value(1)));
        store.put("client", &value(7)).await?;
        is_found(&reader, "client", 7).await;
        client.delete(Save::new("new-service", "")).await?;
        assert_eq!(store.get("new-service").await?, None);
        // What went to the origin in between is still there.
        let origin_before = origin.get("new-service").await?;
        client.put(Save::number("new-service", 2)).await?;
        assert_eq!(origin.get("new-service").await?, origin_before);
        server.stop().await?;
    }
    Ok(())
}
