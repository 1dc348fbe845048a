// An alias of a `Result` whose error is no service error.

use natsmicro_ui_tests::{SaveUser, User};

#[derive(Debug)]
pub struct MyError;

type Reply<T> = std::result::Result<T, MyError>;

#[natsmicro::service]
pub trait Users {
    async fn save(&self, request: SaveUser) -> Reply<User>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Reply<User> {
        Ok(User {
            id: request.id,
            ..User::default()
        })
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), MyError> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: User = client.save(SaveUser::default()).await?;
    drop((server, client, user));
    Ok(())
}

fn main() {}
