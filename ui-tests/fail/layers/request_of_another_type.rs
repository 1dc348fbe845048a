// A layer whose service takes bytes.

use std::task::{Context, Poll};

use natsmicro::Status;
use natsmicro::middleware::{Inner, Reply};
use tower_layer::layer_fn;
use tower_service::Service;

#[derive(Clone)]
struct Deaf(Inner);

impl Service<Vec<u8>> for Deaf {
    type Response = Reply;
    type Error = Status;
    type Future = std::future::Ready<Result<Reply, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Vec<u8>) -> Self::Future {
        std::future::ready(Ok(Reply::new(request)))
    }
}

fn use_it(nats: async_nats::Client) {
    let server = natsmicro::Server::new(nats).layer(layer_fn(Deaf));
    drop(server);
}

fn main() {}
