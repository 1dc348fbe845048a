// `from_fn` with a closure that cannot be cloned.

use std::sync::Mutex;

use natsmicro::middleware::{Next, Request, from_fn};

fn use_it(nats: async_nats::Client) {
    let calls = Mutex::new(0);
    let count = move |request: Request, next: Next| {
        *calls.lock().unwrap() += 1;
        next.run(request)
    };
    let server = natsmicro::Server::new(nats).layer(from_fn(count));
    drop(server);
}

fn main() {}
