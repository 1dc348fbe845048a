//! A layer made of an async function.

use std::fmt;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::middleware::inner::{Inner, LayerService};
use crate::middleware::next::Next;
use crate::middleware::reply::Reply;
use crate::middleware::request::Request;
use crate::status::Status;

/// Makes a layer of an async function or closure.
///
/// ```
/// use natsmicro::Status;
/// use natsmicro::middleware::{Next, Reply, Request, from_fn};
///
/// # fn example(nats: natsmicro::async_nats::Client) {
/// let token = "s3cret";
/// let client = natsmicro::Client::new(nats).layer(from_fn(move |mut request: Request, next: Next| async move {
///     request.insert_header("authorization", token)?;
///     next.run(request).await
/// }));
/// # }
/// ```
pub fn from_fn<F, Fut>(function: F) -> FromFn<F>
where
    F: Fn(Request, Next) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, Status>> + Send + 'static,
{
    FromFn { function }
}

/// The layer that [`from_fn`] makes.
#[derive(Clone)]
pub struct FromFn<F> {
    function: F,
}

/// The service that [`FromFn`] makes.
#[derive(Clone)]
pub struct FromFnService<F> {
    function: F,
    inner: Inner,
}

impl<F: Clone, S: LayerService> Layer<S> for FromFn<F> {
    type Service = FromFnService<F>;

    fn layer(&self, inner: S) -> FromFnService<F> {
        FromFnService {
            function: self.function.clone(),
            inner: Inner::new(inner),
        }
    }
}

impl<F, Fut> Service<Request> for FromFnService<F>
where
    F: Fn(Request, Next) -> Fut,
    Fut: Future<Output = Result<Reply, Status>> + Send + 'static,
{
    type Response = Reply;
    type Error = Status;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Fut {
        (self.function)(request, Next::new(self.inner.clone()))
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for FromFnService<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFnService").finish_non_exhaustive()
    }
}
