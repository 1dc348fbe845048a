// A method that returns a future instead of being `async`.

use std::future::Future;

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    #[kv_store(bucket = "users", key = "user.<id>")]
    fn save(&self, request: SaveUser) -> impl Future<Output = Result<User, Status>> + Send;
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
