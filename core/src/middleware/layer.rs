//! What `.layer(..)` takes, and what rustc says about anything else.
//!
//! Each requirement is a trait of its own, so that the error names the one that is not met and says what to do; `ui-tests/fail/layers` has
//! them.

use tower_layer::Layer;
use tower_service::Service;

use crate::middleware::error::BoxError;
use crate::middleware::inner::Inner;
use crate::middleware::reply::Reply;
use crate::middleware::request::Request;

/// A layer around calls: a `tower_layer::Layer<Inner>` whose service is a [`LayerService`]. It is implemented for all of them.
///
/// [`from_fn`](super::from_fn) makes one of an async function. A function that makes a layer can return an `impl CallLayer`:
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use natsmicro::middleware::{CallLayer, Next, Request, from_fn};
///
/// fn counting(calls: Arc<AtomicU64>) -> impl CallLayer {
///     from_fn(move |request: Request, next: Next| {
///         calls.fetch_add(1, Ordering::Relaxed);
///         next.run(request)
///     })
/// }
///
/// # fn example(nats: natsmicro::async_nats::Client) {
/// let calls = Arc::new(AtomicU64::new(0));
/// let server = natsmicro::Server::new(nats).layer(counting(Arc::clone(&calls)));
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer",
    label = "this is not a layer",
    note = "`from_fn(..)` of `natsmicro::middleware` makes a layer of an `async fn(Request, Next) -> Result<Reply, Status>`",
    note = "a service is not a layer: `.add_service(..)` of a server adds it"
)]
pub trait CallLayer: sealed::Layer {}

impl<L: sealed::Layer> CallLayer for L {}

/// What a layer has to make of an [`Inner`]: a `tower_service::Service<Request, Response = Reply>` that is `Clone`, since each call has a
/// clone of it, `Send`, `Sync` and `'static`, with a future that is `Send`. It is implemented for all of them.
pub trait LayerService: sealed::Service {}

impl<S: sealed::Service> LayerService for S {}

/// Keeps the traits to what they describe.
mod sealed {
    use super::{Cloned, Inner, LayerError, LayerFuture, LayerReply, LayerService, Request};

    pub trait Layer: Send + Sync + 'static {
        fn apply(&self, inner: Inner) -> Inner;
    }

    impl<L> Layer for L
    where
        L: super::Layer<Inner>,
        L: Send + Sync + 'static,
        L::Service: LayerService,
    {
        fn apply(&self, inner: Inner) -> Inner {
            Inner::new(self.layer(inner))
        }
    }

    pub trait Service: Sized {
        fn into_inner(self) -> Inner;
    }

    impl<S, R, E, F> Service for S
    where
        S: super::Service<Request, Response = R, Error = E, Future = F>,
        S: Cloned,
        S: Send + Sync + 'static,
        R: LayerReply,
        E: LayerError,
        F: LayerFuture<Output = Result<R, E>>,
    {
        fn into_inner(self) -> Inner {
            R::erase(self)
        }
    }
}

/// A service of which each call has a clone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `Clone`, and each call needs a clone of the service that a layer makes",
    label = "the service of this layer is not `Clone`",
    note = "a service of tower that is not `Clone` needs a buffer in front: `ServiceBuilder::new().buffer(64).rate_limit(..)`",
    note = "a service of your own can derive `Clone`"
)]
pub trait Cloned: Clone {}

#[diagnostic::do_not_recommend]
impl<S: Clone> Cloned for S {}

/// The response of a service.
#[diagnostic::on_unimplemented(
    message = "a layer must reply with `natsmicro::middleware::Reply`, and not with `{Self}`",
    label = "the service of this layer replies with `{Self}`",
    note = "`Reply::new(bytes)` makes a reply, and `reply.set_payload(bytes)` changes the one of the service within"
)]
pub trait LayerReply: Sized {
    /// The service without its type.
    fn erase<S, E, F>(service: S) -> Inner
    where
        S: Service<Request, Response = Self, Error = E, Future = F>,
        S: Clone + Send + Sync + 'static,
        E: Into<BoxError>,
        F: Future<Output = Result<Self, E>> + Send + 'static;
}

impl LayerReply for Reply {
    fn erase<S, E, F>(service: S) -> Inner
    where
        S: Service<Request, Response = Self, Error = E, Future = F>,
        S: Clone + Send + Sync + 'static,
        E: Into<BoxError>,
        F: Future<Output = Result<Self, E>> + Send + 'static,
    {
        Inner::erase(service)
    }
}

/// The error of a service.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a layer",
    label = "the service of this layer fails with `{Self}`",
    note = "fail with a `natsmicro::Status`, or with an error that implements `std::error::Error` and is `Send` and `Sync`"
)]
pub trait LayerError: Into<BoxError> {}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError>> LayerError for E {}

/// The future of a service.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the future of a layer, since it is not `Send`",
    label = "the service of this layer has a future that is not `Send`",
    note = "`futures::future::BoxFuture<'static, _>` is a boxed future that is `Send`; hold nothing like an `Rc` across an `await`"
)]
pub trait LayerFuture: Future + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<F: Future + Send + 'static> LayerFuture for F {}
