// A code that is no string.

use natsmicro::{ServiceError, Status};
use natsmicro_ui_tests::{SaveUser, User};

#[derive(Debug, thiserror::Error, ServiceError)]
pub enum UserError {
    #[error("user {id} expired")]
    #[code(404)]
    Expired { id: String },
    #[error(transparent)]
    Other(#[from] Status),
}

#[natsmicro::service]
pub trait Users {
    async fn save(&self, request: SaveUser) -> Result<User, UserError>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<User, UserError> {
        Ok(User {
            id: request.id,
            ..User::default()
        })
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), UserError> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: User = client.save(SaveUser::default()).await?;
    drop((server, client, user));
    Ok(())
}

fn main() {}
