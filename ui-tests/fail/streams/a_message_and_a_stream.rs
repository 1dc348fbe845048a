// A message and a stream.

use natsmicro::{Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    async fn save(&self, request: SaveUser, users: Streaming<SaveUser>) -> Result<User, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser, users: Streaming<SaveUser>) -> Result<User, Status> {
        drop((request, users));
        Err(Status::internal("not yet"))
    }
}

async fn use_it(nats: async_nats::Client, saved: Streaming<SaveUser>) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let answer: User = client.save(SaveUser::default()).await?;
    drop(saved);
    drop((server, client, answer));
    Ok(())
}

fn main() {}
