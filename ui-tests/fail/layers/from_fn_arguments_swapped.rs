// `from_fn` with a function whose arguments are the other way round.

use natsmicro::Status;
use natsmicro::middleware::{Next, Reply, Request, from_fn};

async fn log(next: Next, request: Request) -> Result<Reply, Status> {
    println!("{}", request.method());
    next.run(request).await
}

fn use_it(nats: async_nats::Client) {
    let server = natsmicro::Server::new(nats).layer(from_fn(log));
    drop(server);
}

fn main() {}
