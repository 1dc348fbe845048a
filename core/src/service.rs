//! What the macro writes down about a service, and how an implementation is bound to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::codec::MessageCodec;
use crate::context::Context;
use crate::endpoint::{self, Request};
use crate::service_error::ErrorCodec;
#[cfg(feature = "kv")]
use crate::store::{InvalidKey, Key, KeyToken, StoreDescriptor, StoreKey};
use crate::stream::{self, Streaming};

type Pairs = &'static [(&'static str, &'static str)];

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
}

/// What is known of a method without its types.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MethodSettings {
    pub(crate) index: usize,
    pub(crate) name: &'static str,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Pairs,
    pub(crate) queue_group: QueueGroup,
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) streaming: bool,
    pub(crate) window: u32,
    #[cfg(feature = "kv")]
    pub(crate) stores: [Option<StoreDescriptor>; 2],
}

/// Where the queue group of a method is set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QueueGroup {
    OfService,
    Own(Option<&'static str>),
}

impl MethodSettings {
    /// How many calls of the endpoint run at once, or how many of its streams are open.
    pub(crate) fn max_in_flight(&self) -> usize {
        let default = if self.streaming { 10_000 } else { 1024 };
        self.max_in_flight.unwrap_or(default)
    }
}

/// Where a method's stores stand in its arrays.
#[cfg(feature = "kv")]
pub(crate) const KV: usize = 0;
#[cfg(feature = "kv")]
pub(crate) const OBJECT: usize = 1;

/// One method of a service: its settings, its messages and its stores. Server and client are both made from it.
pub struct Method<Req, Resp, E> {
    pub(crate) settings: MethodSettings,
    pub(crate) request: MessageCodec<Req>,
    pub(crate) response: MessageCodec<Resp>,
    pub(crate) error: ErrorCodec<E>,
    #[cfg(feature = "kv")]
    pub(crate) keys: [Option<StoreKey<Req, Resp>>; 2],
}

impl<Req, Resp, E> Method<Req, Resp, E> {
    /// The method declared at `index`, answering on the endpoint `name`.
    #[must_use]
    pub const fn new(
        index: usize,
        name: &'static str,
        request: MessageCodec<Req>,
        response: MessageCodec<Resp>,
        error: ErrorCodec<E>,
    ) -> Self {
        Self {
            settings: MethodSettings {
                index,
                name,
                timeout: None,
                metadata: &[],
                queue_group: QueueGroup::OfService,
                max_in_flight: None,
                streaming: false,
                window: stream::DEFAULT_WINDOW,
                #[cfg(feature = "kv")]
                stores: [None, None],
            },
            request,
            response,
            error,
            #[cfg(feature = "kv")]
            keys: [None, None],
        }
    }

    /// Sets `timeout`.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Sets `metadata`.
    #[must_use]
    pub const fn metadata(mut self, metadata: Pairs) -> Self {
        self.settings.metadata = metadata;
        self
    }

    /// Sets the `queue_group`; `None` for none at all.
    #[must_use]
    pub const fn queue_group(mut self, queue_group: Option<&'static str>) -> Self {
        self.settings.queue_group = QueueGroup::Own(queue_group);
        self
    }

    /// Sets `max_in_flight`.
    #[must_use]
    pub const fn max_in_flight(mut self, max_in_flight: usize) -> Self {
        self.settings.max_in_flight = Some(max_in_flight);
        self
    }

    /// Sets the `window` of `#[stream]`.
    #[must_use]
    pub const fn window(mut self, messages: u32) -> Self {
        self.settings.window = messages;
        self
    }

    /// Adds a `#[kv_store]`.
    #[cfg(feature = "kv")]
    #[must_use]
    pub const fn kv_store(mut self, store: StoreDescriptor, key: StoreKey<Req, Resp>) -> Self {
        self.settings.stores[KV] = Some(store);
        self.keys[KV] = Some(key);
        self
    }

    /// Adds an `#[object_store]`.
    #[cfg(feature = "object-store")]
    #[must_use]
    pub const fn object_store(mut self, store: StoreDescriptor, key: StoreKey<Req, Resp>) -> Self {
        self.settings.stores[OBJECT] = Some(store);
        self.keys[OBJECT] = Some(key);
        self
    }

    /// The key of the `#[kv_store]` with these values in its placeholders, in the order in which they stand.
    #[cfg(feature = "kv")]
    pub fn kv_key(&self, values: &[&dyn KeyToken]) -> Result<Key, InvalidKey> {
        self.key(KV, values)
    }

    /// The key of the `#[object_store]`, like [`kv_key`](Self::kv_key).
    #[cfg(feature = "object-store")]
    pub fn object_key(&self, values: &[&dyn KeyToken]) -> Result<Key, InvalidKey> {
        self.key(OBJECT, values)
    }

    #[cfg(feature = "kv")]
    fn key(&self, store: usize, values: &[&dyn KeyToken]) -> Result<Key, InvalidKey> {
        match &self.keys[store] {
            Some(key) => key.template().fill(values),
            None => unreachable!("the macro makes keys of stores that are declared"),
        }
    }
}

impl<Req, Resp, E> Clone for Method<Req, Resp, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Req, Resp, E> Copy for Method<Req, Resp, E> {}

impl<Req, Resp, E> fmt::Debug for Method<Req, Resp, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Method")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
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

/// Answers one request, and sends the reply itself.
pub(crate) type Handler = Box<dyn Fn(Request) -> BoxFuture<'static, ()> + Send + Sync>;

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
        let service = Arc::clone(&self.service);
        self.routes.push(Route {
            settings: method.settings,
            handler: Box::new(move |request| {
                let service = Arc::clone(&service);
                Box::pin(endpoint::unary(method, request, move |cx, request| {
                    handler(service, cx, request)
                }))
            }),
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
        self.stream(method, move |service, request| {
            Box::pin(stream::server_streaming(
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
        self.stream(method, move |service, request| {
            Box::pin(stream::client_streaming(
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
        self.stream(method, move |service, request| {
            Box::pin(stream::bidirectional(
                method,
                request,
                move |cx, requests| handler(service, cx, requests),
            ))
        });
    }

    fn stream<Req, Resp, E>(
        &mut self,
        method: &'static Method<Req, Resp, E>,
        handler: impl Fn(Arc<S>, Request) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        let service = Arc::clone(&self.service);
        self.routes.push(Route {
            settings: MethodSettings {
                streaming: true,
                ..method.settings
            },
            handler: Box::new(move |request| handler(Arc::clone(&service), request)),
        });
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.routes.iter().map(|route| route.settings.name);
        f.debug_list().entries(names).finish()
    }
}
