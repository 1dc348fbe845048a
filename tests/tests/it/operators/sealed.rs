//! A sealed bucket can be read, and no service starts on it.

use natsmicro::store::{BucketPolicy, StoreErrorKind};
use natsmicro::{StartErrorKind, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};

#[natsmicro::service]
pub trait Archive {
    #[kv_store(bucket = "archive", key = "<key>", ttl = "1h")]
    #[object_store(bucket = "archive", key = "<key>")]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Plain {
    #[kv_store(bucket = "archive", key = "<key>")]
    async fn plain(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Objects {
    #[object_store(bucket = "archive", key = "<key>")]
    async fn object(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Removals {
    #[kv_delete(bucket = "archive", key = "<key>")]
    async fn remove(&self, request: Save) -> Result<(), Status>;
}

struct Echo;

impl Archive for Echo {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Plain for Echo {
    async fn plain(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Objects for Echo {
    async fn object(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Removals for Echo {
    async fn remove(&self, _: Save) -> Result<(), Status> {
        Ok(())
    }
}

async fn seal(nats: &Nats, stream: &str) {
    let mut config = nats.stream_config(stream).await;
    config.sealed = true;
    nats.js.update_stream(config).await.unwrap();
}

#[tokio::test]
async fn no_service_starts_and_the_error_says_sealed() -> TestResult {
    let nats = Nats::start().await;
    let client = ArchiveClient::new(nats.client());
    let (entries, objects) = (client.save_kv(), client.save_object_store());
    entries.create_bucket().await?;
    objects.create_bucket().await?;
    let value = Save::new("a", "b").saved();
    entries.put("a", &value).await?;
    objects.put("a", &value).await?;
    seal(&nats, "KV_archive").await;
    seal(&nats, "OBJ_archive").await;
    let before = nats.stream_config("KV_archive").await;
    for policy in [
        BucketPolicy::Create,
        BucketPolicy::Update,
        BucketPolicy::Never,
    ] {
        // With settings that a sealed bucket has lost, and with none.
        let server = async || nats.service().await.with_bucket_policy(policy);
        for server in [
            server().await.add_service(ArchiveServer::new(Echo)),
            server().await.add_service(PlainServer::new(Echo)),
            server().await.add_service(ObjectsServer::new(Echo)),
            server().await.add_service(RemovalsServer::new(Echo)),
        ] {
            let error = server.start().await.unwrap_err();
            assert_eq!(error.kind(), &StartErrorKind::BucketMismatch, "{error}");
            let text = error.to_string();
            assert!(text.contains("`archive` is sealed"), "{policy:?}: {text}");
        }
    }
    assert_eq!(nats.stream_config("KV_archive").await, before);

    // It is an archive, which is there to be read.
    let client = ArchiveClient::new(nats.client());
    let (entries, objects) = (client.save_kv(), client.save_object_store());
    assert_eq!(entries.get("a").await?, Some(value.clone()));
    assert_eq!(objects.get("a").await?, Some(value.clone()));
    let cache = entries.cached().await?;
    assert_eq!(cache.get("a")?.as_deref(), Some(&value));
    let refused = entries.put("a", &value).await.unwrap_err();
    assert_eq!(refused.kind(), &StoreErrorKind::Unsupported);
    Ok(())
}
