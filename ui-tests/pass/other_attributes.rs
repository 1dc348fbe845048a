// Attributes of other crates below `#[service]`: a mock of the trait, and a variant of it.

#![deny(warnings)]

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
#[mockall::automock]
pub trait Users {
    #[kv_store(bucket = "users", key = "user.<id>")]
    async fn save(&self, request: SaveUser) -> Result<User, Status>;
}

#[natsmicro::service]
#[trait_variant::make(Send)]
pub trait Others {
    async fn save(&self, request: SaveUser) -> Result<User, Status>;
}

pub fn serve(server: natsmicro::Server) -> natsmicro::Server {
    server.add_service(UsersServer::new(MockUsers::new()))
}
