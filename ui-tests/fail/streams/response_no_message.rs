// A stream of what is no message.

use natsmicro::{Status, Streaming};
use natsmicro_ui_tests::SaveUser;

#[derive(Clone, Debug)]
pub struct Person;

#[natsmicro::service]
pub trait Users {
    async fn list(&self, request: SaveUser) -> Result<Streaming<Person>, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn list(&self, request: SaveUser) -> Result<Streaming<Person>, Status> {
        Err(Status::not_found(request.id))
    }
}

async fn use_it(nats: async_nats::Client, saved: Streaming<SaveUser>) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let answer: Streaming<Person> = client.list(SaveUser::default()).await?;
    drop(saved);
    drop((server, client, answer));
    Ok(())
}

fn main() {}
