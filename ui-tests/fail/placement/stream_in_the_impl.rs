// `#[stream]` on a method of the implementation.

use natsmicro::{Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    async fn list(&self, request: SaveUser) -> Result<Streaming<User>, Status>;
}

struct InMemory;

impl Users for InMemory {
    #[natsmicro::stream(window = 16)]
    async fn list(&self, request: SaveUser) -> Result<Streaming<User>, Status> {
        Err(Status::not_found(request.id))
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let users: Streaming<User> = client.list(SaveUser::default()).await?;
    drop((server, client, users));
    Ok(())
}

fn main() {}
