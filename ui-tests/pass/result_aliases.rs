//! Results under other names.
#![deny(warnings)]

use natsmicro::Result;
use natsmicro_ui_tests::{SaveUser, User};

pub type ApiResult<T, E = natsmicro::Status> = std::result::Result<T, E>;

#[natsmicro::service]
pub trait Users {
    #[kv_store(bucket = "users", key = "user.<id>.<response.version>")]
    async fn save(&self, request: SaveUser) -> Result<User>;
    async fn update(&self, request: SaveUser) -> ApiResult<User>;
    async fn touch(&self, request: SaveUser) -> std::result::Result<(), natsmicro::Status>;
}

pub struct InMemory;

impl Users for InMemory {
    async fn save(&self, _request: SaveUser) -> Result<User> {
        Ok(User::default())
    }

    async fn update(&self, _request: SaveUser) -> ApiResult<User> {
        Ok(User::default())
    }

    async fn touch(&self, _request: SaveUser) -> Result<()> {
        Ok(())
    }
}

pub async fn use_it(client: &UsersClient) -> Result<User> {
    client.touch(SaveUser::default()).await?;
    client.update(SaveUser::default()).await?;
    client.save(SaveUser::default()).await
}
