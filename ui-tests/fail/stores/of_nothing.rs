// A store of a method that returns nothing: a warning.

#![deny(deprecated)]

use natsmicro::Status;
use natsmicro_ui_tests::SaveUser;

#[natsmicro::service]
pub trait Users {
    #[kv_store(bucket = "users", key = "user.<id>", ttl = "1h")]
    async fn save(&self, request: SaveUser) -> Result<(), Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<(), Status> {
        Err(Status::not_found(request.id))
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: () = client.save(SaveUser::default()).await?;
    let stored: Option<()> = client.get_save_from_kv("user.ada").await.unwrap();
    let handle: natsmicro::KvStore<()> = client.save_kv();
    drop((stored, handle));
    drop((server, client, user));
    Ok(())
}

fn main() {}
