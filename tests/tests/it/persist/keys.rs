//! Values in messages that would make wrong keys: nothing is stored, no handler runs, and everything lives on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use natsmicro::store::StoreErrorKind;
use natsmicro::{LostWrite, RunningServer, Status};
use natsmicro_tests::common::{Nats, TestResult, Text, code_of, error_of, text};
use prost::Message as _;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Typed {
    #[prost(int64, tag = "1")]
    number: i64,
    #[prost(bool, tag = "2")]
    flag: bool,
    #[prost(uint32, tag = "3")]
    small: u32,
}

#[natsmicro::service(subject_prefix = "k")]
trait Keys {
    #[kv_store(bucket = "keys", key = "user.<text>")]
    async fn plain(&self, request: Text) -> Result<Text, Status>;
    #[kv_store(bucket = "keys", key = "must.{text}", persist = "before_response")]
    async fn must(&self, request: Text) -> Result<Text, Status>;
    #[object_store(bucket = "objects", key = "object.<text>")]
    async fn object(&self, request: Text) -> Result<Text, Status>;
    #[kv_store(bucket = "keys", key = "typed.<number>.<flag>/<small>")]
    async fn typed(&self, request: Typed) -> Result<Text, Status>;
    #[kv_store(bucket = "keys", key = "made.<response.text>.x")]
    async fn made(&self, request: Text) -> Result<Text, Status>;
    #[kv_store(
        bucket = "keys",
        key = "made.<response.text>",
        persist = "before_response"
    )]
    async fn made_first(&self, request: Text) -> Result<Text, Status>;
    async fn handled(&self) -> Result<Text, Status>;
}

#[derive(Default)]
struct Service {
    handled: AtomicUsize,
}

impl Service {
    fn answer(&self, request: Text) -> Text {
        self.handled.fetch_add(1, Ordering::SeqCst);
        request
    }
}

impl Keys for Service {
    async fn plain(&self, request: Text) -> Result<Text, Status> {
        Ok(self.answer(request))
    }
    async fn must(&self, request: Text) -> Result<Text, Status> {
        Ok(self.answer(request))
    }
    async fn object(&self, request: Text) -> Result<Text, Status> {
        Ok(self.answer(request))
    }
    async fn typed(&self, _request: Typed) -> Result<Text, Status> {
        Ok(self.answer(text("typed")))
    }
    async fn made(&self, request: Text) -> Result<Text, Status> {
        Ok(self.answer(request))
    }
    async fn made_first(&self, request: Text) -> Result<Text, Status> {
        Ok(self.answer(request))
    }
    async fn handled(&self) -> Result<Text, Status> {
        Ok(text(self.handled.load(Ordering::SeqCst).to_string()))
    }
}

fn hostile() -> Vec<String> {
    let mut values: Vec<String> = [
        "a.b",
        "*",
        ">",
        "x y",
        "",
        "é",
        ".lead",
        "trail.",
        "a..b",
        ".",
        "$x",
        "a\r\nPUB x 0\r\n",
        "a\n",
        "\t",
        "\0",
        "a*b",
        "a>b",
        "\u{202e}",
        "a\\b",
        "a:b",
        "a#b",
        "%41",
        "user.u1",
    ]
    .map(str::to_owned)
    .into();
    values.push("x".repeat(1_020));
    values.push("x".repeat(5_000));
    values.push("x".repeat(500_000));
    values
}

type Lost = Arc<Mutex<Vec<LostWrite>>>;

async fn start(nats: &Nats) -> (RunningServer, Lost) {
    let lost = Lost::default();
    let listed = Arc::clone(&lost);
    let server = nats
        .persisting()
        .on_lost_write(move |write| listed.lock().unwrap().push(write.clone()))
        .add_service(KeysServer::new(Service::default()));
    (server.start().await.unwrap(), lost)
}

/// How many messages the stream of a bucket has.
async fn stored(nats: &Nats, stream: &str) -> u64 {
    let stream = nats.jetstream().get_stream(stream).await.unwrap();
    stream.cached_info().state.messages
}

#[tokio::test]
async fn a_request_without_a_key_is_refused() -> TestResult {
    let nats = Nats::start().await;
    let (server, lost) = start(&nats).await;
    for value in hostile() {
        for subject in ["k.plain", "k.must", "k.object"] {
            let reply = nats.ask(subject, text(value.as_str()).bytes()).await;
            let (code, message) = error_of(&reply).unwrap();
            assert_eq!(code, "INVALID_ARGUMENT", "{value:?}");
            assert!(message.contains("`text`"), "{message}");
            assert!(message.len() < 200, "{message}");
        }
    }
    assert_eq!(nats.ask("k.handled", "").await.payload, text("0").bytes());
    assert_eq!(nats.ask("k.plain", text("u1").bytes()).await.headers, None);
    server.stop().await?;
    assert_eq!(stored(&nats, "KV_keys").await, 1);
    assert_eq!(stored(&nats, "OBJ_objects").await, 0);
    assert!(lost.lock().unwrap().is_empty());
    Ok(())
}

#[tokio::test]
async fn values_that_are_tokens_are_stored_under_them() -> TestResult {
    let nats = Nats::start().await;
    let (server, _) = start(&nats).await;
    let long = "x".repeat(1_000);
    let good = ["u1", "-", "/", "_", "=", "a-B_c/d=9", &long];
    for value in good {
        for subject in ["k.plain", "k.must", "k.object", "k.made"] {
            let reply = nats.ask(subject, text(value).bytes()).await;
            assert_eq!(error_of(&reply), None, "{value}");
        }
    }
    server.stop().await?;
    let bucket = nats.jetstream().get_key_value("keys").await?;
    let objects = nats.jetstream().get_object_store("objects").await?;
    for value in good {
        for key in ["user.V", "must.V", "made.V.x"] {
            let entry = bucket.get(key.replace('V', value)).await?;
            assert_eq!(entry, Some(text(value).bytes()), "{key} {value}");
        }
        let info = objects.info(format!("object.{value}")).await?;
        assert_eq!(info.size, text(value).bytes().len());
    }
    Ok(())
}

#[tokio::test]
async fn integers_and_booleans_are_formatted_as_go_does() -> TestResult {
    let nats = Nats::start().await;
    let (server, _) = start(&nats).await;
    let typed = |number, flag, small| Typed {
        number,
        flag,
        small,
    };
    for request in [
        typed(0, false, 0),
        typed(i64::MIN, true, u32::MAX),
        typed(-7, true, 10),
    ] {
        let reply = nats.ask("k.typed", request.encode_to_vec()).await;
        assert_eq!(error_of(&reply), None);
    }
    server.stop().await?;
    let bucket = nats.jetstream().get_key_value("keys").await?;
    for key in [
        "typed.0.false/0",
        "typed.-9223372036854775808.true/4294967295",
        "typed.-7.true/10",
    ] {
        assert_eq!(bucket.get(key).await?, Some(text("typed").bytes()), "{key}");
    }
    let key = KeysClient::typed_key(-7_i64, true, 10_u32)?;
    assert_eq!(key.as_str(), "typed.-7.true/10");
    Ok(())
}

#[tokio::test]
async fn a_response_without_a_key_is_a_lost_write() -> TestResult {
    let nats = Nats::start().await;
    let (server, lost) = start(&nats).await;
    let values = hostile();
    for value in &values {
        let reply = nats.ask("k.made", text(value.as_str()).bytes()).await;
        assert_eq!(
            (error_of(&reply), &reply.payload),
            (None, &text(value.as_str()).bytes())
        );
    }
    let stats = server.stats().remove(0).endpoints.remove(4);
    assert_eq!(
        (stats.num_requests, stats.num_errors),
        (values.len() as u64, 0)
    );
    let data = stats.persistence.unwrap();
    assert_eq!((data.persisted, data.persist_pending), (0, 0));
    assert_eq!(data.persist_failed, values.len() as u64);

    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count(), values.len());
    let lost = lost.lock().unwrap().clone();
    assert_eq!(lost, error.lost_writes());
    assert_eq!(
        (&lost[0].endpoint[..], &lost[0].bucket[..]),
        ("made", "keys")
    );
    assert_eq!(lost[0].key, "");
    assert!(lost[0].cause.contains("`text`"), "{}", lost[0]);
    assert_eq!(stored(&nats, "KV_keys").await, 0);
    Ok(())
}

#[tokio::test]
async fn a_reply_that_waits_for_such_a_write_fails() -> TestResult {
    let nats = Nats::start().await;
    let (server, lost) = start(&nats).await;
    let reply = nats.ask("k.made_first", text("a.b").bytes()).await;
    let (code, message) = error_of(&reply).unwrap();
    assert_eq!(code, "UNAVAILABLE");
    assert!(
        message.contains("`keys`") && !message.contains("a.b"),
        "{message}"
    );
    assert_eq!(lost.lock().unwrap().len(), 1);
    assert_eq!(
        nats.ask("k.made_first", text("ab").bytes()).await.headers,
        None
    );
    assert_eq!(stored(&nats, "KV_keys").await, 1);
    assert!(server.stop().await.is_err());
    Ok(())
}

#[tokio::test]
async fn keys_of_the_client_are_checked_too() -> TestResult {
    let nats = Nats::start().await;
    let (_server, _) = start(&nats).await;
    let connection = natsmicro::Client::new(nats.caller.clone()).with_jetstream(nats.jetstream());
    let client = KeysClient::new(connection);
    for value in hostile() {
        assert_eq!(
            code_of(client.plain(text(value.as_str())).await),
            "INVALID_ARGUMENT"
        );
        assert_eq!(
            KeysClient::plain_key(&value).unwrap_err().field(),
            Some("text")
        );
        assert_eq!(
            KeysClient::object_key(&value).unwrap_err().field(),
            Some("text")
        );
        if value.len() == 1_020 || value == "user.u1" || value == "a.b" {
            // Not a token, and yet a key.
            continue;
        }
        let error = client.get_plain_from_kv(&value).await.unwrap_err();
        assert_eq!(error.kind(), &StoreErrorKind::InvalidKey, "{value:?}");
        let error = client
            .put_plain_to_kv(&value, &text("x"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), &StoreErrorKind::InvalidKey, "{value:?}");
    }
    assert_eq!(stored(&nats, "KV_keys").await, 0);
    let key = KeysClient::plain_key("u1")?;
    client.put_plain_to_kv(&key, &text("x")).await?;
    assert_eq!(client.get_plain_from_kv("user.u1").await?, Some(text("x")));
    Ok(())
}
