//! Every setting of every attribute.
#![deny(warnings)]

use natsmicro::{Context, Status};
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service(
    name = "Users",
    version = "1.2.0-rc.1+build.7",
    description = "Stores users.",
    subject_prefix = "api.v1",
    timeout = "30s",
    codec = "protobuf",
    metadata(team = "platform", "cost-centre" = "42", r#type = "core"),
    queue_group = "workers",
    skip = false,
    crate = ::natsmicro,
)]
pub trait Users {
    #[endpoint(
        name = "save",
        timeout = "1m",
        metadata(operation = "write"),
        queue_group = false,
        max_in_flight = 1,
        idempotent,
        validate = has_an_id
    )]
    #[kv_store(
        bucket = "users",
        key = "user.<id>.{name}",
        description = "Users by id.",
        max_history = 5,
        ttl = "7d",
        purge_ttl = "1h",
        marker_ttl = "10m",
        persist = "before_response",
        write = "create",
        compression,
        storage = "memory",
        replicas = 3,
        max_bytes = "1GiB",
        max_value_size = 65_536,
        metadata(team = "platform")
    )]
    #[object_store(
        bucket = "snapshots",
        key = "snapshot/<id>",
        description = "Large users.",
        ttl = "250ms",
        persist = "after_response",
        compression = true,
        storage = "file",
        replicas = 1,
        max_bytes = 1024
    )]
    async fn save_user(&self, cx: &Context, request: SaveUser) -> Result<User, Status>;

    #[natsmicro::endpoint(proto_name = "TouchUser")]
    #[natsmicro::kv_store(
        bucket = "touched",
        key = "touched.<id>",
        key_ttl = "90s",
        write = "create"
    )]
    async fn touch(&self, request: SaveUser) -> Result<User, Status>;

    #[allow(deprecated)]
    #[kv_store(bucket = "markers", key = "marker")]
    async fn mark(&self, request: SaveUser) -> Result<(), Status>;

    #[kv_delete(bucket = "users", key = "user.<id>.{name}")]
    #[natsmicro::kv_delete(
        bucket = "lists",
        key = "all",
        persist = "before_response",
        purge = true
    )]
    #[kv_delete(
        bucket = "lists",
        key = "of.<response.name>",
        persist = "after_response",
        purge
    )]
    async fn delete(&self, request: SaveUser) -> Result<User, Status>;

    #[kv_store(bucket = "users", key = "user.<id>.<name>", client_only)]
    #[kv_delete(bucket = "users", key = "user.<id>.<name>")]
    async fn refresh(&self, request: SaveUser) -> Result<(), Status>;

    #[kv_store(
        bucket = "sessions",
        key = "static",
        client_only,
        ttl = "1h",
        key_ttl = "5m",
        purge_ttl = "1m",
        storage = "memory"
    )]
    #[object_store(bucket = "pictures", key = "static", client_only, ttl = "1h")]
    async fn read(&self, request: SaveUser) -> Result<User, Status>;

    #[endpoint(skip)]
    async fn local(&self, bytes: &[u8], count: usize) -> Result<usize, Status>;
}

fn has_an_id(request: &SaveUser) -> Result<(), Status> {
    if request.id.is_empty() {
        return Err(Status::invalid_argument("no id"));
    }
    Ok(())
}

pub struct InMemory;

impl Users for InMemory {
    async fn mark(&self, _request: SaveUser) -> Result<(), Status> {
        Ok(())
    }

    async fn save_user(&self, _cx: &Context, request: SaveUser) -> Result<User, Status> {
        Ok(User {
            id: request.id,
            ..User::default()
        })
    }

    async fn touch(&self, request: SaveUser) -> Result<User, Status> {
        Err(Status::not_found(request.id))
    }

    async fn delete(&self, request: SaveUser) -> Result<User, Status> {
        Err(Status::not_found(request.id))
    }

    async fn refresh(&self, _request: SaveUser) -> Result<(), Status> {
        Ok(())
    }

    async fn read(&self, request: SaveUser) -> Result<User, Status> {
        Err(Status::not_found(request.id))
    }

    async fn local(&self, bytes: &[u8], count: usize) -> Result<usize, Status> {
        Ok(bytes.len() + count)
    }
}

pub async fn use_it(
    client: &UsersClient,
    user: &User,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let key = UsersClient::save_user_kv_key("ada", "Ada")?;
    let found: Option<User> = client.get_save_user_from_kv(&key).await?;
    let revision: u64 = client.put_save_user_to_kv(key, user).await?;
    let name = UsersClient::save_user_object_key("ada")?;
    let large: Option<User> = client.get_save_user_from_object_store(name).await?;
    client.put_touch_to_kv("touched.ada", user).await?;
    let kept: Option<User> = client.read_kv().get("static").await?;
    drop((found, revision, large, kept));
    Ok(())
}
