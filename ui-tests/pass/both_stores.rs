//! Both stores on one method: one key function for the same template, two for different ones.
#![deny(warnings)]

use natsmicro::{Key, KvStore, ObjectStore, Status, store::InvalidKey};
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    #[kv_store(bucket = "users", key = "user.<id>")]
    #[object_store(bucket = "users", key = "user.{id}")]
    async fn same(&self, request: SaveUser) -> Result<User, Status>;

    #[kv_store(bucket = "users", key = "user.<id>")]
    #[object_store(bucket = "others", key = "<name>/<response.id>")]
    async fn different(&self, request: SaveUser) -> Result<User, Status>;
}

pub fn stores(
    client: &UsersClient,
) -> (
    KvStore<User>,
    ObjectStore<User>,
    KvStore<User>,
    ObjectStore<User>,
) {
    (
        client.same_kv(),
        client.same_object_store(),
        client.different_kv(),
        client.different_object_store(),
    )
}

pub fn keys() -> [Result<Key, InvalidKey>; 3] {
    [
        UsersClient::same_key("ada"),
        UsersClient::different_kv_key("ada"),
        UsersClient::different_object_key("Ada", "ada"),
    ]
}
