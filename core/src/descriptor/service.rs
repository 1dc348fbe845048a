//! What the macro writes down about a service, and how an implementation is bound to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::context::Context;
use crate::server::call;
use crate::server::call::Request;
use crate::stream::streaming::Streaming;

use crate::descriptor::declared::MethodStores;
use crate::descriptor::method::{Method, MethodSettings};

pub(crate) type Pairs = &'static [(&'static str, &'static str)];

/// The settings of `#[service]`.
#[derive(Clone, Copy, Debug)]
pub struct ServiceDescriptor {
    pub(crate) name: &'static str,
    pub(crate) subject_prefix: &'static str,
    pub(crate) methods: usize,
    pub(crate) version: &'static str,
    pub(crate) description: &'static str,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Pairs,
    pub(crate) queue_group: Option<&'static str>,
    pub(crate) stores: &'static [MethodStores],
}

impl ServiceDescriptor {
    /// A service of this name, on this subject prefix, whose trait declares this number of methods.
    #[must_use]
    pub const fn new(name: &'static str, subject_prefix: &'static str, methods: usize) -> Self {
        Self {
            name,
            subject_prefix,
            methods,
            version: "1.0.0",
            description: "",
            timeout: None,
            metadata: &[],
            queue_group: Some("q"),
            stores: &[],
        }
    }

    /// Sets `version`.
    #[must_use]
    pub const fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Sets `description`.
    #[must_use]
    pub const fn description(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Sets the `timeout` of methods that have none of their own.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets `metadata`.
    #[must_use]
    pub const fn metadata(mut self, metadata: Pairs) -> Self {
        self.metadata = metadata;
        self
    }

    /// Sets the `queue_group`; `None` for none at all.
    #[must_use]
    pub const fn queue_group(mut self, queue_group: Option<&'static str>) -> Self {
        self.queue_group = queue_group;
        self
    }

    /// Tells what the methods declare, where they may share a bucket.
    #[must_use]
    pub const fn stores(mut self, stores: &'static [MethodStores]) -> Self {
        self.stores = stores;
        self
    }
}

/// A service as a type.
pub trait Describe: 'static {
    /// Its settings.
    const SERVICE: ServiceDescriptor;
}

/// A service that values of type `S` can serve.
pub trait Dispatch<S>: Describe {
    /// Adds the methods to the router, in the order of their declaration.
    fn register(router: &mut Router<S>);
}

/// Collects the handlers of a service.
pub struct Router<S> {
    service: Arc<S>,
    routes: Vec<Route>,
}

/// One endpoint without its types.
pub(crate) struct Route {
    pub(crate) settings: MethodSettings,
    pub(crate) handler: Handler,
}

/// Answers one request, and sends the reply itself. Gives what is left to be done when the user's code is done.
pub(crate) type Handler = Box<dyn Fn(Request) -> BoxFuture<'static, Option<Rest>> + Send + Sync>;

/// Waits for what a reply waits for, and sends it.
pub(crate) type Rest = BoxFuture<'static, ()>;

impl<S: Send + Sync + 'static> Router<S> {
    pub(crate) fn routes<D: Dispatch<S>>(service: Arc<S>) -> Vec<Route> {
        let mut router = Self {
            service,
            routes: Vec::new(),
        };
        D::register(&mut router);
        router.routes
    }

    /// Adds a method that takes one message and returns one.
    pub fn unary<Req, Resp, E, F, Fut>(&mut self, method: &'static Method<Req, Resp, E>, handler: F)
    where
        Req: Send + 'static,
        Resp: Send + 'static,
        E: Send + 'static,
        F: Fn(Arc<S>, Arc<Context>, Req) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, E>> + Send + 'static,
    {
        self.add(method, false, move |service, request| {
            Box::pin(call::unary(method, request, move |cx, request| {
                handler(service, cx, request)
            }))
        });
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
        F: Fn(Arc<S>, Arc<Context>, Req) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<Streaming<Resp>, E>> + Send + 'static,
    {
        self.add(method, true, move |service, request| {
            whole(call::stream::server_streaming(
                method,
                request,
                move |cx, request| handler(service, cx, request),
            ))
        });
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
        F: Fn(Arc<S>, Arc<Context>, Streaming<Req>) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, E>> + Send + 'static,
    {
        self.add(method, true, move |service, request| {
            whole(call::stream::client_streaming(
                method,
                request,
                move |cx, requests| handler(service, cx, requests),
            ))
        });
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
        F: Fn(Arc<S>, Arc<Context>, Streaming<Req>) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<Streaming<Resp>, E>> + Send + 'static,
    {
        self.add(method, true, move |service, request| {
            whole(call::stream::bidirectional(
                method,
                request,
                move |cx, requests| handler(service, cx, requests),
            ))
        });
    }

    fn add<Req, Resp, E>(
        &mut self,
        method: &'static Method<Req, Resp, E>,
        streaming: bool,
        handler: impl Fn(Arc<S>, Request) -> BoxFuture<'static, Option<Rest>> + Send + Sync + 'static,
    ) {
        let service = Arc::clone(&self.service);
        self.routes.push(Route {
            settings: MethodSettings {
                streaming,
                ..method.settings
            },
            handler: Box::new(move |request| handler(Arc::clone(&service), request)),
        });
    }
}

/// Nothing is left to be done when the handler is done.
fn whole(answer: impl Future<Output = ()> + Send + 'static) -> BoxFuture<'static, Option<Rest>> {
    Box::pin(answer.map(|()| None))
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.routes.iter().map(|route| route.settings.name);
        f.debug_list().entries(names).finish()
    }
}
