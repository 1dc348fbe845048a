//! A layer made of an async function.

use std::fmt;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::middleware::inner::Inner;
use crate::middleware::layer::LayerService;
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
pub fn from_fn<F, Fut>(function: F) -> FromFn<F, Fut>
where
    F: Fn(Request, Next) -> Fut, // An `async fn(Request, Next) -> Result<Reply, Status>`, or a closure like it.
    F: Clone + Send + Sync + 'static, // Each call has a clone: share state in an `Arc`.
    Fut: Future<Output = Result<Reply, Status>>, // Of an `async fn`, which can turn other errors into a `Status`.
    Fut: Send + 'static,                         // Hold nothing like an `Rc` across an `await`.
{
    FromFn {
        function,
        call: |function, request, next| function(request, next),
    }
}

/// The layer that [`from_fn`] makes.
pub struct FromFn<F, Fut> {
    function: F,
    call: Call<F, Fut>,
}

/// The service that [`FromFn`] makes.
pub struct FromFnService<F, Fut> {
    function: F,
    call: Call<F, Fut>,
    inner: Inner,
}

/// Calls the function. So only [`from_fn`] asks for a function of the right type, and a wrong one is one error of the compiler.
type Call<F, Fut> = fn(&F, Request, Next) -> Fut;

impl<F: Clone, Fut, S: LayerService> Layer<S> for FromFn<F, Fut> {
    type Service = FromFnService<F, Fut>;

    fn layer(&self, inner: S) -> FromFnService<F, Fut> {
        FromFnService {
            function: self.function.clone(),
            call: self.call,
            inner: Inner::new(inner),
        }
    }
}

impl<F, Fut> Service<Request> for FromFnService<F, Fut>
where
    Fut: Future<Output = Result<Reply, Status>> + Send + 'static,
{
    type Response = Reply;
    type Error = Status;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Fut {
        (self.call)(&self.function, request, Next::new(self.inner.clone()))
    }
}

impl<F: Clone, Fut> Clone for FromFn<F, Fut> {
    fn clone(&self) -> Self {
        Self {
            function: self.function.clone(),
            call: self.call,
        }
    }
}

impl<F: Clone, Fut> Clone for FromFnService<F, Fut> {
    fn clone(&self) -> Self {
        Self {
            function: self.function.clone(),
            call: self.call,
            inner: self.inner.clone(),
        }
    }
}

impl<F, Fut> fmt::Debug for FromFn<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").finish_non_exhaustive()
    }
}

impl<F, Fut> fmt::Debug for FromFnService<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFnService").finish_non_exhaustive()
    }
}
