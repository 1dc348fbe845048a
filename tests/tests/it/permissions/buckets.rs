//! Creating, updating and deleting buckets, by services and by clients.

use natsmicro::__private::permissions::{
    KV_CREATE_BUCKET, KV_DELETE_BUCKET, KV_TTL, KV_UPDATE_BUCKET, Names, OBJECT_CREATE_BUCKET,
    SERVICE,
};
use natsmicro::store::BucketPolicy;
use natsmicro::{StartErrorKind, Status};
use natsmicro_tests::common::{Text, text};

use super::trial::{self, Outcome, Run, Trial};
use super::writes::{
    BOXES, BoxesClient, BoxesServer, Impl, REPORTS, ReportsClient, ReportsServer, make_buckets,
};

#[natsmicro::service(subject_prefix = "box.v1")]
trait Expiring {
    #[kv_store(bucket = "box", key = "<text>", key_ttl = "1h")]
    async fn keep(&self, request: Text) -> Result<Text, Status>;
}

/// The same bucket with another setting.
#[natsmicro::service(subject_prefix = "box.v1")]
trait Longer {
    #[kv_store(bucket = "box", key = "<text>", max_history = 5)]
    async fn keep(&self, request: Text) -> Result<Text, Status>;
}

impl Expiring for Impl {
    async fn keep(&self, request: Text) -> Result<Text, Status> {
        Ok(text(request.text))
    }
}

impl Longer for Impl {
    async fn keep(&self, request: Text) -> Result<Text, Status> {
        Ok(text(request.text))
    }
}

async fn delete(run: &Run, stream: &str) {
    let jetstream = async_nats::jetstream::new(run.other.clone());
    // Fails if there is none.
    let _ = jetstream.delete_stream(stream).await;
}

async fn start<S, D>(
    run: &Run,
    service: natsmicro::ServiceServer<S, D>,
    policy: BucketPolicy,
) -> Outcome
where
    S: Send + Sync + 'static,
    D: natsmicro::Dispatch<S>,
{
    let server = run.server().with_bucket_policy(policy);
    match server.add_service(service).start().await {
        Ok(running) => running.stop().await.map_err(trial::text),
        Err(error) => {
            let text = trial::text(&error);
            if text.contains("does not permit") {
                assert_eq!(*error.kind(), StartErrorKind::PermissionDenied, "{text}");
            }
            Err(text)
        }
    }
}

#[tokio::test]
async fn a_service_that_creates_its_bucket() {
    let trial = Trial::without_responses(&[SERVICE, KV_CREATE_BUCKET], BOXES).await;
    let create = async |run: &Run| {
        delete(run, "KV_box").await;
        start(run, BoxesServer::new(Impl), BucketPolicy::Create).await
    };
    trial.run(create).await;
    trial
        .run_untold("<api>.STREAM.CREATE.KV_<bucket>", create)
        .await;
    trial
        .run_untold("<api>.STREAM.INFO.KV_<bucket>", create)
        .await;
}

#[tokio::test]
async fn a_service_that_creates_its_object_store() {
    let trial = Trial::without_responses(&[SERVICE, OBJECT_CREATE_BUCKET], REPORTS).await;
    let create = async |run: &Run| {
        delete(run, "OBJ_reports").await;
        start(run, ReportsServer::new(Impl), BucketPolicy::Create).await
    };
    trial.run(create).await;
    trial
        .run_untold("<api>.STREAM.CREATE.OBJ_<bucket>", create)
        .await;
}

#[tokio::test]
async fn a_service_whose_entries_expire() {
    let names = Names {
        service: "Expiring",
        endpoints: &["keep"],
        ..BOXES
    };
    let trial = Trial::without_responses(&[SERVICE, KV_TTL], names).await;
    let nats = trial.admin().await;
    let server = natsmicro::Server::new(nats.clone())
        .with_jetstream(async_nats::jetstream::new(nats))
        .add_service(ExpiringServer::new(Impl));
    server.start().await.unwrap().stop().await.unwrap();
    let restart =
        async |run: &Run| start(run, ExpiringServer::new(Impl), BucketPolicy::Never).await;
    trial.run(restart).await;
    trial.run_untold("<api>.INFO", restart).await;
}

#[tokio::test]
async fn a_service_that_updates_its_bucket() {
    let names = Names {
        service: "Longer",
        endpoints: &["keep"],
        ..BOXES
    };
    let trial = Trial::without_responses(&[SERVICE, KV_UPDATE_BUCKET], names).await;
    let update = async |run: &Run| {
        delete(run, "KV_box").await;
        let jetstream = async_nats::jetstream::new(run.other.clone());
        let config = async_nats::jetstream::kv::Config {
            bucket: "box".to_owned(),
            ..Default::default()
        };
        jetstream.create_key_value(config).await.unwrap();
        start(run, LongerServer::new(Impl), BucketPolicy::Update).await
    };
    trial.run(update).await;
    trial
        .run_untold("<api>.STREAM.UPDATE.KV_<bucket>", update)
        .await;
}

#[tokio::test]
async fn clients_that_create_buckets() {
    let trial = Trial::of(&[KV_CREATE_BUCKET], BOXES).await;
    let create = async |run: &Run| {
        delete(run, "KV_box").await;
        let store = BoxesClient::new(run.client()).later_kv();
        store.create_bucket().await.map_err(trial::text)
    };
    trial.run(create).await;
    trial
        .run_untold("<api>.STREAM.CREATE.KV_<bucket>", create)
        .await;
    let trial = Trial::of(&[OBJECT_CREATE_BUCKET], REPORTS).await;
    let create = async |run: &Run| {
        delete(run, "OBJ_reports").await;
        let store = ReportsClient::new(run.client()).report_object_store();
        store.create_bucket().await.map_err(trial::text)
    };
    trial.run(create).await;
}

#[tokio::test]
async fn clients_that_delete_buckets() {
    let trial = Trial::of(&[KV_DELETE_BUCKET], BOXES).await;
    let delete = async |run: &Run| {
        make_buckets(&trial).await;
        let store = BoxesClient::new(run.client()).later_kv();
        store.delete_bucket().await.map_err(trial::text)
    };
    trial.run(delete).await;
    trial
        .run_untold("<api>.STREAM.DELETE.KV_<bucket>", delete)
        .await;
}
