//! The discovery responder: answers `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` for one running service (ADR-32).
//!
//! Reads the settings and counters of its endpoints and changes nothing in them, except for a reset of the statistics. Each request is
//! answered: what is too large for a message is shortened, or an error says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_nats::HeaderMap;
use futures::stream::{self, StreamExt};
use serde::Serialize;

use crate::contract::discovery::{
    EndpointInfo, EndpointStats, INFO_RESPONSE, PING_RESPONSE, STATS_RESPONSE, ServiceInfo,
    ServiceStats,
};
use crate::log::warn_limited;
use crate::server::endpoint::Endpoint;
use crate::server::service_server::ServiceSettings;
use crate::status::Status;
use crate::sync::Mutex;
use crate::transport::backlog::Lane;
use crate::transport::gate::Gate;
use crate::transport::outgoing::Outgoing;

/// The metadata of a shortened answer have this key.
const SHORTENED: &str = "natsmicro.shortened";

/// How much of an answer is left out, so that it fits into a message. Each step includes those before.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum LeftOut {
    Nothing,
    /// The metadata of endpoints, and their last errors.
    Endpoints,
    /// The description and the metadata of the service, and what concerns stores.
    Service,
}

#[derive(Serialize)]
struct Ping<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    id: &'a str,
    version: &'a str,
    metadata: BTreeMap<String, String>,
}

/// One running service as discovery sees it.
#[derive(Debug)]
pub(crate) struct Instance {
    id: String,
    settings: ServiceSettings,
    started: Mutex<SystemTime>,
    endpoints: Vec<Arc<Endpoint>>,
}

impl Instance {
    pub(crate) fn new(
        id: String,
        settings: ServiceSettings,
        endpoints: Vec<Arc<Endpoint>>,
    ) -> Self {
        Self {
            id,
            settings,
            started: Mutex::new(SystemTime::now()),
            endpoints,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// The subjects of this instance, endpoints and discovery, to which NATS does not let the connection subscribe, as far as it is told.
    pub(crate) fn refused_subjects(&self, gate: &Gate) -> impl Iterator<Item = String> {
        let endpoints = self.endpoints.iter();
        let endpoints = endpoints.map(|endpoint| endpoint.subject.clone());
        let discovery = VERBS.into_iter().flat_map(|(name, _)| self.addresses(name));
        let is_refused = |subject: &String| gate.refused_subscription(|it| it == subject).is_some();
        endpoints.chain(discovery).filter(is_refused)
    }

    /// The subjects of one verb: for all services, for those of this name, and for this instance.
    fn addresses(&self, verb: &str) -> [String; 3] {
        let all = format!("$SRV.{verb}");
        let service = format!("{all}.{}", self.settings.name);
        let one = format!("{service}.{}", self.id);
        [all, service, one]
    }

    pub(crate) fn info(&self) -> ServiceInfo {
        ServiceInfo {
            kind: INFO_RESPONSE.to_owned(),
            name: self.settings.name.clone(),
            id: self.id.clone(),
            version: self.settings.version.clone(),
            metadata: self.settings.metadata.clone(),
            description: self.settings.description.clone(),
            endpoints: self
                .endpoints
                .iter()
                .map(|endpoint| endpoint_info(endpoint))
                .collect(),
        }
    }

    pub(crate) fn stats(&self) -> ServiceStats {
        ServiceStats {
            kind: STATS_RESPONSE.to_owned(),
            name: self.settings.name.clone(),
            id: self.id.clone(),
            version: self.settings.version.clone(),
            metadata: self.settings.metadata.clone(),
            started: *self.started.lock(),
            endpoints: self
                .endpoints
                .iter()
                .map(|endpoint| endpoint_stats(endpoint))
                .collect(),
        }
    }

    pub(crate) fn reset(&self) {
        for endpoint in &self.endpoints {
            endpoint.counters.reset();
            endpoint.stores.reset_stats();
        }
        *self.started.lock() = SystemTime::now();
    }

    /// The answer to a request, shortened if it has more than `max` bytes. An error if it has more even then.
    fn answer(&self, verb: Verb, max: usize) -> Result<Vec<u8>, Status> {
        let mut size = 0;
        for left_out in [LeftOut::Nothing, LeftOut::Endpoints, LeftOut::Service] {
            let answer = match verb {
                Verb::Ping => serde_json::to_vec(&self.short_ping(left_out)),
                Verb::Info => serde_json::to_vec(&self.short_info(left_out)),
                Verb::Stats => serde_json::to_vec(&self.short_stats(left_out)),
            };
            let answer = answer
                .map_err(|error| Status::internal(format!("cannot write the answer: {error}")))?;
            size = answer.len();
            if size <= max {
                return Ok(answer);
            }
        }
        Err(Status::resource_exhausted(format!(
            "the answer has {size} bytes even in its short form, and the NATS server takes messages of up to {max} bytes"
        )))
    }

    fn short_ping(&self, left_out: LeftOut) -> Ping<'_> {
        let mut metadata = self.settings.metadata.clone();
        shorten_metadata(&mut metadata, left_out);
        Ping {
            kind: PING_RESPONSE,
            name: &self.settings.name,
            id: &self.id,
            version: &self.settings.version,
            metadata,
        }
    }

    fn short_info(&self, left_out: LeftOut) -> ServiceInfo {
        let mut info = self.info();
        shorten_metadata(&mut info.metadata, left_out);
        if left_out >= LeftOut::Endpoints {
            for endpoint in &mut info.endpoints {
                endpoint.metadata.clear();
            }
        }
        if left_out >= LeftOut::Service {
            info.description.clear();
        }
        info
    }

    fn short_stats(&self, left_out: LeftOut) -> ServiceStats {
        let mut stats = self.stats();
        shorten_metadata(&mut stats.metadata, left_out);
        for endpoint in &mut stats.endpoints {
            if left_out >= LeftOut::Endpoints {
                endpoint.last_error.clear();
            }
            if left_out >= LeftOut::Service {
                endpoint.persistence = None;
            }
        }
        stats
    }
}

fn shorten_metadata(metadata: &mut BTreeMap<String, String>, left_out: LeftOut) {
    if left_out >= LeftOut::Service {
        metadata.clear();
    }
    if left_out != LeftOut::Nothing {
        metadata.insert(SHORTENED.to_owned(), "true".to_owned());
    }
}

fn endpoint_info(endpoint: &Endpoint) -> EndpointInfo {
    EndpointInfo {
        name: endpoint.names().endpoint.clone(),
        subject: endpoint.subject.clone(),
        queue_group: endpoint.queue_group.unwrap_or_default().to_owned(),
        metadata: endpoint
            .settings
            .metadata
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    }
}

fn endpoint_stats(endpoint: &Endpoint) -> EndpointStats {
    let counted = endpoint.counters.read();
    EndpointStats {
        name: endpoint.names().endpoint.clone(),
        subject: endpoint.subject.clone(),
        queue_group: endpoint.queue_group.unwrap_or_default().to_owned(),
        num_requests: counted.requests,
        num_errors: counted.errors,
        processing_time: counted.processing_time,
        average_processing_time: counted.average_processing_time(),
        last_error: counted.last_error,
        persistence: endpoint.stores.stats(),
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Ping,
    Info,
    Stats,
}

const VERBS: [(&str, Verb); 3] = [
    ("PING", Verb::Ping),
    ("INFO", Verb::Info),
    ("STATS", Verb::Stats),
];

/// Subscribes to the nine discovery subjects of `instance`. The returned future answers on them until it is dropped.
pub(crate) async fn respond(
    gate: Gate,
    instance: Arc<Instance>,
) -> Result<impl Future<Output = ()>, async_nats::SubscribeError> {
    let mut requests = Vec::new();
    for (name, verb) in VERBS {
        for subject in instance.addresses(name) {
            requests.push(
                gate.subscribe(subject)
                    .await?
                    .map(move |message| (verb, message)),
            );
        }
    }
    Ok(async move {
        let mut requests = stream::select_all(requests);
        while let Some((verb, message)) = requests.next().await {
            let Some(Ok(reply)) = message.reply.map(|reply| gate.reply_subject(&reply)) else {
                continue;
            };
            let message = Outgoing::to_peer(&reply);
            let sent = match instance.answer(verb, gate.max_payload()) {
                Ok(answer) => gate.publish(Lane::Discovery, message.with_payload(answer.into())),
                Err(status) => {
                    warn_limited!(service = instance.settings.name, error = %status, "a discovery request is answered with an error");
                    gate.publish_status(Lane::Discovery, message, &HeaderMap::new(), &status)
                }
            };
            // Not waited for: the next request may come from somebody else.
            if let Some(Err(error)) = sent.detach() {
                warn_limited!(service = instance.settings.name, %error, "cannot answer a discovery request");
            }
        }
    })
}
