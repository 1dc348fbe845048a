// A type of the same name from elsewhere as the response.

use natsmicro::{Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

mod other {
    pub struct Streaming<T>(pub Vec<T>);
}

#[natsmicro::service]
pub trait Users {
    async fn list(&self, request: SaveUser) -> Result<other::Streaming<User>, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn list(&self, request: SaveUser) -> Result<other::Streaming<User>, Status> {
        Err(Status::not_found(request.id))
    }
}

async fn use_it(nats: async_nats::Client, saved: Streaming<SaveUser>) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let answer: other::Streaming<User> = client.list(SaveUser::default()).await?;
    drop(saved);
    drop((server, client, answer));
    Ok(())
}

fn main() {}
