// `from_fn` with a function that does not take the rest of the call.

use natsmicro::Status;
use natsmicro::middleware::{Reply, Request, from_fn};

async fn refuse(_request: Request) -> Result<Reply, Status> {
    Err(Status::unavailable("closed today"))
}

fn use_it(nats: async_nats::Client) {
    let server = natsmicro::Server::new(nats).layer(from_fn(refuse));
    drop(server);
}

fn main() {}
