// `from_fn` with a function whose future is not `Send`.

use std::rc::Rc;

use natsmicro::Status;
use natsmicro::middleware::{Next, Reply, Request, from_fn};

async fn log(request: Request, next: Next) -> Result<Reply, Status> {
    let method = Rc::new(request.method());
    let reply = next.run(request).await;
    println!("{method}");
    reply
}

fn use_it(nats: async_nats::Client) {
    let server = natsmicro::Server::new(nats).layer(from_fn(log));
    drop(server);
}

fn main() {}
