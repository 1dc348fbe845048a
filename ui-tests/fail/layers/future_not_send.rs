// A layer whose service has a future that is not `Send`.

use std::task::{Context, Poll};

use futures::future::{FutureExt, LocalBoxFuture};
use natsmicro::Status;
use natsmicro::middleware::{Inner, Reply, Request};
use tower_layer::layer_fn;
use tower_service::Service;

#[derive(Clone)]
struct Local(Inner);

impl Service<Request> for Local {
    type Response = Reply;
    type Error = Status;
    type Future = LocalBoxFuture<'static, Result<Reply, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.0.call(request).boxed_local()
    }
}

fn use_it(nats: async_nats::Client) {
    let server = natsmicro::Server::new(nats).layer(layer_fn(Local));
    drop(server);
}

fn main() {}
