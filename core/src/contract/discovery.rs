//! The answers of ADR-32 to `$SRV.INFO` and `$SRV.STATS`.
//!
//! They are written as this crate answers, and read from services in any language: what nats.go, nats.js and nats-py leave out
//! or send as `null` is empty.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::de::{Error as _, IgnoredAny};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::persist::stats::PersistenceStats;

pub(crate) const PING_RESPONSE: &str = "io.nats.micro.v1.ping_response";
pub(crate) const INFO_RESPONSE: &str = "io.nats.micro.v1.info_response";
pub(crate) const STATS_RESPONSE: &str = "io.nats.micro.v1.stats_response";

/// What a service says of itself: the answer to `$SRV.INFO`.
///
/// ```
/// use natsmicro::discovery::ServiceInfo;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let answer = r#"{
///     "type": "io.nats.micro.v1.info_response",
///     "name": "users", "id": "VMKS6QT", "version": "1.2.0", "description": "Stores user profiles.", "metadata": {},
///     "endpoints": [{"name": "save", "subject": "api.v1.save", "queue_group": "q", "metadata": {}}]
/// }"#;
/// let info: ServiceInfo = serde_json::from_str(answer)?;
/// assert_eq!(info.endpoints[0].subject, "api.v1.save");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceInfo {
    /// `io.nats.micro.v1.info_response`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the service.
    pub name: String,
    /// The id of this instance.
    pub id: String,
    /// The semantic version of the service.
    pub version: String,
    /// The metadata of the service. `natsmicro.shortened` is there if the whole answer is larger than a message may be: it is without the
    /// metadata of endpoints, and, if that does not suffice, without other metadata and the description.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: BTreeMap<String, String>,
    /// The description of the service.
    #[serde(default)]
    pub description: String,
    /// The endpoints, in the order in which the trait declares them.
    #[serde(default, deserialize_with = "or_default")]
    pub endpoints: Vec<EndpointInfo>,
}

/// One endpoint in a [`ServiceInfo`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndpointInfo {
    /// The name of the endpoint.
    pub name: String,
    /// The subject on which it listens.
    pub subject: String,
    /// Its queue group; empty if it has none, so that every instance gets every request.
    #[serde(default)]
    pub queue_group: String,
    /// The metadata of the endpoint.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: BTreeMap<String, String>,
}

/// What a service has done so far: the answer to `$SRV.STATS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceStats {
    /// `io.nats.micro.v1.stats_response`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the service.
    pub name: String,
    /// The id of this instance.
    pub id: String,
    /// The semantic version of the service.
    pub version: String,
    /// The metadata of the service. `natsmicro.shortened` is there if the whole answer is larger than a message may be: it is without the
    /// last errors, and, if that does not suffice, without other metadata and what concerns stores.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: BTreeMap<String, String>,
    /// When the instance started, or when its statistics were reset. Written with six digits of a second.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub started: SystemTime,
    /// The endpoints, in the order in which the trait declares them.
    #[serde(default, deserialize_with = "or_default")]
    pub endpoints: Vec<EndpointStats>,
}

/// One endpoint in a [`ServiceStats`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndpointStats {
    /// The name of the endpoint.
    pub name: String,
    /// The subject on which it listens.
    pub subject: String,
    /// Its queue group; empty if it has none.
    #[serde(default)]
    pub queue_group: String,
    /// The number of requests answered, whatever the answer was.
    pub num_requests: u64,
    /// How many of them were answered with an error.
    pub num_errors: u64,
    /// The last error as `CODE:message`, or the beginning of it; empty if there was none.
    #[serde(default, deserialize_with = "or_default")]
    pub last_error: String,
    /// The time from receipt to answer, over all requests. Written in nanoseconds.
    #[serde(serialize_with = "write_nanos", deserialize_with = "read_nanos")]
    pub processing_time: Duration,
    /// The mean time from receipt to answer. Written in nanoseconds.
    #[serde(serialize_with = "write_nanos", deserialize_with = "read_nanos")]
    pub average_processing_time: Duration,
    /// The method's writes and deletions, which travel as `data`; `None` for a method without a store to write to, and for the
    /// `data` of other services.
    #[serde(
        rename = "data",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "read_data"
    )]
    pub persistence: Option<PersistenceStats>,
}

/// Durations of more than 584 years are written as that.
pub(crate) fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `null` as the default.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Six digits of a second are what the libraries of all languages read.
fn write_time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let time = OffsetDateTime::from(*time);
    let text = time
        .replace_microsecond(time.microsecond())
        .map_err(S::Error::custom)?
        .format(&Rfc3339)
        .map_err(S::Error::custom)?;
    serializer.serialize_str(&text)
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    OffsetDateTime::parse(&text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(D::Error::custom)
}

fn write_nanos<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(saturating_nanos(*duration))
}

fn read_nanos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_nanos)
}

/// What a service puts into `data` is its own affair.
fn read_data<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PersistenceStats>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Data {
        Ours(PersistenceStats),
        Other(IgnoredAny),
    }
    Ok(match Data::deserialize(deserializer)? {
        Data::Ours(stats) => Some(stats),
        Data::Other(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn info() -> ServiceInfo {
        let metadata = [("b", "2"), ("a", "1"), ("c", "3")];
        ServiceInfo {
            kind: INFO_RESPONSE.to_owned(),
            name: "s".to_owned(),
            id: "i".to_owned(),
            version: "1.0.0".to_owned(),
            metadata: metadata.map(|(k, v)| (k.into(), v.into())).into(),
            description: "d".to_owned(),
            endpoints: vec![EndpointInfo {
                name: "e".to_owned(),
                subject: "s.e".to_owned(),
                queue_group: "q".to_owned(),
                metadata: BTreeMap::new(),
            }],
        }
    }

    fn stats() -> ServiceStats {
        ServiceStats {
            kind: STATS_RESPONSE.to_owned(),
            name: "s".to_owned(),
            id: "i".to_owned(),
            version: "1.0.0".to_owned(),
            metadata: BTreeMap::new(),
            started: SystemTime::UNIX_EPOCH + Duration::from_micros(1_250_001),
            endpoints: vec![EndpointStats {
                name: "e".to_owned(),
                subject: "s.e".to_owned(),
                queue_group: "q".to_owned(),
                num_requests: 2,
                num_errors: 1,
                last_error: "NOT_FOUND:no".to_owned(),
                processing_time: Duration::from_micros(3),
                average_processing_time: Duration::from_nanos(1_500),
                persistence: Some(PersistenceStats {
                    persisted: 1,
                    ..PersistenceStats::default()
                }),
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = serde_json::to_string(&info()).unwrap();
        assert_eq!(serde_json::from_str::<ServiceInfo>(&text).unwrap(), info());
        let text = serde_json::to_string(&stats()).unwrap();
        assert_eq!(
            serde_json::from_str::<ServiceStats>(&text).unwrap(),
            stats()
        );
    }

    #[test]
    fn metadata_is_in_order() {
        let text = serde_json::to_string(&info()).unwrap();
        assert!(text.contains(r#"{"a":"1","b":"2","c":"3"}"#), "{text}");
    }

    #[test]
    fn stats_have_the_types_of_the_schema() {
        let mut stats = stats();
        stats.endpoints[0].persistence = None;
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(json["type"], STATS_RESPONSE);
        assert_eq!(json["started"], "1970-01-01T00:00:01.250001Z");
        let endpoint = &json["endpoints"][0];
        assert_eq!(endpoint["processing_time"], 3_000);
        assert_eq!(endpoint["average_processing_time"], 1_500);
        assert_eq!(endpoint.get("data"), None::<&Value>);
    }

    #[test]
    fn digits_past_the_sixth_are_cut_off() {
        let mut stats = stats();
        stats.started = SystemTime::UNIX_EPOCH + Duration::from_nanos(123_456_789);
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(json["started"], "1970-01-01T00:00:00.123456Z");
    }

    #[test]
    fn answers_of_other_services_are_read() {
        for data in [json!(null), json!("text"), json!({"persisted": "many"})] {
            let mut json = serde_json::to_value(stats()).unwrap();
            json["metadata"] = Value::Null;
            json["endpoints"][0]["data"] = data;
            json["endpoints"][0]["last_error"] = Value::Null;
            json["endpoints"][0]
                .as_object_mut()
                .unwrap()
                .remove("queue_group");
            let read: ServiceStats = serde_json::from_value(json).unwrap();
            assert_eq!(read.metadata, BTreeMap::new());
            assert_eq!(read.endpoints[0].persistence, None);
            assert_eq!(read.endpoints[0].queue_group, "");
        }
    }
}
