//! A client of services in its own process, for tests: no NATS, and otherwise everything that a call passes.
//!
//! A root: joins the client to the pipeline of the server. Guarantees what a test relies on: layers, codecs, deadlines, `max_in_flight` and
//! cancellation are those of a call over NATS.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::Client;
use crate::client::call::OpenedBy;
use crate::client::layered::LocalServices;
use crate::descriptor::method::MethodKind;
use crate::middleware::Extensions;
use crate::middleware::body::{Answer, Messages};
use crate::middleware::bypass::Bypass;
use crate::middleware::inner::ReplyFuture;
use crate::middleware::layer::CallLayer;
use crate::middleware::layers::Layers;
use crate::middleware::on_end::OnEnd;
use crate::middleware::reply::Reply;
use crate::middleware::request::Request;
use crate::persist::Stores;
use crate::server::call::{self, within};
use crate::server::endpoint::Endpoint;
use crate::server::layered::layered;
use crate::server::router::{Dispatch, Handler};
use crate::server::service_server::{AddedService, ServiceServer};
use crate::server::{settings, start};
use crate::status::Status;

impl Client {
    /// Builds a client of services in this process, for tests: without NATS, and with codecs, layers, validation and deadlines as over
    /// NATS.
    ///
    /// Nothing is persisted, `persist = "before_response"` replies at once, and the stores of the client fail with
    /// [`JetStreamNotConfigured`](crate::store::StoreErrorKind::JetStreamNotConfigured). There is no largest message.
    ///
    /// ```
    /// use natsmicro::{Client, Status};
    ///
    /// #[natsmicro::service(codec = "json")]
    /// pub trait Prices {
    ///     async fn price(&self, item: String) -> Result<u64, Status>;
    /// }
    ///
    /// struct Fake;
    ///
    /// impl Prices for Fake {
    ///     async fn price(&self, item: String) -> Result<u64, Status> {
    ///         if item == "apple" { Ok(30) } else { Err(Status::not_found("no such item")) }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Status> {
    /// let client = Client::in_process().add_service(PricesServer::new(Fake)).build();
    /// let prices = PricesClient::new(client);
    /// assert_eq!(prices.price("apple".to_owned()).await?, 30);
    /// assert!(prices.price("pear".to_owned()).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn in_process() -> InProcess {
        InProcess {
            services: Vec::new(),
            layers: Layers::default(),
        }
    }
}

/// Builds a client of services in this process; see [`Client::in_process`].
#[must_use = "it makes a client when it is built"]
pub struct InProcess {
    services: Vec<AddedService>,
    layers: Layers,
}

impl InProcess {
    /// Adds a service, as [`Server::add_service`](crate::Server::add_service) does.
    pub fn add_service<S, D>(mut self, service: ServiceServer<S, D>) -> Self
    where
        S: Send + Sync + 'static,
        D: Dispatch<S>,
    {
        self.services.push(service.into_added());
        self
    }

    /// Puts a layer around the calls of all services, as [`Server::layer`](crate::Server::layer) does. Layers of the client are added to
    /// the [`Client`] that is built.
    pub fn layer(mut self, layer: impl CallLayer) -> Self {
        self.layers.push(layer);
        self
    }

    /// The client. With settings with which a server would not start, all of its calls fail with `FAILED_PRECONDITION` and the reason.
    #[must_use]
    pub fn build(self) -> Client {
        let checked = settings::check(&self.services, Vec::new());
        let services = checked.map(|_| self.endpoints());
        let services = services.map_err(|error| Status::failed_precondition(error.to_string()));
        Client::of_services(Arc::new(Services(services)))
    }

    fn endpoints(self) -> HashMap<String, Arc<LocalEndpoint>> {
        let mut endpoints = HashMap::new();
        for service in self.services {
            for route in service.routes {
                let method = &route.settings;
                let endpoint =
                    start::endpoint(&service.settings, method, |_| Stores::default(), None);
                let endpoint = Arc::new(endpoint);
                let local = LocalEndpoint {
                    handler: layered(&endpoint, route.handler, [&service.layers, &self.layers]),
                    permits: Arc::new(Semaphore::new(
                        method.max_in_flight().min(Semaphore::MAX_PERMITS),
                    )),
                    endpoint: Arc::clone(&endpoint),
                };
                endpoints.insert(endpoint.subject.clone(), Arc::new(local));
            }
        }
        endpoints
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.services.iter().map(|service| &service.settings.name);
        f.debug_struct("InProcess")
            .field("services", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The endpoints by their subjects, or why there are none.
struct Services(Result<HashMap<String, Arc<LocalEndpoint>>, Status>);

impl LocalServices for Services {
    fn call(&self, request: Request, opened_by: OpenedBy) -> ReplyFuture {
        let endpoint = match &self.0 {
            Ok(endpoints) => endpoints.get(request.subject.as_str()).ok_or_else(|| {
                Status::unavailable(format!(
                    "no service in this process answers on `{}`: was it added?",
                    request.subject
                ))
            }),
            Err(status) => Err(status.clone()),
        };
        match endpoint {
            Ok(endpoint) => Arc::clone(endpoint).call(request, opened_by),
            Err(status) => Box::pin(std::future::ready(Err(status))),
        }
    }
}

struct LocalEndpoint {
    endpoint: Arc<Endpoint>,
    handler: Handler,
    /// As many as calls may be in flight.
    permits: Arc<Semaphore>,
}

impl LocalEndpoint {
    fn call(self: Arc<Self>, request: Request, opened_by: OpenedBy) -> ReplyFuture {
        let received = Instant::now();
        let headers = Some(&request.headers);
        let request = Request {
            id: self.endpoint.settings.id,
            received: Some(received),
            deadline: self.endpoint.deadline(received, received, headers),
            // What the layers of the client have put there stays on its side.
            extensions: Extensions::new(),
            context: None,
            destination: None,
            ..request
        };
        if request.id.kind.is_streaming() {
            Box::pin(self.stream(request, opened_by))
        } else {
            Box::pin(self.unary(request))
        }
    }

    async fn unary(self: Arc<Self>, request: Request) -> Result<Reply, Status> {
        let deadline = request.deadline;
        let permit = Arc::clone(&self.permits).acquire_owned();
        // Fails only if the semaphore is closed, which it never is.
        let _permit = within(deadline, permit).await?.ok();
        let handled = (self.handler)(Arc::clone(&self.endpoint), request).await;
        let call::Reply {
            result,
            headers,
            mut on_end,
        } = handled.reply().await;
        on_end.end(&result);
        Ok(Reply::of(headers, result?))
    }

    /// Runs a stream on a task of its own, as over NATS: it goes on while its caller does something else.
    async fn stream(
        self: Arc<Self>,
        mut request: Request,
        opened_by: OpenedBy,
    ) -> Result<Reply, Status> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted("too many streams are open on this endpoint")
        })?;
        let bypass = Arc::new(Bypass::of_stream());
        request.bypass = Some(Arc::clone(&bypass));
        let kind = request.id.kind;
        let returns_early = kind == MethodKind::Bidirectional && opened_by == OpenedBy::Acceptance;
        let window = usize::try_from(self.endpoint.settings.window).unwrap_or(usize::MAX);
        let (responses, received) = mpsc::channel(window.clamp(1, Semaphore::MAX_PERMITS));
        let (opened, opening) = oneshot::channel();
        let running = Running {
            opened: Some(opened),
            responses,
            on_end: OnEnd::default(),
            _permit: permit,
        };
        let task = AbortOnDrop(tokio::spawn(running.run(
            self,
            request,
            bypass,
            returns_early,
        )));
        let reply = opening
            .await
            .unwrap_or_else(|_| Err(Status::internal("the task of a stream panicked")))?;
        if !kind.streams_responses() {
            return Ok(reply);
        }
        let mut received = received;
        let messages: Messages = futures::stream::poll_fn(move |cx| {
            let _owned = &task;
            received.poll_recv(cx)
        })
        .boxed();
        Ok(Reply::of(reply.headers, Answer::Stream(messages)))
    }
}

/// The service's end of a stream.
struct Running {
    /// Takes the result of the call: the response, or the headers of the stream.
    opened: Option<oneshot::Sender<Result<Reply, Status>>>,
    responses: mpsc::Sender<Result<Bytes, Status>>,
    on_end: OnEnd,
    _permit: OwnedSemaphorePermit,
}

impl Running {
    async fn run(
        mut self,
        local: Arc<LocalEndpoint>,
        request: Request,
        bypass: Arc<Bypass>,
        returns_early: bool,
    ) {
        let deadline = request.deadline;
        let mut handled = (local.handler)(Arc::clone(&local.endpoint), request);
        let early = tokio::select! {
            biased;
            early = &mut handled => Some(early),
            () = bypass.requested() => None,
        };
        bypass.opened(Ok(()));
        let handled = if let Some(early) = early {
            early
        } else {
            if returns_early {
                self.open(Ok(Reply::new("")));
            }
            handled.await
        };
        let call::Reply {
            result,
            headers,
            on_end,
        } = handled.reply().await;
        self.on_end = on_end;
        let result = match result {
            Ok(Answer::Stream(messages)) => {
                self.open(Ok(Reply::of(headers, Answer::Message("".into()))));
                within(deadline, send(messages, &self.responses))
                    .await
                    .flatten()
            }
            Ok(response) => {
                self.open(Ok(Reply::of(headers, response)));
                Ok(())
            }
            Err(status) => Err(status),
        };
        if let Err(status) = &result
            && !self.open(Err(status.clone()))
        {
            // Fails if the caller has dropped the stream.
            let _ = self.responses.send(Err(status.clone())).await;
        }
        self.on_end.end(&result);
    }

    /// Gives the call its result; false if it has one.
    fn open(&mut self, result: Result<Reply, Status>) -> bool {
        // Sending fails if the call was dropped.
        self.opened
            .take()
            .map(|opened| drop(opened.send(result)))
            .is_some()
    }
}

async fn send(
    mut messages: Messages,
    to: &mpsc::Sender<Result<Bytes, Status>>,
) -> Result<(), Status> {
    while let Some(message) = messages.next().await {
        let sent = to.send(Ok(message?)).await;
        sent.map_err(|_| Status::cancelled("the caller has dropped the stream"))?;
    }
    Ok(())
}

/// Ends a task when its call or stream is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
