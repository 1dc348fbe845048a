// A layer whose service fails with an error that is no `std::error::Error`.

use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use natsmicro::Status;
use natsmicro::middleware::{Inner, Reply, Request};
use tower_layer::layer_fn;
use tower_service::Service;

struct Refused(Status);

#[derive(Clone)]
struct Guard(Inner);

impl Service<Request> for Guard {
    type Response = Reply;
    type Error = Refused;
    type Future = BoxFuture<'static, Result<Reply, Refused>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.0.poll_ready(cx).map_err(Refused)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let reply = self.0.call(request);
        reply.map(|result| result.map_err(Refused)).boxed()
    }
}

fn use_it(nats: async_nats::Client) {
    let server = natsmicro::Server::new(nats).layer(layer_fn(Guard));
    drop(server);
}

fn main() {}
