// A layer whose service is not `Sync`.

use std::cell::Cell;
use std::task::{Context, Poll};

use natsmicro::Status;
use natsmicro::middleware::{Inner, Reply, Request};
use tower_layer::layer_fn;
use tower_service::Service;

#[derive(Clone)]
struct Counting {
    inner: Inner,
    calls: Cell<u64>,
}

impl Service<Request> for Counting {
    type Response = Reply;
    type Error = Status;
    type Future = <Inner as Service<Request>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.calls.set(self.calls.get() + 1);
        self.inner.call(request)
    }
}

fn use_it(nats: async_nats::Client) {
    let server = natsmicro::Server::new(nats).layer(layer_fn(|inner| Counting {
        inner,
        calls: Cell::new(0),
    }));
    drop(server);
}

fn main() {}
