// A stack of layers, one of which is around a service that cannot be cloned.

use std::time::Duration;

use natsmicro::Status;
use natsmicro::middleware::{Next, Reply, Request, from_fn};
use tower::ServiceBuilder;

async fn log(request: Request, next: Next) -> Result<Reply, Status> {
    println!("{}", request.method());
    next.run(request).await
}

fn use_it(nats: async_nats::Client) {
    let stack = ServiceBuilder::new()
        .layer(from_fn(log))
        .rate_limit(100, Duration::from_secs(1));
    let server = natsmicro::Server::new(nats).layer(stack);
    drop(server);
}

fn main() {}
