//! The client side: calls, cached calls and streams, and the handles of stores, for generated clients.
//!
//! [`ServiceClient`] is what a generated client wraps; it turns a method and a request into a [`Call`] or a
//! [`CachedCall`](crate::CachedCall).
//!
//! May use `transport`, `descriptor`, `store` and `stream`; never `server`. Guarantees that every call ends with its response, an error
//! or its timeout, and that what a call has opened ends when the call is dropped.

pub(crate) mod cached;
pub(crate) mod call;
pub(crate) mod fetch;
pub(crate) mod layered;
mod open;
pub(crate) mod retry;
mod stores;
mod stream;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;

use crate::client::cached::singleflight::SingleFlight;
use crate::client::call::{Call, Exchange, OpenedBy, Response};
use crate::client::fetch::Fetch;
#[cfg(feature = "testing")]
use crate::client::layered::LocalServices;
use crate::client::layered::{Decode, Layered, Peer};
use crate::client::retry::attempts::{Retries, RetryPolicy};
use crate::client::retry::settings::{Retry, RetryStats};
use crate::codec::MessageCodec;
use crate::descriptor::method::{Method, MethodId, MethodKind, MethodSettings};
use crate::descriptor::service::{DEFAULT_TIMEOUT, Describe, ServiceDescriptor};
use crate::middleware::body::Messages;
use crate::middleware::layer::CallLayer;
use crate::middleware::layers::Layers;
use crate::status::Status;
use crate::store::bucket::jetstream::JetStream;
use crate::stream::flow::{self, Credit};
use crate::stream::streaming::Streaming;
use crate::transport::events::ConnectionEvents;
use crate::transport::gate::{ConnectionState, Gate};
use crate::transport::mux::Multiplexer;
use crate::transport::subject::{ReplySubjects, check_subject_prefix};

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
        Self {
            peer: Peer::Nats(Multiplexer::new(Gate::new(
                nats,
                ReplySubjects::default(),
                None,
            ))),
            events: None,
            layers: Layers::default(),
            timeout: None,
            jetstream: None,
            max_response_size: DEFAULT_MAX_RESPONSE_SIZE,
            retries: None,
        }
    }

    /// A client of services in this process.
    #[cfg(feature = "testing")]
    pub(crate) fn of_services(services: Arc<dyn LocalServices>) -> Self {
        Self {
            peer: Peer::InProcess(services),
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
    /// method, or 10 seconds if there is none.
    ///
    /// As with [`Call::with_timeout`], the timeout is sent to the service, which drops the handler when it has passed. A
    /// [`CachedCall`](crate::CachedCall) does not send it, since several callers may share it. A stream only has to be opened within
    /// this time.
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

/// The client of one service, which a generated client wraps.
#[derive(Clone)]
pub struct ServiceClient {
    client: Client,
    service: &'static ServiceDescriptor,
    /// The subject of each method, made when the method is first called.
    subjects: Arc<[OnceLock<Subject>]>,
    prefix: Result<Arc<str>, Status>,
    /// Shared by all clones with one prefix: calls to other instances are not the same calls.
    single_flight: Arc<SingleFlight>,
}

impl ServiceClient {
    /// A client of the service `D`.
    #[must_use]
    pub fn new<D: Describe>(client: Client) -> Self {
        let service = const { &D::SERVICE };
        Self {
            client,
            service,
            subjects: subjects(service),
            prefix: Ok(service.subject_prefix.into()),
            single_flight: Arc::default(),
        }
    }

    /// Calls instances that were started with this prefix. An invalid prefix fails the calls.
    #[must_use]
    pub fn with_subject_prefix(mut self, prefix: String) -> Self {
        self.prefix = match check_subject_prefix(&prefix) {
            Ok(()) => Ok(prefix.into()),
            Err(reason) => {
                let text = format!(
                    "`{}` cannot be a subject prefix: {reason}",
                    prefix.escape_debug()
                );
                Err(Status::invalid_argument(text))
            }
        };
        self.subjects = subjects(self.service);
        self.single_flight = Arc::default();
        self
    }

    /// A call of a method, ready to be sent.
    pub fn call<Req, Resp, E>(
        &self,
        method: &Method<Req, Resp, E>,
        request: &Req,
    ) -> Call<Resp, E> {
        let exchange = self.unary(&method.settings, method.response);
        self.new_call(method, encode_request(method, request), exchange)
    }

    /// The connection on which calls are sent that pass no layers.
    fn direct(&self) -> Option<&Arc<Multiplexer>> {
        match &self.client.peer {
            Peer::Nats(multiplexer) => Some(multiplexer).filter(|_| self.client.layers.is_empty()),
            #[cfg(feature = "testing")]
            Peer::InProcess(_) => None,
        }
    }

    /// How a method that does not stream is called.
    fn unary<T: 'static>(&self, method: &MethodSettings, codec: MessageCodec<T>) -> Exchange<T> {
        let Some(multiplexer) = self.direct() else {
            let decode = layered::decode_message(codec);
            return self.layered(method, MethodKind::Unary, None, decode);
        };
        let multiplexer = Arc::clone(multiplexer);
        match self.fetch(method) {
            Some(fetch) => Exchange::MessageOrObject(multiplexer, codec, Box::new(fetch)),
            None => Exchange::Message(multiplexer, codec),
        }
    }

    /// The same client for requests that have passed the layers.
    fn without_layers(&self) -> Self {
        let mut client = self.clone();
        client.client.layers = Layers::default();
        client
    }

    /// How a method is called through layers, or in this process.
    fn layered<T>(
        &self,
        method: &MethodSettings,
        kind: MethodKind,
        requests: Option<Messages>,
        decode: Decode<T>,
    ) -> Exchange<T> {
        Exchange::Layered(Box::new(Layered {
            layers: self.client.layers.applied(),
            peer: self.client.peer.clone(),
            id: MethodId { kind, ..method.id },
            requests,
            fetch: self.fetch(method),
            window: window(method),
            opened_by: OpenedBy::Acceptance,
            decode,
        }))
    }

    /// How responses are fetched; `None` unless the service stores them as objects.
    fn fetch(&self, method: &MethodSettings) -> Option<Fetch> {
        let store = method.stores.object?;
        if store.usage.client_only {
            return None;
        }
        Some(Fetch {
            jetstream: self.client.jetstream.clone(),
            bucket: store.bucket.name,
            max_size: self.client.max_response_size,
        })
    }

    /// A call whose response is a stream.
    pub fn server_streaming<Req, Resp, E>(
        &self,
        method: &Method<Req, Resp, E>,
        request: &Req,
    ) -> Call<Streaming<Resp>, E>
    where
        Resp: Send + 'static,
    {
        let (codec, window) = (method.response, window(&method.settings));
        let payload = encode_request(method, request);
        let exchange = match self.direct() {
            Some(multiplexer) => Exchange::stream(multiplexer, move |opening| {
                open::server_streaming(opening, codec, window)
            }),
            None => self.layered(
                &method.settings,
                MethodKind::ServerStreaming,
                None,
                layered::decode_stream(codec),
            ),
        };
        self.new_call(method, payload, exchange)
    }

    /// A call that sends a stream and whose response is one message.
    pub fn client_streaming<Req, Resp, E>(
        &self,
        method: &Method<Req, Resp, E>,
        requests: Streaming<Req>,
    ) -> Call<Resp, E>
    where
        Req: Send + 'static,
        Resp: Send + 'static,
    {
        let codec = method.response;
        let requests = open::request_messages(requests, method.request);
        let exchange = match self.direct() {
            Some(multiplexer) => Exchange::stream(multiplexer, move |opening| async move {
                let message = open::client_streaming(opening, requests).await?;
                Response::decode(message, codec)
            }),
            None => self.layered(
                &method.settings,
                MethodKind::ClientStreaming,
                Some(requests),
                layered::decode_message(codec),
            ),
        };
        self.new_call(method, Ok(Bytes::new()), exchange)
    }

    /// A call that sends a stream and whose response is a stream.
    pub fn bidirectional<Req, Resp, E>(
        &self,
        method: &Method<Req, Resp, E>,
        requests: Streaming<Req>,
    ) -> Call<Streaming<Resp>, E>
    where
        Req: Send + 'static,
        Resp: Send + 'static,
    {
        let (codec, window) = (method.response, window(&method.settings));
        let requests = open::request_messages(requests, method.request);
        let exchange = match self.direct() {
            Some(multiplexer) => Exchange::stream(multiplexer, move |opening| {
                open::bidirectional(opening, requests, codec, window)
            }),
            None => self.layered(
                &method.settings,
                MethodKind::Bidirectional,
                Some(requests),
                layered::decode_stream(codec),
            ),
        };
        self.new_call(method, Ok(Bytes::new()), exchange)
    }

    fn new_call<Req, Resp, E, T: 'static>(
        &self,
        method: &Method<Req, Resp, E>,
        payload: Result<Bytes, Status>,
        exchange: Exchange<T>,
    ) -> Call<T, E> {
        let settings = &method.settings;
        // The timeout of a method that streams bounds the whole stream, and not the time until the stream is open.
        let is_stream = exchange.is_stream();
        let timeout = if is_stream {
            self.client.timeout.unwrap_or(DEFAULT_TIMEOUT)
        } else {
            self.timeout(settings)
        };
        let call = Call::new(
            self.subject(settings),
            payload,
            timeout,
            exchange,
            method.error,
        );
        let call = call.retried(self.retry_policy(settings));
        match self.client.timeout {
            Some(timeout) if !is_stream => call.with_timeout(timeout),
            _ => call,
        }
    }

    /// How calls of a method are retried; `None` if they are not.
    fn retry_policy(&self, method: &MethodSettings) -> Option<RetryPolicy> {
        let retries = self.client.retries.as_ref()?;
        Some(RetryPolicy {
            retries: Arc::clone(retries),
            is_idempotent: method.idempotent,
            until: None,
        })
    }

    /// The default timeout of a call whose response is one message.
    fn timeout(&self, method: &MethodSettings) -> Duration {
        let method_timeout = method.timeout.or(self.service.timeout);
        self.client
            .timeout
            .or(method_timeout)
            .unwrap_or(DEFAULT_TIMEOUT)
    }

    fn subject(&self, method: &MethodSettings) -> Result<Subject, Status> {
        let prefix = self.prefix.as_ref().map_err(Status::clone)?;
        let make = || Subject::from(format!("{prefix}.{}", method.name));
        Ok(self
            .subjects
            .get(method.index)
            .map_or_else(make, |subject| subject.get_or_init(make).clone()))
    }
}

fn window(settings: &MethodSettings) -> Credit {
    flow::window(settings.window, settings.window_bytes)
}

fn encode_request<Req, Resp, E>(
    method: &Method<Req, Resp, E>,
    request: &Req,
) -> Result<Bytes, Status> {
    (method.request.encode)(request)
        .map_err(|error| Status::invalid_argument(format!("failed to encode the request: {error}")))
}

fn subjects(service: &ServiceDescriptor) -> Arc<[OnceLock<Subject>]> {
    (0..service.methods).map(|_| OnceLock::new()).collect()
}

impl fmt::Debug for ServiceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceClient")
            .field("service", &self.service.name)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
