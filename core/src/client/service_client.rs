//! The client of one service: turns methods and requests into calls, through layers or not.
//!
//! A call without layers over NATS takes few steps ([`Exchange`]); every other one is a [`Layered`].

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;

use crate::client::cached::singleflight::SingleFlight;
use crate::client::call::{Call, Exchange, OpenedBy, Response};
use crate::client::fetch::Fetch;
use crate::client::layered::{self, Decode, Layered, Peer};
use crate::client::retry::attempts::RetryPolicy;
use crate::client::{Client, open};
use crate::codec::MessageCodec;
use crate::descriptor::method::{Method, MethodId, MethodKind, MethodSettings};
use crate::descriptor::service::{DEFAULT_TIMEOUT, Describe, ServiceDescriptor};
use crate::middleware::body::Messages;
use crate::middleware::layers::Layers;
use crate::status::Status;
use crate::stream::flow::{self, Credit};
use crate::stream::streaming::Streaming;
use crate::transport::mux::Multiplexer;
use crate::transport::subject::check_subject_prefix;

/// The client of one service, which a generated client wraps.
#[derive(Clone)]
pub struct ServiceClient {
    pub(super) client: Client,
    pub(super) service: &'static ServiceDescriptor,
    /// The subject of each method, made when the method is first called.
    subjects: Arc<[OnceLock<Subject>]>,
    prefix: Result<Arc<str>, Status>,
    /// Shared by all clones with one prefix: calls to other instances are not the same calls.
    pub(super) single_flight: Arc<SingleFlight>,
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
    pub(super) fn unary<T: 'static>(
        &self,
        method: &MethodSettings,
        codec: MessageCodec<T>,
    ) -> Exchange<T> {
        let Some(multiplexer) = self.direct() else {
            let decode = layered::decode_message(codec);
            return self.layered(method, MethodKind::Unary, None, decode);
        };
        let multiplexer = Arc::clone(multiplexer);
        Exchange::Unary(multiplexer, codec, self.fetch(method).map(Box::new))
    }

    /// The same client for requests that have passed the layers.
    pub(super) fn without_layers(&self) -> Self {
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

    pub(super) fn new_call<Req, Resp, E, T: 'static>(
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
    pub(super) fn timeout(&self, method: &MethodSettings) -> Duration {
        let method_timeout = method.timeout.or(self.service.timeout);
        self.client
            .timeout
            .or(method_timeout)
            .unwrap_or(DEFAULT_TIMEOUT)
    }

    pub(super) fn subject(&self, method: &MethodSettings) -> Result<Subject, Status> {
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

pub(super) fn encode_request<Req, Resp, E>(
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
