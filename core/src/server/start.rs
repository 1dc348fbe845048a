//! The start of the services of a server, one endpoint after the other.
//!
//! Needs valid settings and open buckets. A start that fails needs no clean-up here: the endpoints that were started before end when
//! the sender of their phase is dropped.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::context::{EndpointContext, Names, Stopping};
use crate::descriptor::method::{MethodSettings, QueueGroup};
use crate::middleware::layers::Layers;
use crate::persist::Stores;
use crate::persist::open::OpenStores;
use crate::server::discovery::{self, Instance};
use crate::server::dispatch::reply::Responder;
use crate::server::dispatch::{Dispatcher, Phase};
use crate::server::end::{RunningEndpoint, Task};
use crate::server::endpoint::Endpoint;
use crate::server::layered::layered;
use crate::server::memory::Memory;
use crate::server::router::Handler;
use crate::server::service_server::{AddedService, ServiceSettings};
use crate::server::stats::Counters;
use crate::server::{StartError, StartErrorKind};
use crate::transport::gate::Gate;
use crate::transport::random::random_token;
use crate::transport::round_trip::round_trip;

/// How long the start waits for the NATS server after all subscriptions were made.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the report of a refusal that was received may take to the callback of the connection.
const REPORT_TIME: Duration = Duration::from_millis(100);

/// What the services of a server share when they are started.
pub(crate) struct Starter {
    pub(crate) gate: Gate,
    pub(crate) memory: Memory,
    pub(crate) stores: OpenStores,
    pub(crate) phase: watch::Receiver<Phase>,
    /// How far the stop of the server is.
    pub(crate) stopping: watch::Receiver<Stopping>,
    /// Those of the server.
    pub(crate) layers: Layers,
    /// Cloned for each endpoint, see [`Dispatcher`].
    pub(crate) queue_group_guard: mpsc::Sender<Infallible>,
    pub(crate) drain_timeout: Duration,
}

/// A service whose requests are served.
pub(crate) struct StartedService {
    pub(crate) instance: Arc<Instance>,
    /// Answers the requests of discovery.
    pub(crate) discovery: Task,
    pub(crate) endpoints: Vec<RunningEndpoint>,
}

impl Starter {
    /// Starts the endpoints of a service, and then announces it to discovery.
    pub(crate) async fn start_service(
        &self,
        service: AddedService,
    ) -> Result<StartedService, StartError> {
        let mut endpoints = Vec::new();
        let mut running = Vec::new();
        let AddedService {
            settings,
            routes,
            layers,
        } = service;
        for route in routes {
            let endpoint = endpoint(
                &settings,
                &route.settings,
                |names| self.stores.of(&route.settings, names),
                Some(self.stopping.clone()),
            );
            let endpoint = Arc::new(endpoint);
            let handler = layered(&endpoint, route.handler, [&layers, &self.layers]);
            running.push(self.start_endpoint(&endpoint, handler).await?);
            endpoints.push(endpoint);
        }
        let instance = Arc::new(Instance::new(random_token(), settings, endpoints));
        let responder = discovery::respond(self.gate.clone(), Arc::clone(&instance))
            .await
            .map_err(|error| cannot_subscribe("$SRV", error))?;
        Ok(StartedService {
            instance,
            discovery: Task(tokio::spawn(responder)),
            endpoints: running,
        })
    }

    /// Subscribes to the subject of an endpoint, and runs its dispatcher.
    async fn start_endpoint(
        &self,
        endpoint: &Arc<Endpoint>,
        handler: Handler,
    ) -> Result<RunningEndpoint, StartError> {
        let group = endpoint.queue_group.map(str::to_owned);
        let requests = self
            .gate
            .subscribe_in_group(endpoint.subject.clone(), group)
            .await
            .map_err(|error| cannot_subscribe(&endpoint.subject, error))?;
        let unfinished = Arc::default();
        let dispatcher = Dispatcher {
            responder: Arc::new(Responder {
                endpoint: Arc::clone(endpoint),
                gate: self.gate.clone(),
                memory: self.memory.clone(),
                pressure: Arc::default(),
            }),
            handler,
            requests,
            phase: self.phase.clone(),
            queue_group_guard: Some(self.queue_group_guard.clone()),
            drain_timeout: self.drain_timeout,
            unfinished: Arc::clone(&unfinished),
        };
        Ok(RunningEndpoint {
            names: Arc::clone(endpoint.names()),
            unfinished,
            task: tokio::spawn(dispatcher.run()),
        })
    }

    /// Waits until the NATS server knows the subscriptions, and checks that it has refused none.
    pub(crate) async fn check_subscribed(
        &self,
        instances: &[Arc<Instance>],
    ) -> Result<(), StartError> {
        // The NATS server handles the commands of a connection in their order.
        let reached = round_trip(&self.gate, START_TIMEOUT).await;
        reached.map_err(|error| {
            let text = format!("the services are not reachable: {error}");
            StartError::new(StartErrorKind::Nats, text)
        })?;
        if !self.gate.has_events() {
            return Ok(());
        }
        // A report reaches the callback of the connection on another way than a message its subscriber.
        tokio::time::sleep(REPORT_TIME).await;
        let refused = instances.iter();
        let refused = refused.flat_map(|instance| instance.refused_subjects(&self.gate));
        let refused: Vec<_> = refused.map(|subject| format!("`{subject}`")).collect();
        if refused.is_empty() {
            return Ok(());
        }
        Err(StartError::new(
            StartErrorKind::PermissionDenied,
            format!(
                "NATS does not permit this connection to subscribe to {}",
                refused.join(", ")
            ),
        ))
    }
}

/// The endpoint of a method, with the settings of its service where the method has none of its own.
pub(crate) fn endpoint(
    service: &ServiceSettings,
    method: &MethodSettings,
    stores: impl FnOnce(&Arc<Names>) -> Stores,
    stopping: Option<watch::Receiver<Stopping>>,
) -> Endpoint {
    let names = Arc::new(Names {
        service: service.name.clone(),
        endpoint: method.name.to_owned(),
    });
    Endpoint {
        stores: stores(&names),
        context: Arc::new(EndpointContext { names, stopping }),
        subject: format!("{}.{}", service.subject_prefix, method.name),
        queue_group: match method.queue_group {
            QueueGroup::OfService => service.queue_group,
            QueueGroup::Own(queue_group) => queue_group,
        },
        // The timeout of a service does not bound its streams.
        timeout: method
            .timeout
            .or(service.timeout.filter(|_| !method.id.kind.is_streaming())),
        settings: *method,
        counters: Counters::default(),
    }
}

fn cannot_subscribe(subject: &str, error: async_nats::SubscribeError) -> StartError {
    StartError::new(
        StartErrorKind::Nats,
        format!("cannot subscribe to `{subject}`"),
    )
    .with_source(error)
}
