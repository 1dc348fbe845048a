//! What our services and clients put on the wire, against sessions captured from services generated for Go.

use async_nats::HeaderMap;
use natsmicro::{Context, Status};
use natsmicro_tests::common::{Nats, TestResult, discover, error_of, soon};
use serde_json::{Value, json};

#[derive(Clone, PartialEq, prost::Message)]
pub struct SaveReq {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Profile {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    full_name: String,
    #[prost(int64, tag = "3")]
    big_num: i64,
}

#[natsmicro::service(subject_prefix = "api.v1")]
trait UserService {
    #[kv_store(
        bucket = "user_profiles",
        key = "user.<id>",
        ttl = "1h",
        description = "profiles"
    )]
    async fn save_profile(&self, cx: &Context, request: SaveReq) -> Result<Profile, Status>;

    #[object_store(bucket = "reports", key = "report.<id>")]
    async fn gen_report(&self, request: SaveReq) -> Result<Profile, Status>;

    async fn nothing(&self) -> Result<(), Status>;
}

/// The service of the captured session.
struct Users;

impl UserService for Users {
    async fn save_profile(&self, cx: &Context, request: SaveReq) -> Result<Profile, Status> {
        if cx.header("X-Req").is_some() {
            cx.append_response_header("X-Resp", "a")?;
            cx.append_response_header("X-Resp", "b")?;
        }
        match request.id.as_str() {
            "notfound" => Err(Status::not_found("no such user")),
            "locked" => Err(Status::new("USER_LOCKED", "locked\nline2")),
            "data" => Err(Status::new("CUSTOM", "custom msg").with_details("DATA")),
            "empty" => Err(Status::not_found("")),
            "blank" => Err(Status::new("", " \r\n\t")),
            "unicode" => Err(Status::internal("café ✓\u{0}\u{85}.")),
            _ => Ok(profile(&request.id)),
        }
    }

    async fn gen_report(&self, request: SaveReq) -> Result<Profile, Status> {
        Ok(profile(&request.id))
    }

    async fn nothing(&self) -> Result<(), Status> {
        Ok(())
    }
}

fn profile(id: &str) -> Profile {
    Profile {
        id: id.to_owned(),
        full_name: format!("N {id}"),
        big_num: (1 << 53) + 1,
    }
}

/// `save_profile` of `u1`, and its answer, as captured.
const U1: &[u8] = b"\n\x02u1";
const N_U1: &[u8] = b"\n\x02u1\x12\x04N u1\x18\x81\x80\x80\x80\x80\x80\x80\x10";
const N_U1_LOGGED: &str = r#"\n\x02u1\x12\x04N u1\x18\x81\x80\x80\x80\x80\x80\x80\x10"]"#;

#[natsmicro::service]
trait KVStoreDemoService {
    async fn get_thing(&self) -> Result<(), Status>;
    #[endpoint(proto_name = "GetIDs")]
    async fn ids(&self) -> Result<(), Status>;
    #[endpoint(proto_name = "GetHTTPURL")]
    async fn url(&self) -> Result<(), Status>;
    #[endpoint(name = "Exactly-This_1")]
    async fn exact(&self) -> Result<(), Status>;
}

struct Demo;

impl KVStoreDemoService for Demo {
    async fn get_thing(&self) -> Result<(), Status> {
        Ok(())
    }
    async fn ids(&self) -> Result<(), Status> {
        Ok(())
    }
    async fn url(&self) -> Result<(), Status> {
        Ok(())
    }
    async fn exact(&self) -> Result<(), Status> {
        Ok(())
    }
}

#[tokio::test]
async fn names_and_subjects_by_default() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .server()
        .add_service(KVStoreDemoServiceServer::new(Demo))
        .start()
        .await?;
    for subject in ["get_thing", "get_i_ds", "get_httpurl", "Exactly-This_1"] {
        let subject = format!("kv_store_demo_service.{subject}");
        let reply = nats.ask(&subject, "").await;
        assert_eq!((reply.headers, &reply.payload[..]), (None, &b""[..]));
    }
    let info = &discover(&nats.caller, "$SRV.INFO.KVStoreDemoService", 1).await[0];
    assert_eq!(info["version"], "1.0.0");
    for endpoint in info["endpoints"].as_array().unwrap() {
        assert_eq!(endpoint["queue_group"], "q");
    }
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_peer_gets_the_payload_and_nothing_else() -> TestResult {
    let nats = Nats::traced().await;
    let _server = nats
        .persisting()
        .add_service(UserServiceServer::new(Users))
        .start()
        .await?;

    let reply = nats.ask("api.v1.save_profile", U1).await;
    assert_eq!((reply.headers, &reply.payload[..]), (None, N_U1));

    let mut headers = HeaderMap::new();
    headers.insert("X-Req", "1");
    nats.ask_with("api.v1.save_profile", headers, U1).await;
    let line =
        format!(r#"<<- MSG_PAYLOAD: ["NATS/1.0\r\nX-Resp: a\r\nX-Resp: b\r\n\r\n{N_U1_LOGGED}"#);
    nats.log_has(&line).await;

    let reply = nats.ask("api.v1.nothing", "").await;
    assert_eq!((reply.headers, &reply.payload[..]), (None, &b""[..]));
    Ok(())
}

#[tokio::test]
async fn our_client_sends_the_payload_and_nothing_else() -> TestResult {
    let nats = Nats::traced().await;
    let _server = nats
        .server()
        .add_service(UserServiceServer::new(Users))
        .start()
        .await?;
    let users = UserServiceClient::new(nats.caller.clone());
    let request = || SaveReq { id: "u1".into() };

    assert_eq!(users.save_profile(request()).await?, profile("u1"));
    nats.log_has(r#"<<- MSG_PAYLOAD: ["\n\x02u1"]"#).await;
    let log = nats.server.log();
    assert!(
        log.contains("<<- [PUB api.v1.save_profile _INBOX."),
        "{log}"
    );
    assert!(!log.contains("<<- [HPUB"), "{log}");

    users
        .save_profile(request())
        .with_header("X-Req", "1")
        .await?;
    nats.log_has(r#"<<- MSG_PAYLOAD: ["NATS/1.0\r\nX-Req: 1\r\n\r\n\n\x02u1"]"#)
        .await;
    nats.log_has("<<- [HPUB api.v1.save_profile _INBOX.").await;
    Ok(())
}

#[tokio::test]
async fn error_replies_have_two_headers() -> TestResult {
    let nats = Nats::start().await;
    let _server = nats
        .server()
        .add_service(UserServiceServer::new(Users))
        .start()
        .await?;
    for (id, code, message, body) in [
        ("notfound", "NOT_FOUND", "no such user", ""),
        ("locked", "USER_LOCKED", "locked line2", ""),
        ("data", "CUSTOM", "custom msg", "DATA"),
        ("empty", "NOT_FOUND", "NOT_FOUND", ""),
        ("blank", "UNKNOWN", "UNKNOWN", ""),
        ("unicode", "INTERNAL", "café ✓  .", ""),
    ] {
        let request = prost::Message::encode_to_vec(&SaveReq { id: id.into() });
        let reply = nats.ask("api.v1.save_profile", request).await;
        assert_eq!(error_of(&reply), Some((code, message)));
        assert_eq!(reply.headers.unwrap().len(), 2, "{id}");
        assert_eq!(reply.payload, body);
    }
    Ok(())
}

#[tokio::test]
async fn a_response_is_put_as_the_bytes_of_the_reply() -> TestResult {
    let nats = Nats::traced().await;
    let server = nats
        .persisting()
        .add_service(UserServiceServer::new(Users))
        .start()
        .await?;
    nats.ask("api.v1.save_profile", U1).await;
    nats.ask("api.v1.save_profile", &b"\n\x08notfound"[..])
        .await;
    server.stop().await?;

    let line = format!("<<- MSG_PAYLOAD: [\"{N_U1_LOGGED}");
    nats.log_has(&line).await;
    let log = nats.server.log();
    let put = log
        .lines()
        .find(|line| line.contains("PUB $KV.user_profiles.user.u1 "))
        .unwrap();
    assert!(put.contains("<<- [PUB ") && put.ends_with(" 19]"), "{put}");
    assert!(!log.contains("$KV.user_profiles.user.notfound"), "{log}");

    let bucket = nats.jetstream().get_key_value("user_profiles").await?;
    assert_eq!(bucket.get("user.u1").await?.unwrap(), N_U1);
    Ok(())
}

#[tokio::test]
async fn an_object_is_laid_out_as_others_read_it() -> TestResult {
    use tokio::io::AsyncReadExt;

    let nats = Nats::traced().await;
    let server = nats
        .persisting()
        .add_service(UserServiceServer::new(Users))
        .start()
        .await?;
    let reply = nats.ask("api.v1.gen_report", U1).await;
    server.stop().await?;

    let bucket = nats.jetstream().get_object_store("reports").await?;
    let mut object = bucket.get("report.u1").await?;
    let mut data = Vec::new();
    soon(object.read_to_end(&mut data)).await?;
    assert_eq!(data, reply.payload);
    // SHA-256 of the 19 bytes, base64url with padding.
    let digest = "SHA-256=311-172ERpzkr_voQSEirVfQkhVd93Rc7SIAoHZYryo=";
    let info = object.info();
    assert_eq!(info.digest.as_deref(), Some(digest));
    assert_eq!((info.size, info.chunks), (N_U1.len(), 1));

    let log = nats.server.log();
    let chunk = format!("PUB $O.reports.C.{} ", info.nuid);
    assert!(log.contains(&chunk), "{log}");
    // base64url of `report.u1`
    assert!(log.contains("PUB $O.reports.M.cmVwb3J0LnUx "), "{log}");
    Ok(())
}

/// The configuration of a stream as the server has it.
async fn stream_config(nats: &Nats, stream: &str) -> Value {
    let reply = nats.ask(&format!("$JS.API.STREAM.INFO.{stream}"), "").await;
    let mut info: Value = serde_json::from_slice(&reply.payload).unwrap();
    info["config"].take()
}

#[tokio::test]
async fn streams_are_created_as_captured() -> TestResult {
    let nats = Nats::start().await;
    let _server = nats
        .persisting()
        .add_service(UserServiceServer::new(Users))
        .start()
        .await?;
    let kv = json!({
        "name": "KV_user_profiles", "description": "profiles", "subjects": ["$KV.user_profiles.>"],
        "retention": "limits", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "discard": "new",
        "max_age": 3_600_000_000_000_u64, "max_msgs_per_subject": 1, "max_msg_size": -1, "storage": "file",
        "num_replicas": 1, "duplicate_window": 120_000_000_000_u64, "deny_delete": true,
        "allow_rollup_hdrs": true, "compression": "none", "allow_direct": true, "mirror_direct": false,
        "consumer_limits": {},
    });
    let object = json!({
        "name": "OBJ_reports", "subjects": ["$O.reports.C.>", "$O.reports.M.>"],
        "retention": "limits", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "discard": "new",
        "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1, "storage": "file",
        "num_replicas": 1, "duplicate_window": 120_000_000_000_u64, "deny_delete": false,
        "allow_rollup_hdrs": true, "compression": "none", "allow_direct": true, "mirror_direct": false,
        "consumer_limits": {},
    });
    for (stream, captured) in [("KV_user_profiles", kv), ("OBJ_reports", object)] {
        let config = stream_config(&nats, stream).await;
        for (field, value) in captured.as_object().unwrap() {
            assert_eq!(&config[field], value, "{field} of {stream}: {config}");
        }
        for (field, value) in config.as_object().unwrap() {
            // Batches are of no consequence to those who do not send any.
            let off = json!(false) == *value || ["metadata", "allow_batched"].contains(&&**field);
            assert!(
                captured.get(field).is_some() || off,
                "{stream} has {field}: {value}"
            );
        }
    }
    Ok(())
}
