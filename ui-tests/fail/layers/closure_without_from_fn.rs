// A closure on a client, without `from_fn`.

use natsmicro::middleware::{Next, Request};

fn use_it(nats: async_nats::Client) {
    let client = natsmicro::Client::new(nats).layer(|request: Request, next: Next| next.run(request));
    drop(client);
}

fn main() {}
