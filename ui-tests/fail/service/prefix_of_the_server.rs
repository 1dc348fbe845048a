// A subject prefix that belongs to the NATS server.

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service(subject_prefix = "$SYS.users")]
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

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: User = client.save(SaveUser::default()).await?;
    drop((server, client, user));
    Ok(())
}

fn main() {}
