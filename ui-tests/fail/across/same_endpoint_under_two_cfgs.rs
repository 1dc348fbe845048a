// Two methods on one subject whose cfgs both hold.

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    #[cfg(all())]
    async fn save(&self, request: SaveUser) -> Result<User, Status>;

    #[cfg(not(any()))]
    #[endpoint(name = "save")]
    async fn store(&self, request: SaveUser) -> Result<User, Status>;

    #[cfg(any())]
    #[endpoint(name = "save")]
    async fn gone(&self, request: SaveUser) -> Result<User, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<User, Status> {
        Err(Status::not_found(request.id))
    }

    async fn store(&self, request: SaveUser) -> Result<User, Status> {
        Err(Status::not_found(request.id))
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: User = client.save(SaveUser::default()).await?;
    let stored: User = client.store(SaveUser::default()).await?;
    drop((server, client, user, stored));
    Ok(())
}

fn main() {}
