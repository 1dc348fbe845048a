// A layer of a client whose service cannot be cloned.

use std::time::Duration;

use tower::limit::RateLimitLayer;

fn use_it(nats: async_nats::Client) {
    let client = natsmicro::Client::new(nats).layer(RateLimitLayer::new(100, Duration::from_secs(1)));
    drop(client);
}

fn main() {}
