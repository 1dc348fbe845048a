// A default body that keeps an `Rc` while it waits.

use std::rc::Rc;

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    async fn save(&self, request: SaveUser) -> Result<User, Status> {
        let id = Rc::new(request.id);
        self.ping().await?;
        Ok(User {
            id: id.to_string(),
            ..User::default()
        })
    }

    async fn ping(&self) -> Result<(), Status>;
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
