//! A method that is not there takes everything made from it away, and two methods of one name are fine if only one is there.
#![deny(warnings)]

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    #[cfg(any())]
    #[kv_store(bucket = "gone", key = "user.<no_such_field>")]
    #[kv_delete(bucket = "gone", key = "old.<no_such_field>")]
    async fn gone(&self, request: NoSuchType) -> Result<NoSuchType, NoSuchType>;

    #[cfg_attr(all(), cfg(any()))]
    async fn gone_too(&self, request: NoSuchType) -> Result<NoSuchType, NoSuchType>;

    #[cfg(not(doc))]
    #[kv_store(bucket = "users", key = "user.<id>")]
    async fn save(&self, request: SaveUser) -> Result<User, Status>;

    #[cfg(any())]
    async fn save(&self, request: User) -> Result<User, Status>;

    #[kv_store(bucket = "shared", key = "<id>", max_history = 2)]
    async fn kept(&self, request: SaveUser) -> Result<User, Status>;

    #[cfg(any())]
    #[endpoint(name = "renamed")]
    async fn kept(&self, request: User) -> Result<User, Status>;

    #[cfg(any())]
    #[endpoint(name = "kept")]
    #[kv_store(bucket = "shared", key = "<id>", max_history = 3)]
    async fn same_subject_and_bucket(&self, request: SaveUser) -> Result<User, Status>;

    #[cfg(any())]
    #[kv_store(bucket = "shared", key = "<id>", max_history = 4)]
    async fn same_bucket(&self, request: SaveUser) -> Result<User, Status>;

    #[cfg(any())]
    async fn kept_kv(&self, request: SaveUser) -> Result<User, Status>;

    #[cfg(any())]
    async fn Kept(&self, request: SaveUser) -> Result<User, Status>;
}

#[cfg(any())]
#[natsmicro::service]
pub trait Gone {
    async fn gone(&self, request: NoSuchType) -> Result<NoSuchType, NoSuchType>;
}

pub struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<User, Status> {
        Err(Status::not_found(request.id))
    }

    async fn kept(&self, request: SaveUser) -> Result<User, Status> {
        Err(Status::not_found(request.id))
    }
}

#[derive(Debug, thiserror::Error, natsmicro::ServiceError)]
#[error("something is wrong")]
pub enum Error {
    #[code("GONE")]
    Gone,
    #[cfg(any())]
    #[code("GONE")]
    GoneToo,
    #[cfg(not(any()))]
    #[code("BUSY")]
    Busy,
    #[cfg(any())]
    #[code("BUSY")]
    BusyToo,
    Other(Status),
}

pub fn server() -> UsersServer<InMemory> {
    UsersServer::new(InMemory)
}
