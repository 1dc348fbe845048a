// A stream of what is no message.

use natsmicro::{Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

#[derive(Clone, Debug)]
pub struct Person;

fn persons() -> Streaming<Person> {
    todo!()
}

#[natsmicro::service]
pub trait Users {
    async fn save(&self, users: Streaming<Person>) -> Result<User, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, users: Streaming<Person>) -> Result<User, Status> {
        drop(users);
        Err(Status::internal("not yet"))
    }
}

async fn use_it(nats: async_nats::Client, saved: Streaming<SaveUser>) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let answer: User = client.save(persons()).await?;
    drop(saved);
    drop((server, client, answer));
    Ok(())
}

fn main() {}
