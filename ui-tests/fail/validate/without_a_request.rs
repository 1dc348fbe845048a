// A validated method that takes no request.

use natsmicro::Status;
use natsmicro_ui_tests::User;

fn check(request: &User) -> Result<(), Status> {
    drop(request.id.clone());
    Ok(())
}

#[natsmicro::service]
pub trait Users {
    #[endpoint(validate = check)]
    async fn save(&self) -> Result<User, Status>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self) -> Result<User, Status> {
        Ok(User::default())
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: User = client.save().await?;
    drop((server, client, user));
    Ok(())
}

fn main() {}
