// `#[stream]` on a method that does not stream.

use natsmicro::{Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    #[stream(window = 16)]
    async fn save(&self, request: SaveUser) -> Result<User, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<User, Status> {
        Err(Status::not_found(request.id))
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
