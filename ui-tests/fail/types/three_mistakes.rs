// Three mistakes: a request, a response and an error that cannot travel.

#[derive(Clone, Debug, Default)]
pub struct SaveUser {
    pub id: String,
}

#[derive(Clone, Debug, Default)]
pub struct User {
    pub id: String,
}

#[derive(Debug)]
pub struct MyError;

#[natsmicro::service]
pub trait Users {
    async fn save(&self, request: SaveUser) -> Result<User, MyError>;
}

struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<User, MyError> {
        Ok(User { id: request.id })
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), MyError> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user: User = client.save(SaveUser::default()).await?;
    drop((server, client, user));
    Ok(())
}

fn main() {}
