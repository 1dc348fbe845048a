// A layer of a server whose service cannot be cloned.

use std::time::Duration;

use tower::limit::RateLimitLayer;

fn use_it(nats: async_nats::Client) {
    let server = natsmicro::Server::new(nats).layer(RateLimitLayer::new(100, Duration::from_secs(1)));
    drop(server);
}

fn main() {}
