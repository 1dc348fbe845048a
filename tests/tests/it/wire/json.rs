//! The JSON codec with messages that derive what protojson does, against a captured session of a service generated for Go.

use std::collections::BTreeMap;

use natsmicro::Status;
use natsmicro_tests::common::{Nats, TestResult, error_of};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Kind {
    #[default]
    #[serde(rename = "KIND_UNSPECIFIED")]
    Unspecified,
    #[serde(rename = "KIND_A")]
    A,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// 64-bit integers as strings.
mod int64 {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub fn serialize<S: Serializer>(value: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Bytes as base64.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD
            .decode(String::deserialize(deserializer)?)
            .map_err(de::Error::custom)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SaveReq {
    #[serde(skip_serializing_if = "is_zero")]
    id: String,
    #[serde(skip_serializing_if = "is_zero")]
    age: i32,
    #[serde(skip_serializing_if = "is_zero")]
    active: bool,
    #[serde(skip_serializing_if = "is_zero")]
    kind: Kind,
    #[serde(skip_serializing_if = "is_zero", with = "base64_bytes")]
    raw: Vec<u8>,
    #[serde(skip_serializing_if = "is_zero")]
    score: f64,
    #[serde(skip_serializing_if = "is_zero", with = "int64")]
    big_num: i64,
    #[serde(skip_serializing_if = "is_zero")]
    tags: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_zero")]
    names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nick_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Profile {
    #[serde(skip_serializing_if = "is_zero")]
    id: String,
    #[serde(skip_serializing_if = "is_zero")]
    full_name: String,
    #[serde(skip_serializing_if = "is_zero", with = "int64")]
    big_num: i64,
    #[serde(skip_serializing_if = "is_zero", with = "base64_bytes")]
    raw: Vec<u8>,
    #[serde(skip_serializing_if = "is_zero")]
    kind: Kind,
    #[serde(skip_serializing_if = "is_zero")]
    active: bool,
    #[serde(skip_serializing_if = "is_zero")]
    names: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nested: Option<SaveReq>,
}

#[natsmicro::service(subject_prefix = "json.v1", codec = "json")]
trait JService {
    #[kv_store(bucket = "jprofiles", key = "user.<id>", write = "create")]
    async fn echo(&self, request: SaveReq) -> Result<Profile, Status>;
    async fn nothing(&self) -> Result<(), Status>;
    async fn count(&self, numbers: Vec<u64>) -> Result<usize, Status>;
}

struct Echo;

impl JService for Echo {
    async fn echo(&self, request: SaveReq) -> Result<Profile, Status> {
        if request.id == "zero" {
            return Ok(Profile::default());
        }
        Ok(Profile {
            id: request.id.clone(),
            full_name: format!("N {}", request.id),
            big_num: (1 << 53) + 1,
            raw: request.raw.clone(),
            kind: request.kind,
            active: request.active,
            names: request.names.clone(),
            score: request.score,
            nested: Some(request),
        })
    }

    async fn nothing(&self) -> Result<(), Status> {
        Ok(())
    }

    async fn count(&self, numbers: Vec<u64>) -> Result<usize, Status> {
        Ok(numbers.len())
    }
}

fn request() -> SaveReq {
    SaveReq {
        id: "j1".into(),
        kind: Kind::A,
        raw: vec![0, 0xff, 0x3e, 0x3f],
        score: 1e21,
        big_num: 1 << 60,
        tags: [("a", "<&>"), ("b", "2")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        names: vec!["x".into(), "y".into()],
        nick_name: Some("nick".into()),
        ..SaveReq::default()
    }
}

/// As captured, with the white space of a protojson peer.
const REQUEST: &str = r#"{"id":"j1", "kind":"KIND_A", "raw":"AP8+Pw==", "score":1e+21, "bigNum":"1152921504606846976", "tags":{"a":"<&>", "b":"2"}, "names":["x", "y"], "nickName":"nick"}"#;
const RESPONSE: &str = r#"{"id":"j1","fullName":"N j1","bigNum":"9007199254740993","raw":"AP8+Pw==","kind":"KIND_A","names":["x","y"],"score":1e+21,"nested":{"id":"j1","kind":"KIND_A","raw":"AP8+Pw==","score":1e+21,"bigNum":"1152921504606846976","tags":{"a":"<&>","b":"2"},"names":["x","y"],"nickName":"nick"}}"#;

fn parsed(json: impl AsRef<[u8]>) -> Value {
    serde_json::from_slice(json.as_ref()).unwrap()
}

#[tokio::test]
async fn a_protojson_peer_is_answered_as_captured() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .persisting()
        .add_service(JServiceServer::new(Echo))
        .start()
        .await?;
    let reply = nats.ask("json.v1.echo", REQUEST).await;
    assert_eq!(reply.headers, None);
    assert_eq!(parsed(&reply.payload), parsed(RESPONSE));
    let zero = nats.ask("json.v1.echo", r#"{"id":"zero"}"#).await;
    assert_eq!(zero.payload, "{}");
    server.stop().await?;

    let bucket = nats.jetstream().get_key_value("jprofiles").await?;
    assert_eq!(bucket.get("user.j1").await?.unwrap(), reply.payload);
    assert_eq!(bucket.get("user.zero").await?.unwrap(), "{}");
    Ok(())
}

#[tokio::test]
async fn our_client_sends_what_a_protojson_peer_reads() -> TestResult {
    use futures::StreamExt;

    let nats = Nats::start().await;
    let mut peer = nats.peer("json.v1.echo").await;
    let client = JServiceClient::new(nats.caller.clone());
    let answered = async {
        let message = peer.next().await.unwrap();
        let reply = message.reply.unwrap();
        nats.service.publish(reply, RESPONSE.into()).await.unwrap();
        message.payload
    };
    let (answer, asked) = tokio::join!(client.echo(request()).into_future(), answered);
    assert_eq!(parsed(asked), parsed(REQUEST));
    let answer = answer?;
    assert_eq!(answer.nested, Some(request()));
    assert_eq!(answer.big_num, 9_007_199_254_740_993);
    Ok(())
}

#[tokio::test]
async fn nothing_is_an_empty_object() -> TestResult {
    let nats = Nats::start().await;
    let _server = nats
        .server()
        .add_service(JServiceServer::new(Echo))
        .start()
        .await?;
    // Protojson peers send `{}`, plain ones an empty payload.
    for payload in ["{}", ""] {
        let reply = nats.ask("json.v1.nothing", payload).await;
        assert_eq!((reply.headers, &reply.payload[..]), (None, &b"{}"[..]));
    }
    JServiceClient::new(nats.caller.clone()).nothing().await?;
    Ok(())
}

#[tokio::test]
async fn messages_can_be_any_serde_type() -> TestResult {
    let nats = Nats::start().await;
    let _server = nats
        .server()
        .add_service(JServiceServer::new(Echo))
        .start()
        .await?;
    let client = JServiceClient::new(nats.caller.clone());
    assert_eq!(client.count(vec![1, 2, u64::MAX]).await?, 3);
    assert_eq!(nats.ask("json.v1.count", "[]").await.payload, "0");

    for wrong in ["", "{", "[1.5]", "null", "[] []"] {
        let reply = nats.ask("json.v1.count", wrong).await;
        let (code, message) = error_of(&reply).unwrap();
        assert_eq!(code, "INVALID_ARGUMENT", "{wrong}");
        assert!(
            message.starts_with("failed to decode request: "),
            "{message}"
        );
    }
    let unknown = json!({"id": "j1", "neverHeardOf": 1});
    let reply = nats.ask("json.v1.echo", unknown.to_string()).await;
    assert_eq!(error_of(&reply), None);
    Ok(())
}
