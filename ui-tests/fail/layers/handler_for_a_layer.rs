// An implementation where a layer of its service is needed.

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    async fn save(&self, request: SaveUser) -> Result<User, Status>;
}

#[derive(Clone)]
struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<User, Status> {
        Ok(User {
            id: request.id,
            ..User::default()
        })
    }
}

fn use_it(nats: async_nats::Client) {
    let users = UsersServer::new(InMemory).layer(InMemory);
    drop(natsmicro::Server::new(nats).add_service(users));
}

fn main() {}
