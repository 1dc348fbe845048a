// `from_fn` with a closure that does not take the rest of the call.

use natsmicro::Status;
use natsmicro::middleware::{Request, from_fn};

fn use_it(nats: async_nats::Client) {
    let client = natsmicro::Client::new(nats).layer(from_fn(|_request: Request| async {
        Err(Status::unavailable("closed today"))
    }));
    drop(client);
}

fn main() {}
