//! Buckets that are reached in other ways than on the own server and in the own account: through a domain, from leaf nodes, through imports,
//! and as mirrors. Each cell of the table in the documentation is a test.

mod cells;
mod entries;
mod least_privilege;
mod mirrors;
mod objects;
mod refused;
mod service;
mod setups;
mod twins;

use async_nats::jetstream;
use natsmicro::Status;
use natsmicro::testing::NatsServer;
use natsmicro_tests::persistence::{Save, Saved};

#[natsmicro::service(subject_prefix = "goods")]
pub trait Goods {
    #[kv_store(
        bucket = "goods",
        key = "<key>",
        marker_ttl = "1h",
        persist = "before_response"
    )]
    async fn put(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "goods", key = "<key>", marker_ttl = "1h")]
    async fn put_later(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "goods",
        key = "<key>",
        marker_ttl = "1h",
        write = "create",
        persist = "before_response"
    )]
    async fn create(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "goods",
        key = "<key>",
        marker_ttl = "1h",
        write = "update",
        persist = "before_response"
    )]
    async fn update(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "goods",
        key = "<key>",
        marker_ttl = "1h",
        key_ttl = "1s",
        persist = "before_response"
    )]
    async fn lend(&self, request: Save) -> Result<Saved, Status>;

    #[kv_delete(bucket = "goods", key = "<key>", persist = "before_response")]
    async fn remove(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service(subject_prefix = "pictures")]
pub trait Pictures {
    #[object_store(bucket = "pictures", key = "<key>", persist = "before_response")]
    async fn paint(&self, request: Save) -> Result<Saved, Status>;
}

pub struct Echo;

impl Goods for Echo {
    async fn put(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn put_later(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn create(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn update(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn lend(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn remove(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Pictures for Echo {
    /// Answers with the text twice, so that the response may be larger than a request can be.
    async fn paint(&self, request: Save) -> Result<Saved, Status> {
        let mut saved = request.saved();
        saved.text = saved.text.repeat(2);
        Ok(saved)
    }
}

/// A way to buckets.
pub struct Way {
    /// The connection of services and clients, and the context that they use.
    nats: async_nats::Client,
    context: jetstream::Context,
    /// A context at the place where the buckets are.
    home: jetstream::Context,
    _servers: Vec<NatsServer>,
}

impl Way {
    fn client(&self) -> natsmicro::Client {
        natsmicro::Client::new(self.nats.clone()).with_jetstream(self.context.clone())
    }

    fn server(&self) -> natsmicro::Server {
        natsmicro::Server::new(self.nats.clone()).with_jetstream(self.context.clone())
    }

    fn goods(&self) -> GoodsClient {
        GoodsClient::new(self.client())
    }

    fn pictures(&self) -> PicturesClient {
        PicturesClient::new(self.client())
    }
}
