//! The router: binds an implementation to the methods of its service, as one type-erased handler per endpoint.
//!
//! Generated code registers each method with a function for its kind. The types of a method end here: the dispatcher sees a [`Route`].

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::context::Context;
use crate::descriptor::method::{Method, MethodId, MethodKind, MethodSettings};
use crate::descriptor::service::Describe;
use crate::middleware::request::Request;
use crate::server::call::body::{Input, Output};
use crate::server::call::{self, Handled};
use crate::server::endpoint::Endpoint;
use crate::stream::streaming::Streaming;

/// A service that values of type `S` can serve: the bound of [`Server::add_service`](crate::Server::add_service).
///
/// Only `#[natsmicro::service]` implements it: its items change with the macro. It can be named, for functions that are generic over
/// services:
///
/// ```
/// use natsmicro::{Dispatch, Server, ServiceServer};
///
/// fn with_both<S, T, A: Dispatch<S>, B: Dispatch<T>>(
///     server: Server,
///     first: ServiceServer<S, A>,
///     second: ServiceServer<T, B>,
/// ) -> Server
/// where
///     S: Send + Sync + 'static,
///     T: Send + Sync + 'static,
/// {
///     server.add_service(first).add_service(second)
/// }
/// ```
pub trait Dispatch<S>: Describe {
    /// Adds the methods to the router, in the order of their declaration.
    #[doc(hidden)]
    fn register(router: &mut Router<S>);
}

/// Collects the handlers of a service.
pub struct Router<S> {
    service: Arc<S>,
    routes: Vec<Route>,
}

/// One method, without its types.
pub(crate) struct Route {
    pub(crate) settings: MethodSettings,
    pub(crate) handler: Handler,
}

/// Runs one request of an endpoint through the pipeline.
pub(crate) type Handler =
    Arc<dyn Fn(Arc<Endpoint>, Request) -> BoxFuture<'static, Handled> + Send + Sync>;

impl<S: Send + Sync + 'static> Router<S> {
    /// The routes of a service, in the order of its methods.
    pub(crate) fn routes<D: Dispatch<S>>(service: Arc<S>) -> Vec<Route> {
        let mut router = Self::new(service);
        D::register(&mut router);
        router.into_routes()
    }

    pub(crate) fn into_routes(self) -> Vec<Route> {
        self.routes
    }

    pub(crate) fn new(service: Arc<S>) -> Self {
        Self {
            service,
            routes: Vec::new(),
        }
    }

    /// Adds a method that takes one message and returns one.
    pub fn unary<Req, Resp, E, F, Fut>(&mut self, method: &'static Method<Req, Resp, E>, handler: F)
    where
        Req: Send + 'static,
        Resp: Send + 'static,
        E: Send + 'static,
        F: Fn(Arc<S>, Context, Req) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, E>> + Send + 'static,
    {
        self.add(MethodKind::Unary, method, handler);
    }

    /// Adds a method that takes one message and returns a stream.
    pub fn server_streaming<Req, Resp, E, F, Fut>(
        &mut self,
        method: &'static Method<Req, Resp, E>,
        handler: F,
    ) where
        Req: Send + 'static,
        Resp: Send + 'static,
        E: Send + 'static,
        F: Fn(Arc<S>, Context, Req) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<Streaming<Resp>, E>> + Send + 'static,
    {
        self.add(MethodKind::ServerStreaming, method, handler);
    }

    /// Adds a method that takes a stream and returns one message.
    pub fn client_streaming<Req, Resp, E, F, Fut>(
        &mut self,
        method: &'static Method<Req, Resp, E>,
        handler: F,
    ) where
        Req: Send + 'static,
        Resp: Send + 'static,
        E: Send + 'static,
        F: Fn(Arc<S>, Context, Streaming<Req>) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, E>> + Send + 'static,
    {
        self.add(MethodKind::ClientStreaming, method, handler);
    }

    /// Adds a method that takes a stream and returns a stream.
    pub fn bidirectional<Req, Resp, E, F, Fut>(
        &mut self,
        method: &'static Method<Req, Resp, E>,
        handler: F,
    ) where
        Req: Send + 'static,
        Resp: Send + 'static,
        E: Send + 'static,
        F: Fn(Arc<S>, Context, Streaming<Req>) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<Streaming<Resp>, E>> + Send + 'static,
    {
        self.add(MethodKind::Bidirectional, method, handler);
    }

    fn add<Req, Resp, E, I, O, F, Fut>(
        &mut self,
        kind: MethodKind,
        method: &'static Method<Req, Resp, E>,
        handler: F,
    ) where
        Req: Send + 'static,
        Resp: Send + 'static,
        E: Send + 'static,
        I: Input<Req> + Send + 'static,
        O: Output<Resp> + Send + 'static,
        F: Fn(Arc<S>, Context, I) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<O, E>> + Send + 'static,
    {
        let service = Arc::clone(&self.service);
        self.routes.push(Route {
            settings: MethodSettings {
                id: MethodId {
                    kind,
                    ..method.settings.id
                },
                ..method.settings
            },
            handler: Arc::new(move |endpoint, request| {
                let service = Arc::clone(&service);
                Box::pin(call::run(method, endpoint, request, move |cx, input| {
                    handler(service, cx, input)
                }))
            }),
        });
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.routes.iter().map(|route| route.settings.name);
        f.debug_list().entries(names).finish()
    }
}
