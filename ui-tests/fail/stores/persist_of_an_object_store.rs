// An unknown word for an object store.

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    #[object_store(bucket = "users", key = "user.<id>", persist = "never")]
    async fn save(&self, request: SaveUser) -> Result<User, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<User, Status> {
        Ok(User {
            id: request.id,
            ..User::default()
        })
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: User = client.save(SaveUser::default()).await?;
    let stored: Option<User> = client.get_save_from_object_store("user.ada").await.unwrap();
    let handle: natsmicro::ObjectStore<User> = client.save_object_store();
    drop((stored, handle));
    drop((server, client, user));
    Ok(())
}

fn main() {}
