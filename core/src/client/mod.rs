//! The client side: calls, cached calls and streams, and the handles of stores, for generated clients.
//!
//! [`ServiceClient`](self::service_client::ServiceClient) is what a generated client wraps; it turns a method and a request into a
//! [`Call`](crate::Call) or a [`CachedCall`](crate::CachedCall).
//!
//! May use `transport`, `descriptor`, `store` and `stream`; never `server`. Guarantees that every call ends with its response, an error
//! or its timeout, and that what a call has opened ends when the call is dropped.

pub(crate) mod cached;
pub(crate) mod call;
pub(crate) mod fetch;
pub(crate) mod layered;
mod open;
pub(crate) mod retry;
pub(crate) mod service_client;
mod stores;
mod stream;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "testing")]
use crate::client::layered::LocalServices;
use crate::client::layered::Peer;
use crate::client::retry::attempts::Retries;
use crate::client::retry::settings::{Retry, RetryStats};
use crate::descriptor::service::DEFAULT_TIMEOUT;
use crate::middleware::layer::CallLayer;
use crate::middleware::layers::Layers;
use crate::store::bucket::jetstream::JetStream;
use crate::transport::events::ConnectionEvents;
use crate::transport::gate::{ConnectionState, Gate};
use crate::transport::mux::Multiplexer;
use crate::transport::subject::ReplySubjects;

/// The largest response in bytes that a client fetches from an object store by default.
const DEFAULT_MAX_RESPONSE_SIZE: usize = 256 << 20;

/// A connection for generated clients, which `UserServiceClient::new` takes. Cheap to clone.
///
/// An [`async_nats::Client`] converts into one, so that `UserServiceClient::new(nats)` works where no store is read.
///
/// ```no_run
/// # use natsmicro::Status;
/// # #[natsmicro::service]
/// # pub trait Users { async fn ping(&self) -> Result<(), Status>; }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let nats = async_nats::connect("localhost").await?;
/// let client = natsmicro::Client::new(nats).with_timeout(std::time::Duration::from_secs(2));
/// let users = UsersClient::new(client);
/// users.ping().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    peer: Peer,
    events: Option<ConnectionEvents>,
    layers: Layers,
    timeout: Option<Duration>,
    jetstream: Option<Arc<JetStream>>,
    max_response_size: usize,
    retries: Option<Arc<Retries>>,
}

impl Client {
    /// A client on this connection. The connection should have the `subscription_capacity` that async-nats gives it: with a smaller one,
    /// [replies can be lost](crate#connections).
    #[must_use]
    pub fn new(nats: async_nats::Client) -> Self {
        let gate = Gate::new(nats, ReplySubjects::default(), None);
        Self::of(Peer::Nats(Multiplexer::new(gate)))
    }

    /// A client of services in this process.
    #[cfg(feature = "testing")]
    pub(crate) fn of_services(services: Arc<dyn LocalServices>) -> Self {
        Self::of(Peer::InProcess(services))
    }

    fn of(peer: Peer) -> Self {
        Self {
            peer,
            events: None,
            layers: Layers::default(),
            timeout: None,
            jetstream: None,
            max_response_size: DEFAULT_MAX_RESPONSE_SIZE,
            retries: None,
        }
    }

    /// Puts a [layer](crate::middleware) around all calls of the clients that are made from this one: those through the trait, cached calls
    /// and streams as well. It is inside the layers that were added before, and clients that were made before do not get it.
    ///
    /// The layer is applied once, with the first call: a limit holds for all clients that are made from this one together.
    ///
    /// ```no_run
    /// use natsmicro::Status;
    /// use natsmicro::middleware::{Next, Reply, Request, from_fn};
    ///
    /// async fn add_token(mut request: Request, next: Next) -> Result<Reply, Status> {
    ///     request.insert_header("authorization", "Bearer s3cret")?;
    ///     next.run(request).await
    /// }
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let nats = async_nats::connect("localhost").await?;
    /// let client = natsmicro::Client::new(nats).layer(from_fn(add_token));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn layer(mut self, layer: impl CallLayer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Lets the clients read and write stores, and fetch the responses that are stored because they are too large for a reply.
    #[must_use]
    pub fn with_jetstream(mut self, jetstream: async_nats::jetstream::Context) -> Self {
        self.set_jetstream(jetstream);
        self
    }

    fn set_jetstream(&mut self, context: async_nats::jetstream::Context) {
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let jetstream = JetStream::of_client(context, timeout, self.events.clone());
        self.jetstream = Some(Arc::new(jetstream));
    }

    fn renew_jetstream(&mut self) {
        if let Some(jetstream) = self.jetstream.take() {
            self.set_jetstream(jetstream.context.clone());
        }
    }

    /// Makes what NATS refuses to the connection an error with the subject, at once: `PERMISSION_DENIED` of a call, and
    /// [`PermissionDenied`](crate::store::StoreErrorKind::PermissionDenied) of a store. Without it, NATS leaves such a request unanswered,
    /// and it ends with its timeout.
    ///
    /// The events must be those of the connection; see [`ConnectionEvents`] for an example, and
    /// [`guide::permissions`](crate::guide::permissions) for what callers and users of stores need.
    #[must_use]
    pub fn with_connection_events(mut self, events: ConnectionEvents) -> Self {
        match &self.peer {
            Peer::Nats(before) => {
                let gate = before.gate.with_events(events.clone());
                self.peer = Peer::Nats(Multiplexer::new(gate));
            }
            #[cfg(feature = "testing")]
            Peer::InProcess(_) => {}
        }
        self.events = Some(events);
        self.renew_jetstream();
        self
    }

    /// The state of the connection; always [`Connected`](ConnectionState::Connected) for services in this process.
    ///
    /// ```no_run
    /// use natsmicro::ConnectionState;
    ///
    /// # fn example(client: &natsmicro::Client) {
    /// if client.state() == ConnectionState::Closed {
    ///     // Only a new connection helps.
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        match &self.peer {
            Peer::Nats(multiplexer) => multiplexer.gate.state(),
            #[cfg(feature = "testing")]
            Peer::InProcess(_) => ConnectionState::Connected,
        }
    }

    /// Waits until the connection is over for good: it was drained or closed, or async-nats's task for it has panicked. From then on all
    /// calls of this client fail at once with `UNAVAILABLE`, and the operations of its stores with
    /// [`ConnectionLost`](crate::store::StoreErrorKind::ConnectionLost). A connection that is interrupted is not over: async-nats
    /// connects again.
    ///
    /// ```no_run
    /// # async fn example(client: natsmicro::Client) {
    /// tokio::select! {
    ///     () = client.closed() => eprintln!("the connection is lost: connect again"),
    ///     _ = tokio::signal::ctrl_c() => {}
    /// }
    /// # }
    /// ```
    pub async fn closed(&self) {
        match &self.peer {
            Peer::Nats(multiplexer) => multiplexer.gate.closed().await,
            #[cfg(feature = "testing")]
            Peer::InProcess(_) => std::future::pending().await,
        }
    }

    /// Sets how long a call, or an operation on a store, waits for its response. By default a call waits for the `timeout = ..` of its
    /// method, or 10 seconds if there is none; an operation on a store for 10 seconds.
    ///
    /// As with [`Call::with_timeout`](crate::Call::with_timeout), the timeout is sent to the service, which drops the handler when it has
    /// passed. A [`CachedCall`](crate::CachedCall) does not send it, since several callers may share it. A stream only has to be opened
    /// within this time.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self.renew_jetstream();
        self
    }

    /// The largest response, in bytes, that a call fetches from an object store: 256 MiB by default. A
    /// larger one fails the call with `RESOURCE_EXHAUSTED`, and can be read piece by piece with
    /// [`ObjectStore::reader`](crate::store::object::handle::ObjectStore::reader).
    ///
    /// This bounds the responses that do not fit into a message; see
    /// [`#[object_store]`](macro@crate::object_store#large-responses). The NATS server bounds the others.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), async_nats::ConnectError> {
    /// let nats = async_nats::connect("localhost").await?;
    /// let jetstream = async_nats::jetstream::new(nats.clone());
    /// let client = natsmicro::Client::new(nats)
    ///     .with_jetstream(jetstream)
    ///     .with_max_response_size(1 << 30);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_max_response_size(mut self, bytes: usize) -> Self {
        self.max_response_size = bytes;
        self
    }

    /// Sends calls again that have failed for a reason that may pass: because nobody listens on the subject of the method, or, for a
    /// method with `#[endpoint(idempotent)]`, with any `UNAVAILABLE`. By default no call is. [`Retry`] describes what is retried, and for
    /// how long; a call without retries costs nothing more for it.
    ///
    /// This client and its clones share one budget and one set of counters. Those of another call of this function are others. To
    /// [layers](crate::middleware), a call with its retries is one call. Services in this process are called once.
    ///
    /// ```no_run
    /// # use natsmicro::{Retry, Status};
    /// # #[natsmicro::service(codec = "json")]
    /// # pub trait Users { #[endpoint(idempotent)] async fn find(&self, name: String) -> Result<u64, Status>; }
    /// # async fn example(nats: natsmicro::async_nats::Client) -> Result<(), Status> {
    /// let client = natsmicro::Client::new(nats).with_retry(Retry::exponential(3));
    /// let users = UsersClient::new(client.clone());
    /// let id = users.find("ada".to_owned()).await?;
    /// println!("{id}, {:?}", client.retry_stats());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retries = Some(Retries::new(retry));
        self
    }

    /// What the retries of this client and its clones came to since [`with_retry`](Self::with_retry); all zero without it.
    ///
    /// ```no_run
    /// # fn example(client: &natsmicro::Client) {
    /// let stats = client.retry_stats();
    /// println!("{} retries, {} calls recovered", stats.retries, stats.recovered);
    /// # }
    /// ```
    #[must_use]
    pub fn retry_stats(&self) -> RetryStats {
        self.retries
            .as_ref()
            .map(|retries| retries.stats())
            .unwrap_or_default()
    }
}

impl From<async_nats::Client> for Client {
    fn from(nats: async_nats::Client) -> Self {
        Self::new(nats)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Duration;

    use async_nats::jetstream;

    use crate::client::Client;
    use crate::testing::NatsServer;

    #[tokio::test]
    async fn an_operation_on_a_store_takes_ten_seconds_or_the_timeout_of_the_client() {
        let nats = NatsServer::start().await.unwrap();
        let nats = nats.connect().await.unwrap();
        let client = Client::new(nats.clone()).with_jetstream(jetstream::new(nats));
        let timeout = |client: &Client| client.jetstream.as_ref().unwrap().timeout;
        assert_eq!(timeout(&client), Duration::from_secs(10));
        let brief = Duration::from_millis(7);
        assert_eq!(timeout(&client.with_timeout(brief)), brief);
    }
}
