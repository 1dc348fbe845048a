// A method that returns `Self`.

use natsmicro::Status;
use natsmicro_ui_tests::SaveUser;

#[natsmicro::service]
pub trait Users {
    async fn save(&self, request: SaveUser) -> Result<Self, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<Self, Status> {
        drop(request);
        Ok(Self)
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user = ();
    drop((server, client, user));
    Ok(())
}

fn main() {}
