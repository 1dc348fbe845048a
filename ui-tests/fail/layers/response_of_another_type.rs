// A layer whose service answers with bytes.

use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use natsmicro::Status;
use natsmicro::middleware::{Inner, Request};
use tower_layer::layer_fn;
use tower_service::Service;

#[derive(Clone)]
struct Upper(Inner);

impl Service<Request> for Upper {
    type Response = Vec<u8>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Vec<u8>, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let reply = self.0.call(request);
        reply
            .map(|reply| Ok(reply?.payload().to_ascii_uppercase()))
            .boxed()
    }
}

fn use_it(nats: async_nats::Client) {
    let client = natsmicro::Client::new(nats).layer(layer_fn(Upper));
    drop(client);
}

fn main() {}
