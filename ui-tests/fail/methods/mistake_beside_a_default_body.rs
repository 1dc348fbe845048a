// A mistake in one method of a trait whose other method has a default body.

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    async fn save(&self, SaveUser { id, .. }: SaveUser) -> Result<User, Status> {
        self.ping().await?;
        Ok(User {
            id,
            ..User::default()
        })
    }

    fn ping(&self) -> Result<(), Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn ping(&self) -> Result<(), Status> {
        Ok(())
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
