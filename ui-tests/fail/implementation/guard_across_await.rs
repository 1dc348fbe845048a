// A lock that is held across an `.await`.

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};
use std::sync::Mutex;

static SAVED: Mutex<u64> = Mutex::new(0);

#[natsmicro::service]
pub trait Users {
    async fn save(&self, request: SaveUser) -> Result<User, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<User, Status> {
        let mut saved = SAVED.lock().unwrap();
        *saved += 1;
        std::future::ready(()).await;
        Ok(User {
            id: request.id,
            version: *saved,
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
