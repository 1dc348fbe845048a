// `from_fn` with a function that is not async.

use natsmicro::Status;
use natsmicro::middleware::{Next, Reply, Request, from_fn};

fn refuse(_request: Request, _next: Next) -> Result<Reply, Status> {
    Err(Status::unavailable("closed today"))
}

fn use_it(nats: async_nats::Client) {
    let server = natsmicro::Server::new(nats).layer(from_fn(refuse));
    drop(server);
}

fn main() {}
