// A service that cannot be shared between threads.

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};
use std::cell::RefCell;

#[natsmicro::service]
pub trait Users {
    async fn save(&self, request: SaveUser) -> Result<User, Status>;
}

struct InMemory(RefCell<u64>);

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<User, Status> {
        Ok(User {
            id: request.id,
            ..User::default()
        })
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone())
        .add_service(UsersServer::new(InMemory(RefCell::new(0))));
    let client = UsersClient::new(nats);
    let user: User = client.save(SaveUser::default()).await?;
    drop((server, client, user));
    Ok(())
}

fn main() {}
