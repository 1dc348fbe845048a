// A service where a layer is needed.

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    async fn save(&self, request: SaveUser) -> Result<User, Status>;
}

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
    let server = natsmicro::Server::new(nats).layer(UsersServer::new(InMemory));
    drop(server);
}

fn main() {}
