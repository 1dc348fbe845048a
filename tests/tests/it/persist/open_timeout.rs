//! A start whose bucket does not open.

use std::time::Duration;

use async_nats::jetstream;
use natsmicro::{Server, StartErrorKind, Status};
use natsmicro_tests::persistence::proxy::{Fault, Proxy};
use natsmicro_tests::persistence::{Nats, Save, Saved};

#[natsmicro::service]
pub trait Owner {
    #[kv_store(bucket = "owned", key = "<key>")]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Eraser {
    #[kv_delete(bucket = "shared", key = "<key>")]
    async fn erase(&self, request: Save) -> Result<(), Status>;
}

struct Service;

impl Owner for Service {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Eraser for Service {
    async fn erase(&self, request: Save) -> Result<(), Status> {
        request.answer().map(drop)
    }
}

/// The start fails, and names the bucket, when JetStream does not answer. A request of this context would wait for far longer.
async fn start_fails(
    nats: &Nats,
    stream: &'static str,
    bucket: &str,
    add: impl FnOnce(Server) -> Server,
) {
    let proxy = Proxy::start(&nats.server).await;
    let service = proxy.connect().await;
    let mut context = jetstream::new(service.clone());
    context.set_timeout(Duration::from_secs(3600));
    let server = add(Server::new(service).with_jetstream(context));
    proxy.fail(stream, Fault::Swallowed);
    let started = tokio::time::timeout(Duration::from_secs(60), server.start());
    let error = started.await.expect("the start has a timeout").unwrap_err();
    assert_eq!(error.kind(), &StartErrorKind::Nats);
    let expected = format!("bucket `{bucket}` was not ready within 10s");
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn a_bucket_that_does_not_open_in_time_fails_the_start() {
    let nats = Nats::start().await;
    tokio::join!(
        start_fails(&nats, "KV_owned", "owned", |server| {
            server.add_service(OwnerServer::new(Service))
        }),
        start_fails(&nats, "KV_shared", "shared", |server| {
            server.add_service(EraserServer::new(Service))
        }),
    );
}
