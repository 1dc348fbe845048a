// Three mistakes: a window, a stream of results, and a stream by reference.

use natsmicro::{Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    #[stream(window = 0)]
    async fn list(&self, request: SaveUser) -> Result<Streaming<natsmicro::Result<User>>, Status>;
    async fn save(&self, users: &mut Streaming<SaveUser>) -> Result<User, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn list(&self, request: SaveUser) -> Result<Streaming<natsmicro::Result<User>>, Status> {
        Err(Status::not_found(request.id))
    }

    async fn save(&self, users: &mut Streaming<SaveUser>) -> Result<User, Status> {
        let _ = users;
        Err(Status::internal("not yet"))
    }
}

async fn use_it(nats: async_nats::Client, mut saved: Streaming<SaveUser>) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: User = client.save(&mut saved).await?;
    let users = client.list(SaveUser::default()).await?;
    drop((server, client, user, users));
    Ok(())
}

fn main() {}
