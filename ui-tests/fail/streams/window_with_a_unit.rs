// A window of messages with a unit of bytes.

use natsmicro::{Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    #[stream(window = "64KiB")]
    async fn save(&self, users: Streaming<SaveUser>) -> Result<User, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, users: Streaming<SaveUser>) -> Result<User, Status> {
        drop(users);
        Err(Status::internal("not yet"))
    }
}

async fn use_it(nats: async_nats::Client, saved: Streaming<SaveUser>) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let answer: User = client.save(saved).await?;
    drop((server, client, answer));
    Ok(())
}

fn main() {}
