// A field of the response, but there is none.

use natsmicro::Status;
use natsmicro_ui_tests::SaveUser;

#[natsmicro::service]
pub trait Users {
    #[kv_store(bucket = "users", key = "user.<response.id>")]
    async fn save(&self, request: SaveUser) -> Result<(), Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<(), Status> {
        drop(request);
        Ok(())
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: () = client.save(SaveUser::default()).await?;
    drop((server, client, user));
    Ok(())
}

fn main() {}
