//! A server: services on a connection, from their settings to their stop.
//!
//! `settings` checks what is to be served, `start` starts it, `running` stops it. Each endpoint has a dispatcher (`dispatch`), which
//! runs its calls through the pipeline (`call`); `discovery` answers `$SRV`. Uses all layers above in the map of `CONTRIBUTING.md`,
//! and nothing of the client. Until a stop, every request is answered, and what was accepted is answered before the stop returns or is
//! in its error.

pub(crate) mod call;
pub(crate) mod discovery;
pub(crate) mod dispatch;
pub(crate) mod end;
pub(crate) mod endpoint;
pub(crate) mod health;
pub(crate) mod layered;
pub(crate) mod losses;
pub(crate) mod memory;
pub(crate) mod router;
pub(crate) mod running;
pub(crate) mod serve;
pub(crate) mod service_server;
pub(crate) mod settings;
pub(crate) mod start;
pub(crate) mod stats;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::context::Stopping;
use crate::error::Error;
use crate::middleware::layer::CallLayer;
use crate::middleware::layers::Layers;
use crate::persist::LostWrite;
use crate::persist::open::declared::ServedMethod;
use crate::persist::open::error::OpenErrorKind;
use crate::persist::open::{OpenStores, Persistence};
use crate::server::dispatch::Phase;
use crate::server::end::Parts;
use crate::server::memory::{Memory, MemoryLimits};
use crate::server::router::Dispatch;
use crate::server::running::RunningServer;
use crate::server::service_server::{AddedService, ServiceServer};
use crate::server::start::Starter;
use crate::store::bucket::provision::{BucketPolicy, ProvisionOptions};
use crate::transport::events::ConnectionEvents;
use crate::transport::gate::Gate;

/// Why a server did not start.
///
/// Subscriptions that were made before the failure are ended at once. Requests that had reached them are answered with `UNAVAILABLE`, for
/// which their tasks may live a few seconds longer.
pub type StartError = Error<StartErrorKind>;

/// The kinds of [`StartError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartErrorKind {
    /// A name, version, subject prefix, timeout or metadata key that was set at run time is invalid.
    InvalidSettings,
    /// Two endpoints would answer on the same subject.
    DuplicateSubject,
    /// A method has `persist = "before_response"`, and the server has no JetStream.
    JetStreamRequired,
    /// A bucket has other settings than the service declares, or two methods declare it with different settings; it is sealed; or there is
    /// a stream of its name which is no bucket. The text says which, and names each difference.
    BucketMismatch,
    /// A bucket is missing, and the policy is not to create it; or a method deletes from it, and no method of this server writes to it.
    BucketNotFound,
    /// The NATS server is too old for a setting, or a JetStream domain or prefix does not allow it.
    Unsupported,
    /// The permissions of the connection do not cover a subscription, or a request for a bucket; the text names the subjects. Known with
    /// [`Server::with_connection_events`] only. What is needed is listed in [`guide::permissions`](crate::guide::permissions).
    PermissionDenied,
    /// A request to NATS failed.
    Nats,
}

impl From<OpenErrorKind> for StartErrorKind {
    fn from(kind: OpenErrorKind) -> Self {
        match kind {
            OpenErrorKind::JetStreamRequired => Self::JetStreamRequired,
            OpenErrorKind::BucketMismatch => Self::BucketMismatch,
            OpenErrorKind::BucketNotFound => Self::BucketNotFound,
            OpenErrorKind::Unsupported => Self::Unsupported,
            OpenErrorKind::PermissionDenied => Self::PermissionDenied,
            OpenErrorKind::Nats => Self::Nats,
        }
    }
}

const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const PERSIST_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves services on a NATS connection.
///
/// Callers may be in another account of NATS, which imports the subjects of the services: calls need nothing more, and streams need an
/// export with `response_type: stream`. [`Streaming`](crate::Streaming#between-accounts) says why.
///
/// ```no_run
/// # use natsmicro::Status;
/// # #[natsmicro::service]
/// # pub trait Users { async fn ping(&self) -> Result<(), Status>; }
/// # struct Impl;
/// # impl Users for Impl { async fn ping(&self) -> Result<(), Status> { Ok(()) } }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let nats = async_nats::connect("localhost").await?;
/// let server = natsmicro::Server::new(nats).add_service(UsersServer::new(Impl)).start().await?;
///
/// tokio::signal::ctrl_c().await?;
/// server.stop().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a server does nothing until it is started"]
pub struct Server {
    nats: async_nats::Client,
    services: Vec<AddedService>,
    layers: Layers,
    drain_timeout: Duration,
    persistence: Persistence,
    reply_subjects: Vec<String>,
    memory: MemoryLimits,
}

impl Server {
    /// A server without services on this connection. It should have the `subscription_capacity` that async-nats gives it: with
    /// a smaller one, [requests can be lost](crate#connections).
    pub fn new(nats: async_nats::Client) -> Self {
        Self {
            nats,
            services: Vec::new(),
            layers: Layers::default(),
            drain_timeout: DRAIN_TIMEOUT,
            persistence: Persistence {
                jetstream: None,
                buckets: ProvisionOptions {
                    policy: BucketPolicy::default(),
                    batches: false,
                },
                timeout: PERSIST_TIMEOUT,
                on_lost: None,
                events: None,
            },
            reply_subjects: Vec::new(),
            memory: MemoryLimits::default(),
        }
    }

    /// Lets the services persist responses. Without it they answer calls and store nothing.
    ///
    /// The context may be on a connection of its own.
    pub fn with_jetstream(mut self, jetstream: async_nats::jetstream::Context) -> Self {
        self.persistence.jetstream = Some(jetstream);
        self
    }

    /// Sets the policy for buckets that are missing or have other settings; [`BucketPolicy::Create`] by default.
    pub fn with_bucket_policy(mut self, policy: BucketPolicy) -> Self {
        self.persistence.buckets.policy = policy;
        self
    }

    /// Whether the responses of concurrent calls are written in batches, which nats-server 2.14 and newer acknowledge as a whole;
    /// off by default.
    ///
    /// Batches reduce the work of nats-server, and do not change what is stored or in which order. For them, the Key-Value buckets
    /// that this server creates get the setting `allow_batched`. **A bucket with the setting is offline on a nats-server older than 2.14**,
    /// so that a rollback of nats-server takes it away until the newer version is back: that is why they are opted into.
    ///
    /// An existing bucket without the setting keeps it so, unless the policy is [`BucketPolicy::Update`], and is written to one entry at a
    /// time. So is a bucket that loses the setting while the service runs, because another client updates it. A bucket that has the setting
    /// keeps it, and is written to in batches, also by servers that have not opted in.
    pub fn with_batches(mut self, enabled: bool) -> Self {
        self.persistence.buckets.batches = enabled;
        self
    }

    /// How long a write or a deletion is retried before it is given up; 30 seconds by default.
    pub fn with_persist_timeout(mut self, timeout: Duration) -> Self {
        self.persistence.timeout = timeout;
        self
    }

    /// Calls this for every write and every deletion that is given up. It is called from the task of the worker or of the call, and
    /// must not block.
    pub fn on_lost_write(mut self, callback: impl Fn(&LostWrite) + Send + Sync + 'static) -> Self {
        self.persistence.on_lost = Some(Arc::new(callback));
        self
    }

    /// How long [`RunningServer::stop`] waits for calls and writes; 30 seconds by default.
    pub fn with_drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Sends replies also to the subjects that match `pattern`, in which `*` stands for one token, and `>` at the end for one or more. May
    /// be called several times.
    ///
    /// A service publishes with its own permissions, so it does not publish wherever a caller likes: replies go to inboxes, which are the
    /// subjects whose first token begins with `_`. A request with another reply subject is not served, and counts as an error in the
    /// statistics. This is for callers that want replies elsewhere, or whose connections have an inbox prefix without `_`.
    ///
    /// A pattern that matches subjects of NATS itself (`$..`), or one on which this server answers, fails the start with
    /// [`InvalidSettings`](StartErrorKind::InvalidSettings).
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let nats = async_nats::connect("localhost").await?;
    /// let server = natsmicro::Server::new(nats).with_reply_subjects("billing.results.>");
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_reply_subjects(mut self, pattern: impl Into<String>) -> Self {
        self.reply_subjects.push(pattern.into());
        self
    }

    /// Makes what NATS refuses to the connection an error with the subject: a subscription that is refused fails the start with
    /// [`PermissionDenied`](StartErrorKind::PermissionDenied), a stream whose messages may not be published ends with `PERMISSION_DENIED`,
    /// and a write to a store is given up at once. Without it, a server whose subscriptions are refused starts, and gets no requests.
    ///
    /// The events must be those of the connection; see [`ConnectionEvents`] for an example, and
    /// [`guide::permissions`](crate::guide::permissions) for what a service needs.
    pub fn with_connection_events(mut self, events: ConnectionEvents) -> Self {
        self.persistence.events = Some(events);
        self
    }

    /// How many bytes of memory the requests may hold that wait for their turn, in all endpoints of the server together; 64 MiB by
    /// default. A request without room is refused with `RESOURCE_EXHAUSTED`. At most 16,384 requests wait for each endpoint, whatever
    /// they hold.
    ///
    /// Requests wait when their endpoint runs `max_in_flight` calls, or when the queues of writes of its stores are full. What async-nats
    /// holds before this crate gets it is not counted: up to its `subscription_capacity` of messages for each endpoint.
    pub fn with_waiting_memory(mut self, bytes: usize) -> Self {
        self.memory.waiting = bytes;
        self
    }

    /// How many bytes of memory the messages of callers' streams may hold that no handler has read yet, in all streams of the server
    /// together; 256 MiB by default. It is for streams with flow control, those of the clients of this crate. Each of them is bounded by
    /// its window besides. A stream whose next message has no room ends with `RESOURCE_EXHAUSTED`.
    pub fn with_stream_memory(mut self, bytes: usize) -> Self {
        self.memory.streams = bytes;
        self
    }

    /// The same as [`with_stream_memory`](Self::with_stream_memory) for streams without flow control, whose callers send as fast as they
    /// can; 64 MiB by default.
    pub fn with_plain_stream_memory(mut self, bytes: usize) -> Self {
        self.memory.plain_streams = bytes;
        self
    }

    /// Puts a [layer](crate::middleware) around the calls of all services of the server, also those that are added later. It is inside the
    /// layers that were added before. It is applied once, when the server starts: a limit holds for all calls together.
    ///
    /// ```no_run
    /// use natsmicro::Status;
    /// use natsmicro::middleware::{Next, Reply, Request, from_fn};
    ///
    /// async fn timed(request: Request, next: Next) -> Result<Reply, Status> {
    ///     let (method, since) = (request.method(), std::time::Instant::now());
    ///     let result = next.run(request).await;
    ///     println!("{method} took {:?}", since.elapsed());
    ///     result
    /// }
    ///
    /// # fn example(nats: natsmicro::async_nats::Client) {
    /// let server = natsmicro::Server::new(nats).layer(from_fn(timed));
    /// # }
    /// ```
    pub fn layer(mut self, layer: impl CallLayer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Adds a service. Several instances of one service, in one process or in many, share the requests through their queue
    /// group.
    pub fn add_service<S, D>(mut self, service: ServiceServer<S, D>) -> Self
    where
        S: Send + Sync + 'static,
        D: Dispatch<S>,
    {
        self.services.push(service.into_added());
        self
    }

    /// Creates the buckets, subscribes, and returns once the NATS server of this connection knows the subscriptions: from then on, requests
    /// from each connection to that NATS server reach the services.
    ///
    /// The other servers of a cluster, and those behind gateways and leaf nodes, learn of the subscriptions some milliseconds later.
    /// Until then, a call from there fails with `UNAVAILABLE` if no other instance runs, and reaches the others if some do.
    ///
    /// That the subscriptions are known is proven by a message of the connection to its own inbox. One that may not publish there cannot
    /// prove it: then the start waits a second, or, with [`with_connection_events`](Self::with_connection_events), for the refusal. Without
    /// these events, NATS does not tell whether it refuses a subscription, and the server starts all the same.
    pub async fn start(self) -> Result<RunningServer, StartError> {
        let reply_subjects = settings::check(&self.services, self.reply_subjects)?;
        let events = self.persistence.events.clone();
        let stores = open_stores(&self.services, self.persistence).await?;
        let (phase, phase_receiver) = watch::channel(Phase::Running);
        let (stopping, stopping_receiver) = watch::channel(Stopping::No);
        let (queue_group_guard, left_queue_groups) = mpsc::channel(1);
        let starter = Starter {
            gate: Gate::new(self.nats, reply_subjects, events),
            memory: Memory::new(self.memory),
            stores,
            phase: phase_receiver,
            stopping: stopping_receiver,
            layers: self.layers,
            queue_group_guard,
            drain_timeout: self.drain_timeout,
        };
        let mut instances = Vec::new();
        let mut discovery = Vec::new();
        let mut endpoints = Vec::new();
        for service in self.services {
            let service = starter.start_service(service).await?;
            instances.push(service.instance);
            discovery.push(service.discovery);
            endpoints.extend(service.endpoints);
        }
        starter.check_subscribed(&instances).await?;
        let parts = Parts {
            gate: starter.gate,
            jetstream: starter.stores.gate,
            drain_timeout: self.drain_timeout,
            discovery,
            endpoints,
            phase,
            stopping,
            left_queue_groups,
            queues: starter.stores.queues,
            lost: starter.stores.lost,
        };
        Ok(RunningServer::new(parts, instances))
    }
}

/// Opens the buckets of all methods, so that two declarations of one bucket are compared across services.
async fn open_stores(
    services: &[AddedService],
    persistence: Persistence,
) -> Result<OpenStores, StartError> {
    let methods = services.iter().flat_map(|service| {
        service.routes.iter().map(|route| ServedMethod {
            service: &service.settings.name,
            settings: &route.settings,
        })
    });
    let methods: Vec<_> = methods.collect();
    OpenStores::open(&methods, persistence)
        .await
        .map_err(|error| error.map_kind(StartErrorKind::from))
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.services.iter().map(|service| &service.settings.name);
        f.debug_struct("Server")
            .field("services", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Duration;

    use crate::server::Server;
    use crate::testing::NatsServer;

    #[tokio::test]
    async fn a_server_retries_writes_and_drains_for_thirty_seconds() {
        let nats = NatsServer::start().await.unwrap();
        let server = Server::new(nats.connect().await.unwrap());
        let half_a_minute = Duration::from_secs(30);
        assert_eq!(server.persistence.timeout, half_a_minute);
        assert_eq!(server.drain_timeout, half_a_minute);
    }
}
