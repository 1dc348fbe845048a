//! The service that a layer surrounds, without its type.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tower_service::Service;

use crate::middleware::error::{self, BoxError};
use crate::middleware::layer::LayerService;
use crate::middleware::reply::Reply;
use crate::middleware::request::Request;
use crate::status::Status;

/// The future of a request that goes through layers.
pub(crate) type ReplyFuture = BoxFuture<'static, Result<Reply, Status>>;

/// Where a request goes behind all layers: the handler of an endpoint, or the connection of a client.
pub(crate) trait Destination: Send + Sync {
    fn call(&self, request: Request) -> ReplyFuture;
}

/// The service that a layer surrounds: the next layer, or the handler. A layer is a `tower_layer::Layer<Inner>`.
///
/// ```
/// use std::task::{Context, Poll};
///
/// use natsmicro::middleware::{Inner, Reply, Request};
/// use natsmicro::Status;
/// use tower_layer::{Layer, layer_fn};
/// use tower_service::Service;
///
/// /// Counts requests, as a service of tower. `from_fn` is shorter.
/// #[derive(Clone)]
/// struct Counting(Inner);
///
/// impl Service<Request> for Counting {
///     type Response = Reply;
///     type Error = Status;
///     type Future = <Inner as Service<Request>>::Future;
///
///     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
///         self.0.poll_ready(cx)
///     }
///
///     fn call(&mut self, request: Request) -> Self::Future {
///         println!("{} is called", request.method());
///         self.0.call(request)
///     }
/// }
///
/// # fn example(nats: natsmicro::async_nats::Client) {
/// let client = natsmicro::Client::new(nats).layer(layer_fn(Counting));
/// # }
/// ```
pub struct Inner {
    /// `None` for the destination of a request.
    shared: Option<Arc<dyn Erased>>,
    /// A clone of the service that was asked whether it is ready.
    own: Option<Box<dyn Own>>,
}

/// A service without its type, of which each call has a clone.
trait Erased: Send + Sync {
    fn call(&self, request: Request) -> ReplyFuture;

    fn own(&self) -> Box<dyn Own>;
}

/// A clone of a service, without its type.
trait Own: Send + Sync {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>>;

    fn call(self: Box<Self>, request: Request) -> ReplyFuture;
}

struct Layered<S>(S);

impl Inner {
    /// The end of all layers: the destination of the request.
    pub(crate) fn destination() -> Self {
        Self {
            shared: None,
            own: None,
        }
    }

    pub(crate) fn new(service: impl LayerService) -> Self {
        service.into_inner()
    }

    pub(super) fn erase<S, E, F>(service: S) -> Self
    where
        S: Service<Request, Response = Reply, Error = E, Future = F>,
        S: Clone + Send + Sync + 'static,
        E: Into<BoxError>,
        F: Future<Output = Result<Reply, E>> + Send + 'static,
    {
        let mut service = Some(service);
        // So that a service which is one already is not put into another allocation.
        if let Some(inner) = (&mut service as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return inner.take().unwrap_or_else(Self::destination);
        }
        let shared = service.map(|service| Arc::new(Layered(service)) as Arc<dyn Erased>);
        Self { shared, own: None }
    }

    pub(crate) fn run(&self, request: Request) -> ReplyFuture {
        if let Some(layered) = &self.shared {
            return layered.call(request);
        }
        match request.destination.clone() {
            Some(destination) => destination.call(request),
            None => Box::pin(std::future::ready(Err(Status::unimplemented(
                "a request that a test has made goes nowhere: use `Next::from_fn`",
            )))),
        }
    }
}

impl<S, E, F> Erased for Layered<S>
where
    S: Service<Request, Response = Reply, Error = E, Future = F>,
    S: Clone + Send + Sync + 'static,
    E: Into<BoxError>,
    F: Future<Output = Result<Reply, E>> + Send + 'static,
{
    fn call(&self, request: Request) -> ReplyFuture {
        let mut service = self.0.clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(error::status)?;
            service.call(request).await.map_err(error::status)
        })
    }

    fn own(&self) -> Box<dyn Own> {
        Box::new(Layered(self.0.clone()))
    }
}

impl<S, E, F> Own for Layered<S>
where
    S: Service<Request, Response = Reply, Error = E, Future = F>,
    S: Send + Sync + 'static,
    E: Into<BoxError>,
    F: Future<Output = Result<Reply, E>> + Send + 'static,
{
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.0.poll_ready(cx).map_err(error::status)
    }

    fn call(mut self: Box<Self>, request: Request) -> ReplyFuture {
        let reply = self.0.call(request);
        Box::pin(async move { reply.await.map_err(error::status) })
    }
}

impl Service<Request> for Inner {
    type Response = Reply;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Reply, Status>>;

    /// Whether the service within is ready; the handler, or the connection, always is.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        match (&mut self.own, &self.shared) {
            (Some(own), _) => own.poll_ready(cx),
            (None, Some(shared)) => self.own.insert(shared.own()).poll_ready(cx),
            (None, None) => Poll::Ready(Ok(())),
        }
    }

    /// Runs the request. If it was not asked before whether it is ready, the future waits until it is.
    fn call(&mut self, request: Request) -> Self::Future {
        match self.own.take() {
            Some(own) => own.call(request),
            None => self.run(request),
        }
    }
}

impl Clone for Inner {
    fn clone(&self) -> Self {
        // Whether a service is ready is not handed on, as everywhere in tower.
        Self {
            shared: self.shared.clone(),
            own: None,
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}
