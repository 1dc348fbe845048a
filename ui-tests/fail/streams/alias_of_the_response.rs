// A stream behind an alias.

use natsmicro::{Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

type Listed = Streaming<User>;

#[natsmicro::service]
pub trait Users {
    async fn list(&self, request: SaveUser) -> Result<Listed, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn list(&self, request: SaveUser) -> Result<Listed, Status> {
        Err(Status::not_found(request.id))
    }
}

async fn use_it(nats: async_nats::Client, saved: Streaming<SaveUser>) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let answer: Listed = client.list(SaveUser::default()).await?;
    drop(saved);
    drop((server, client, answer));
    Ok(())
}

fn main() {}
