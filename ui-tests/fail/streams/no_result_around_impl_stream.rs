// Any stream as the response, without a `Result` around it.

use futures::Stream;
use natsmicro::{Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

#[natsmicro::service]
pub trait Users {
    async fn list(&self, request: SaveUser) -> impl Stream<Item = Result<User, Status>> + Send;
}

struct InMemory;

impl Users for InMemory {
    async fn list(&self, request: SaveUser) -> impl Stream<Item = Result<User, Status>> + Send {
        futures::stream::iter([Err(Status::not_found(request.id))])
    }
}

async fn use_it(nats: async_nats::Client, saved: Streaming<SaveUser>) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let answer = client.list(SaveUser::default()).await?;
    drop(saved);
    drop((server, client, answer));
    Ok(())
}

fn main() {}
