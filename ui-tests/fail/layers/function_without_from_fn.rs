// An async function where a layer is needed.

use natsmicro::Status;
use natsmicro::middleware::{Next, Reply, Request};

async fn log(request: Request, next: Next) -> Result<Reply, Status> {
    println!("{}", request.method());
    next.run(request).await
}

fn use_it(nats: async_nats::Client) {
    let server = natsmicro::Server::new(nats).layer(log);
    drop(server);
}

fn main() {}
