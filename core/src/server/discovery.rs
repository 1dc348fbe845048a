//! ADR-32: the answers to `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::stream::{self, StreamExt};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::persist::stats::PersistenceStats;
use crate::server::call::Endpoint;
use crate::server::service_server::ServiceSettings;
use crate::status::Status;
use crate::transport::subject::is_reply_subject;

/// What a service says of itself: the answer to `$SRV.INFO`.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceInfo {
    /// Always `io.nats.micro.v1.info_response`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The name of the service.
    pub name: String,
    /// The id of this instance.
    pub id: String,
    /// The semantic version of the service.
    pub version: String,
    /// The metadata of the service.
    pub metadata: HashMap<String, String>,
    /// The description of the service.
    pub description: String,
    /// The endpoints, in the order in which the trait declares them.
    pub endpoints: Vec<EndpointInfo>,
}

/// One endpoint in a [`ServiceInfo`].
#[derive(Clone, Debug, Serialize)]
pub struct EndpointInfo {
    /// The name of the endpoint.
    pub name: String,
    /// The subject on which it listens.
    pub subject: String,
    /// Its queue group; empty if it has none, so that every instance gets every request.
    pub queue_group: String,
    /// The metadata of the endpoint.
    pub metadata: HashMap<String, String>,
}

/// What a service has done so far: the answer to `$SRV.STATS`.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceStats {
    /// Always `io.nats.micro.v1.stats_response`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The name of the service.
    pub name: String,
    /// The id of this instance.
    pub id: String,
    /// The semantic version of the service.
    pub version: String,
    /// The metadata of the service.
    pub metadata: HashMap<String, String>,
    /// When the instance started, or when its statistics were reset.
    #[serde(serialize_with = "rfc3339")]
    pub started: SystemTime,
    /// The endpoints, in the order in which the trait declares them.
    pub endpoints: Vec<EndpointStats>,
}

/// One endpoint in a [`ServiceStats`].
#[derive(Clone, Debug, Serialize)]
pub struct EndpointStats {
    /// The name of the endpoint.
    pub name: String,
    /// The subject on which it listens.
    pub subject: String,
    /// Its queue group; empty if it has none.
    pub queue_group: String,
    /// The number of requests answered, whatever the answer was.
    pub num_requests: u64,
    /// How many of them were answered with an error.
    pub num_errors: u64,
    /// The last error as `CODE:message`, or the beginning of it; empty if there was none.
    pub last_error: String,
    /// The time from receipt to answer, over all requests.
    #[serde(serialize_with = "nanoseconds")]
    pub processing_time: Duration,
    /// The mean time from receipt to answer.
    #[serde(serialize_with = "nanoseconds")]
    pub average_processing_time: Duration,
    /// The method's writes and deletions; `None` for a method without a store to write to.
    #[serde(rename = "data", skip_serializing_if = "Option::is_none")]
    pub persistence: Option<PersistenceStats>,
}

#[derive(Serialize)]
struct Ping<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    id: &'a str,
    version: &'a str,
    metadata: &'a HashMap<String, String>,
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = OffsetDateTime::from(*time)
        .format(&Rfc3339)
        .map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}

fn nanoseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(saturating_nanos(*duration))
}

fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How many characters of the last error are told: the statistics of a service have to fit into a message.
const MAX_LAST_ERROR: usize = 512;

/// The counters of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: AtomicU64,
    errors: AtomicU64,
    processing: AtomicU64,
    last_error: Mutex<String>,
}

impl Counters {
    pub(crate) fn record(&self, error: Option<&Status>, took: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.processing
            .fetch_add(saturating_nanos(took), Ordering::Relaxed);
        if let Some(status) = error {
            self.record_error(status);
        }
    }

    pub(crate) fn record_error(&self, status: &Status) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut last = self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.clear();
        for part in [status.code().as_str(), ":", status.message()] {
            if part.len() <= MAX_LAST_ERROR {
                last.push_str(part);
            } else {
                last.extend(part.chars().take(MAX_LAST_ERROR));
            }
        }
        if let Some((end, _)) = last.char_indices().nth(MAX_LAST_ERROR) {
            last.truncate(end);
        }
    }

    fn reset(&self) {
        for counter in [&self.requests, &self.errors, &self.processing] {
            counter.store(0, Ordering::Relaxed);
        }
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
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

    pub(crate) fn info(&self) -> ServiceInfo {
        ServiceInfo {
            kind: "io.nats.micro.v1.info_response",
            name: self.settings.name.clone(),
            id: self.id.clone(),
            version: self.settings.version.clone(),
            metadata: self.settings.metadata.clone(),
            description: self.settings.description.clone(),
            endpoints: self
                .endpoints
                .iter()
                .map(|endpoint| endpoint.info())
                .collect(),
        }
    }

    pub(crate) fn stats(&self) -> ServiceStats {
        ServiceStats {
            kind: "io.nats.micro.v1.stats_response",
            name: self.settings.name.clone(),
            id: self.id.clone(),
            version: self.settings.version.clone(),
            metadata: self.settings.metadata.clone(),
            started: *self.started.lock().unwrap_or_else(PoisonError::into_inner),
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
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
    }

    fn answer(&self, verb: Verb) -> serde_json::Result<Vec<u8>> {
        match verb {
            Verb::Ping => serde_json::to_vec(&Ping {
                kind: "io.nats.micro.v1.ping_response",
                name: &self.settings.name,
                id: &self.id,
                version: &self.settings.version,
                metadata: &self.settings.metadata,
            }),
            Verb::Info => serde_json::to_vec(&self.info()),
            Verb::Stats => serde_json::to_vec(&self.stats()),
        }
    }
}

fn endpoint_stats(endpoint: &Endpoint) -> EndpointStats {
    let EndpointInfo {
        name,
        subject,
        queue_group,
        ..
    } = endpoint.info();
    let counters = &endpoint.counters;
    let persistence = endpoint.stores.stats();
    let num_requests = counters.requests.load(Ordering::Relaxed);
    let processing = counters.processing.load(Ordering::Relaxed);
    EndpointStats {
        name,
        subject,
        queue_group,
        num_requests,
        num_errors: counters.errors.load(Ordering::Relaxed),
        last_error: counters
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
        processing_time: Duration::from_nanos(processing),
        average_processing_time: Duration::from_nanos(
            processing.checked_div(num_requests).unwrap_or(0),
        ),
        persistence,
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Ping,
    Info,
    Stats,
}

/// Subscribes to the nine discovery subjects of `instance`, and returns what answers on them until it is dropped.
pub(crate) async fn respond(
    nats: async_nats::Client,
    instance: Arc<Instance>,
) -> Result<impl Future<Output = ()>, async_nats::SubscribeError> {
    let mut requests = Vec::new();
    for (name, verb) in [
        ("PING", Verb::Ping),
        ("INFO", Verb::Info),
        ("STATS", Verb::Stats),
    ] {
        let all = format!("$SRV.{name}");
        let service = format!("{all}.{}", instance.settings.name);
        let one = format!("{service}.{}", instance.id);
        for subject in [all, service, one] {
            requests.push(
                nats.subscribe(subject)
                    .await?
                    .map(move |message| (verb, message)),
            );
        }
    }
    Ok(async move {
        let mut requests = stream::select_all(requests);
        while let Some((verb, message)) = requests.next().await {
            let Some(reply) = message.reply.filter(|reply| is_reply_subject(reply)) else {
                continue;
            };
            let sent = match instance.answer(verb) {
                Ok(answer) => nats
                    .publish(reply, answer.into())
                    .await
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = sent {
                tracing::warn!(service = instance.settings.name, %error, "cannot answer a discovery request");
            }
        }
    })
}

/// The metadata of an endpoint as discovery shows it.
pub(crate) fn endpoint_metadata(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn stats_have_the_types_of_the_schema() {
        let stats = ServiceStats {
            kind: "io.nats.micro.v1.stats_response",
            name: "s".into(),
            id: "i".into(),
            version: "1.0.0".into(),
            metadata: HashMap::new(),
            started: SystemTime::UNIX_EPOCH,
            endpoints: vec![EndpointStats {
                name: "e".into(),
                subject: "s.e".into(),
                queue_group: "q".into(),
                num_requests: 2,
                num_errors: 0,
                last_error: String::new(),
                processing_time: Duration::from_micros(3),
                average_processing_time: Duration::from_nanos(1_500),
                persistence: None,
            }],
        };
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(json["started"], "1970-01-01T00:00:00Z");
        let endpoint = &json["endpoints"][0];
        assert_eq!(endpoint["processing_time"], 3_000);
        assert_eq!(endpoint["average_processing_time"], 1_500);
        assert_eq!(endpoint.get("data"), None::<&Value>);
    }
}
