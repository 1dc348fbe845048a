//! A server and a client without JetStream.

use natsmicro::store::StoreErrorKind;
use natsmicro::{Client, StartErrorKind, Status};
use natsmicro_tests::persistence::log::Log;
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult};

#[natsmicro::service]
pub trait Later {
    #[kv_store(bucket = "later", key = "<key>")]
    #[object_store(bucket = "later", key = "<key>")]
    async fn later(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Profiles {
    #[kv_store(bucket = "after", key = "user.<key>")]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "before", key = "user.<key>", persist = "before_response")]
    async fn before(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Drafts {
    #[kv_store(bucket = "drafts", key = "<key>")]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Later for Echo {
    async fn later(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Profiles for Echo {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Drafts for Echo {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

#[tokio::test]
async fn without_jetstream_calls_work_and_nothing_is_stored() -> TestResult {
    let nats = Nats::start().await;
    let server = natsmicro::Server::new(nats.nats.clone())
        .add_service(LaterServer::new(Echo))
        .start()
        .await?;
    let client = LaterClient::new(Client::new(nats.nats.clone()));
    client.later(Save::new("ada", "x")).await?;
    assert!(server.stats()[0].endpoints[0].persistence.is_none());
    assert!(!nats.has_stream("KV_later").await);

    let value = Save::new("ada", "x").saved();
    let kinds = [
        *client.get_later_from_kv("ada").await.unwrap_err().kind(),
        *client
            .put_later_to_kv("ada", &value)
            .await
            .unwrap_err()
            .kind(),
        *client.later_kv().watch(">").await.unwrap_err().kind(),
        *client
            .get_later_from_object_store("ada")
            .await
            .unwrap_err()
            .kind(),
        *client
            .put_later_to_object_store("ada", &value)
            .await
            .unwrap_err()
            .kind(),
    ];
    assert_eq!(kinds, [StoreErrorKind::JetStreamNotConfigured; 5]);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn before_response_without_jetstream_does_not_start() {
    let nats = Nats::start().await;
    let error = natsmicro::Server::new(nats.nats.clone())
        .add_service(ProfilesServer::new(Echo))
        .start()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &StartErrorKind::JetStreamRequired);
    assert!(error.to_string().contains("before"), "{error}");
    assert!(
        !error.to_string().contains("Profiles.after"),
        "names only the methods that need it: {error}"
    );
}

#[tokio::test]
async fn one_warning_names_the_methods_that_are_not_persisted() -> TestResult {
    let nats = Nats::start().await;
    let log = Log::start();
    let server = natsmicro::Server::new(nats.nats.clone())
        .add_service(LaterServer::new(Echo))
        .add_service(DraftsServer::new(Echo))
        .start()
        .await?;
    server.stop().await?;
    let log = log.text();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("`Later.later`, `Drafts.save`"), "{log}");
    assert!(log.contains("with_jetstream"), "{log}");
    Ok(())
}
