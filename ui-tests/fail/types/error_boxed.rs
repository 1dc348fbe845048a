// An error that is a `Box<dyn Error>`.

use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    async fn save(
        &self,
        request: SaveUser,
    ) -> Result<User, Box<dyn std::error::Error + Send + Sync>>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(
        &self,
        request: SaveUser,
    ) -> Result<User, Box<dyn std::error::Error + Send + Sync>> {
        Ok(User {
            id: request.id,
            ..User::default()
        })
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: User = client.save(SaveUser::default()).await?;
    drop((server, client, user));
    Ok(())
}

fn main() {}
