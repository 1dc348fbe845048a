// `from_fn` with a function that fails with another error than `Status`.

use natsmicro::middleware::{Next, Reply, Request, from_fn};

async fn log(request: Request, next: Next) -> Result<Reply, std::io::Error> {
    next.run(request).await.map_err(std::io::Error::other)
}

fn use_it(nats: async_nats::Client) {
    let server = natsmicro::Server::new(nats).layer(from_fn(log));
    drop(server);
}

fn main() {}
