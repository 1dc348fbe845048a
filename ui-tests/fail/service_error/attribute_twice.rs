// Two `#[service_error]`s on one enum.

use natsmicro::{ServiceError, Status};
use natsmicro_ui_tests::{SaveUser, User};

#[derive(Debug, thiserror::Error, ServiceError)]
#[service_error(crate = ::natsmicro)]
#[service_error(crate = ::natsmicro)]
pub enum UserError {
    #[error("user {id} expired")]
    #[code("EXPIRED")]
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
