// A trait without methods.

use natsmicro::Status;

#[natsmicro::service]
pub trait Users {}

struct InMemory;

impl Users for InMemory {}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(UsersServer::new(InMemory));
    let client = UsersClient::new(nats);
    let user = ();
    drop((server, client, user));
    Ok(())
}

fn main() {}
