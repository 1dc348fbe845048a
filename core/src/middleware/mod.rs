//! Layers around calls: what runs before and after a handler, or before and after a request is sent.
//!
//! [`from_fn`] makes a layer of an async function; a layer of [tower](https://docs.rs/tower) is one, too. Layers are added to a
//! [`Server`](crate::Server::layer), to one [service](crate::ServiceServer::layer) or to a [`Client`](crate::Client::layer).
//!
//! ```
//! use natsmicro::middleware::{Next, Reply, Request, from_fn};
//! use natsmicro::{Context, Status};
//!
//! #[derive(Clone)]
//! struct User(String);
//!
//! /// Refuses calls without a token, and tells the handler who calls.
//! async fn authenticate(mut request: Request, next: Next) -> Result<Reply, Status> {
//!     let user = match request.header("authorization") {
//!         Some("Bearer s3cret") => User("ada".to_owned()),
//!         _ => return Err(Status::unauthenticated("a valid token is needed")),
//!     };
//!     request.extensions_mut().insert(user);
//!     next.run(request).await
//! }
//!
//! # #[natsmicro::service(codec = "json")]
//! # pub trait Users { async fn whoami(&self, cx: &Context) -> Result<String, Status>; }
//! # struct Impl;
//! impl Users for Impl {
//!     async fn whoami(&self, cx: &Context) -> Result<String, Status> {
//!         let user = cx.extensions().get::<User>().map(|user| user.0.clone());
//!         user.ok_or_else(|| Status::internal("the layer `authenticate` is missing"))
//!     }
//! }
//!
//! # fn example(nats: natsmicro::async_nats::Client) {
//! let server = natsmicro::Server::new(nats)
//!     .layer(from_fn(authenticate))
//!     .add_service(UsersServer::new(Impl));
//! # }
//! ```
//!
//! # Order
//!
//! The layer that is added first is the outermost, as in tower's `ServiceBuilder`; those of a server are outside those of its services.
//!
//! # On a server
//!
//! Layers surround what happens from the turn of a request to its reply: decoding, keys of stores, validation, the handler, encoding, and
//! the writes that the reply waits for. So they see all of its errors, also `DEADLINE_EXCEEDED`, and a handler that panics. They do not see
//! requests that never have their turn (an overloaded endpoint, a server that stops), nor that a reply is too large for a message; for the
//! latter there is [`Reply::on_end`]. What is stored is what the handler's response encodes to: a layer that changes the payload of a
//! reply changes what the caller gets, and one that turns a success into an error takes nothing back.
//!
//! For a method that streams, layers surround its opening: [`Next::run`] returns when the handler has returned its stream (or its response,
//! for a stream of requests), and [`Reply::on_end`] tells how the stream ends. A layer that refuses such a request does so before the
//! caller sends its first message.
//!
//! The layers are applied once, when the server starts, to all of its endpoints together: `ConcurrencyLimitLayer::new(500)` admits 500
//! calls of the server. A call waits for a layer that is not ready within its own deadline, and counts as in flight meanwhile.
//!
//! What a client reads from a store does not reach the service, and so not its layers: who may read a bucket is for the
//! [permissions](crate::guide::permissions) of NATS.
//!
//! # On a client
//!
//! Layers surround sending and receiving: a request is encoded before them, and a response decoded after them. Calls that are made through
//! the trait, cached calls and streams pass them as well. A cached call passes them before it looks into the store.
//!
//! # Layers of tower
//!
//! The service that a layer makes has to be a `Service<Request, Response = Reply>` that is `Clone + Send + Sync + 'static`, with a future
//! that is `Send`. Its error becomes a [`Status`](crate::Status): one that is anywhere in its chain of sources as it is, the `Elapsed` and
//! `Overloaded` of tower as `DEADLINE_EXCEEDED` and `RESOURCE_EXHAUSTED`, and anything else as `INTERNAL`, whose cause is logged and not
//! sent. A layer is asked whether it is ready by each call, in the future of that call; a [`from_fn`] layer always is, and lets what is
//! inside wait when it runs it. `RateLimit` is not `Clone`; a buffer in front of it is:
//!
//! ```
//! use std::time::Duration;
//!
//! use tower::ServiceBuilder;
//!
//! # fn example(nats: natsmicro::async_nats::Client) {
//! let limited = ServiceBuilder::new().buffer(64).rate_limit(100, Duration::from_secs(1));
//! let server = natsmicro::Server::new(nats).layer(limited);
//! # }
//! ```
//!
//! May use `transport`, `context` and `descriptor`; knows neither server nor client. Guarantees that a layer sees each request once, and
//! that the functions given to [`Reply::on_end`] are called exactly once.

pub(crate) mod body;
pub(crate) mod bypass;
mod error;
pub(crate) mod from_fn;
pub(crate) mod inner;
pub(crate) mod layer;
pub(crate) mod layers;
pub(crate) mod next;
pub(crate) mod on_end;
pub(crate) mod origin;
pub(crate) mod reply;
pub(crate) mod request;

pub use self::error::BoxError;
pub use self::from_fn::{FromFn, FromFnService, from_fn};
pub use self::inner::Inner;
pub use self::layer::{CallLayer, LayerService};
pub use self::next::Next;
pub use self::reply::Reply;
pub use self::request::Request;
pub use crate::descriptor::method::MethodKind;
pub use http::Extensions;
pub use tower_layer::Layer;
pub use tower_service::Service;
