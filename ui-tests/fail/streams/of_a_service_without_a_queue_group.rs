// A service without a queue group that has a method that streams.

use natsmicro::{Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service(queue_group = false)]
pub trait Users {
    async fn save(&self, request: SaveUser) -> Result<Streaming<User>, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<Streaming<User>, Status> {
        Err(Status::not_found(request.id))
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let answers: Streaming<User> = client.save(SaveUser::default()).await?;
    drop((server, client, answers));
    Ok(())
}

fn main() {}
