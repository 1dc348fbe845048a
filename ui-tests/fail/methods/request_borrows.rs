// A request with a lifetime.

use natsmicro::Status;
use natsmicro_ui_tests::User;

#[natsmicro::service]
pub trait Users {
    async fn save(&self, request: std::borrow::Cow<'_, str>) -> Result<User, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: std::borrow::Cow<'_, str>) -> Result<User, Status> {
        Ok(User {
            id: request.into_owned(),
            ..User::default()
        })
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: User = client.save("ada".into()).await?;
    drop((server, client, user));
    Ok(())
}

fn main() {}
