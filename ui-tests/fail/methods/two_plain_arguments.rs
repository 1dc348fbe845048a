// A method that takes its values as arguments, as a function would.

use natsmicro::Status;
use natsmicro_ui_tests::User;

#[natsmicro::service]
pub trait Users {
    async fn save(&self, id: String, name: String) -> Result<User, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, id: String, name: String) -> Result<User, Status> {
        Ok(User {
            id,
            name,
            version: 1,
        })
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: User = client.save("ada".to_owned()).await?;
    drop((server, client, user));
    Ok(())
}

fn main() {}
