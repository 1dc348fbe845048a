// A trait whose subjects would be inboxes.

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait _Users {
    async fn save(&self, request: SaveUser) -> Result<User, Status>;
}

struct InMemory;

impl _Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<User, Status> {
        Ok(User {
            id: request.id,
            ..User::default()
        })
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(_UsersServer::new(InMemory));
    let client = _UsersClient::new(nats);
    let user: User = client.save(SaveUser::default()).await?;
    drop((server, client, user));
    Ok(())
}

fn main() {}
