// Both stores of a method that streams either way.

use natsmicro::{Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    #[kv_store(bucket = "users", key = "user.<id>")]
    #[object_store(bucket = "users", key = "user.<id>")]
    async fn sync(&self, users: Streaming<SaveUser>) -> Result<Streaming<User>, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn sync(&self, users: Streaming<SaveUser>) -> Result<Streaming<User>, Status> {
        drop(users);
        Err(Status::internal("not yet"))
    }
}

async fn use_it(nats: async_nats::Client, saved: Streaming<SaveUser>) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let answer: Streaming<User> = client.sync(saved).await?;
    drop((server, client, answer));
    Ok(())
}

fn main() {}
