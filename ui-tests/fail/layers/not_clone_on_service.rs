// A layer of a service whose service of tower cannot be cloned: of a `ServiceBuilder`.

use std::time::Duration;

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};
use tower::ServiceBuilder;

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
    let limited = ServiceBuilder::new()
        .concurrency_limit(64)
        .rate_limit(100, Duration::from_secs(1));
    let users = UsersServer::new(InMemory).layer(limited);
    drop(natsmicro::Server::new(nats).add_service(users));
}

fn main() {}
