// A deletion of a method that streams its response.

use natsmicro::Status;
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    #[kv_delete(bucket = "users", key = "user.<id>")]
    async fn save(&self, request: SaveUser) -> Result<natsmicro::Streaming<User>, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<natsmicro::Streaming<User>, Status> {
        Err(Status::not_found(request.id))
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user = client.save(SaveUser::default()).await?;
    drop((server, client, user));
    Ok(())
}

fn main() {}
