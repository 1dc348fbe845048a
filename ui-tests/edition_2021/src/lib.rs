//! The same in the edition before.
#![deny(warnings)]

use natsmicro::{Context, ServiceError, Status};
use natsmicro_ui_tests::{SaveUser, User};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    #[prost(string, tag = "1")]
    pub gen: String,
}

#[derive(Debug, thiserror::Error, ServiceError)]
pub enum UserError {
    #[error("{id} is gone")]
    #[code("GONE")]
    Gone { id: String },
    #[error(transparent)]
    Other(#[from] Status),
}

#[natsmicro::service]
pub trait Users {
    #[kv_store(bucket = "users", key = "user.<id>")]
    async fn save(&self, cx: &Context, request: SaveUser) -> Result<User, UserError>;

    #[kv_store(bucket = "generated", key = "<gen>")]
    async fn gen(&self, request: Request) -> Result<Request, Status>;
}

pub struct InMemory;

impl Users for InMemory {
    async fn save(&self, _cx: &Context, request: SaveUser) -> Result<User, UserError> {
        Err(UserError::Gone { id: request.id })
    }

    async fn gen(&self, request: Request) -> Result<Request, Status> {
        Ok(request)
    }
}

pub async fn use_it(client: UsersClient) -> Result<User, UserError> {
    drop(UsersServer::new(InMemory));
    client.gen(Request::default()).await?;
    client.save(SaveUser::default()).await
}
