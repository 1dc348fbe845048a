// `#[automock]` above `#[service]`. Two of the errors are rustc's: what mockall writes has the attribute where none can be.

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[mockall::automock]
#[natsmicro::service]
pub trait Users {
    #[kv_store(bucket = "users", key = "user.<id>")]
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
    let stored: Option<User> = client.get_save_from_kv("user.ada").await.unwrap();
    let handle: natsmicro::KvStore<User> = client.save_kv();
    drop((stored, handle));
    drop((server, client, user));
    Ok(())
}

fn main() {}
