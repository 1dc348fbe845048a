//! The trait and its client: generic callers, skipped methods, overrides, codecs.

use std::time::Duration;

use bytes::Bytes;
use natsmicro::{Client, Codec, CodecError, Context, Status};
use natsmicro_tests::common::{Nats, TestResult, Text, code_of, error_of, text};

/// Greets.
#[natsmicro::service(timeout = "10s", metadata(team = "one", level = "2"))]
trait Greeter {
    async fn greet(&self, cx: &Context, request: Text) -> Result<Text, Status>;
    async fn count(&self) -> Result<(), Status>;
    #[endpoint(skip)]
    async fn internal(&self, numbers: Vec<u8>) -> Result<std::time::Instant, Status>;
}

struct Service(&'static str);

impl Greeter for Service {
    async fn greet(&self, cx: &Context, request: Text) -> Result<Text, Status> {
        let who = cx.header("X-Who").unwrap_or("nobody");
        Ok(text(format!("{} {} from {who}", self.0, request.text)))
    }

    async fn count(&self) -> Result<(), Status> {
        Ok(())
    }

    async fn internal(&self, numbers: Vec<u8>) -> Result<std::time::Instant, Status> {
        assert_eq!(numbers, [1]);
        Ok(std::time::Instant::now())
    }
}

/// What a user writes for unit tests.
struct Fake;

impl Greeter for Fake {
    async fn greet(&self, _cx: &Context, _request: Text) -> Result<Text, Status> {
        Ok(text("hello you from nobody"))
    }

    async fn count(&self) -> Result<(), Status> {
        Ok(())
    }

    async fn internal(&self, _numbers: Vec<u8>) -> Result<std::time::Instant, Status> {
        Err(Status::unimplemented(""))
    }
}

async fn generic(greeter: impl Greeter) -> Result<Text, Status> {
    let task = tokio::spawn(async move {
        greeter.count().await?;
        greeter.greet(&Context::new(), text("you")).await
    });
    task.await.unwrap()
}

#[tokio::test]
async fn a_caller_of_the_trait_takes_client_service_and_fake() -> TestResult {
    let nats = Nats::start().await;
    let _server = nats
        .server()
        .add_service(GreeterServer::new(Service("hello")))
        .start()
        .await?;
    let expected = text("hello you from nobody");
    assert_eq!(generic(Service("hello")).await?, expected);
    assert_eq!(
        generic(GreeterClient::new(nats.caller.clone())).await?,
        expected
    );
    assert_eq!(generic(Fake).await?, expected);
    Ok(())
}

#[tokio::test]
async fn a_skipped_method_is_not_on_nats() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .server()
        .add_service(GreeterServer::new(Service("hello")))
        .start()
        .await?;
    let names: Vec<String> = server.info()[0]
        .endpoints
        .iter()
        .map(|endpoint| endpoint.name.clone())
        .collect();
    assert_eq!(names, ["greet", "count"]);

    let client = GreeterClient::new(nats.caller.clone());
    let status = client.internal(vec![1]).await.unwrap_err();
    assert_eq!(status.code().as_str(), "UNIMPLEMENTED");
    Service("hello").internal(vec![1]).await?;

    let error = nats.caller.request("greeter.internal", Bytes::new()).await;
    let kind = error.unwrap_err().kind();
    assert_eq!(kind, async_nats::RequestErrorKind::NoResponders);
    Ok(())
}

#[tokio::test]
async fn prefixes_keep_instances_apart() -> TestResult {
    let nats = Nats::start().await;
    let _server = nats
        .server()
        .add_service(GreeterServer::new(Service("hello")))
        .add_service(GreeterServer::new(Service("salut")).with_subject_prefix("fr.v2"))
        .start()
        .await?;
    let client = GreeterClient::new(nats.caller.clone());
    let french = client.clone().with_subject_prefix("fr.v2");
    for (client, word) in [(&client, "hello"), (&french, "salut"), (&client, "hello")] {
        let answer = client.greet(text("you")).with_header("X-Who", "me").await?;
        assert_eq!(answer.text, format!("{word} you from me"));
    }
    let nobody = client.clone().with_subject_prefix("it");
    assert_eq!(code_of(nobody.greet(text("you")).await), "UNAVAILABLE");
    for wrong in [
        "",
        "a..b",
        "a.*",
        "a.>",
        "$SRV",
        "a b",
        "a\r\nPUB x 0\r\n",
        "_INBOX.x",
    ] {
        let client = client.clone().with_subject_prefix(wrong);
        assert_eq!(
            code_of(client.greet(text("you")).await),
            "INVALID_ARGUMENT",
            "{wrong:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_service_is_renamed_at_run_time() -> TestResult {
    let nats = Nats::start().await;
    let shared = std::sync::Arc::new(Service("hello"));
    let server = nats
        .server()
        .add_service(
            GreeterServer::from_arc(shared.clone())
                .with_name("other")
                .with_version("3.1.4-rc.1+build")
                .with_description("Greets others")
                .with_metadata([("a", "1"), ("b", "2")])
                .with_additional_metadata([("b", "3"), ("c", "4")])
                .with_subject_prefix("other"),
        )
        .add_service(GreeterServer::from_arc(shared))
        .start()
        .await?;
    let [other, greeter] = &server.info()[..] else {
        panic!("two services");
    };
    assert_eq!(
        (&other.name[..], &other.version[..]),
        ("other", "3.1.4-rc.1+build")
    );
    assert_eq!(other.description, "Greets others");
    let metadata = |pairs: &[(&str, &str)]| {
        let owned = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        owned.collect()
    };
    assert_eq!(
        other.metadata,
        metadata(&[("a", "1"), ("b", "3"), ("c", "4")])
    );
    assert_eq!(other.endpoints[0].subject, "other.greet");

    assert_eq!(
        (&greeter.name[..], &greeter.version[..]),
        ("Greeter", "1.0.0")
    );
    assert_eq!(greeter.description, "Greets.");
    assert_eq!(
        greeter.metadata,
        metadata(&[("team", "one"), ("level", "2")])
    );
    assert_eq!(greeter.endpoints[0].subject, "greeter.greet");
    Ok(())
}

struct Slow;

impl Greeter for Slow {
    async fn greet(&self, _cx: &Context, _request: Text) -> Result<Text, Status> {
        std::future::pending().await
    }

    async fn count(&self) -> Result<(), Status> {
        Ok(())
    }

    async fn internal(&self, _numbers: Vec<u8>) -> Result<std::time::Instant, Status> {
        unreachable!()
    }
}

#[tokio::test]
async fn a_timeout_set_at_run_time_goes_before_the_declared_one() -> TestResult {
    let nats = Nats::start().await;
    let _server = nats
        .server()
        .add_service(GreeterServer::new(Slow).with_timeout(Duration::from_millis(20)))
        .start()
        .await?;
    let reply = nats.ask("greeter.greet", "").await;
    assert_eq!(error_of(&reply).unwrap().0, "DEADLINE_EXCEEDED");
    Ok(())
}

mod codecs {
    use super::{Bytes, Codec, CodecError};

    /// Carries what can be printed and parsed. Panics where it should not.
    pub(crate) struct Printed;

    impl Codec<i64> for Printed {
        fn encode(number: &i64) -> Result<Bytes, CodecError> {
            match number {
                -1 => Err(CodecError::new("negative")),
                -2 => panic!("secret of the codec"),
                number => Ok(number.to_string().into()),
            }
        }

        fn decode(payload: Bytes) -> Result<i64, CodecError> {
            let text = std::str::from_utf8(&payload).map_err(CodecError::new)?;
            assert_ne!(text, "panic", "secret of the codec");
            text.parse().map_err(CodecError::new)
        }
    }
}

#[natsmicro::service(codec = codecs::Printed, subject_prefix = "math")]
trait Math {
    async fn negate(&self, number: i64) -> Result<i64, Status>;
}

struct Negate;

impl Math for Negate {
    async fn negate(&self, number: i64) -> Result<i64, Status> {
        Ok(-number)
    }
}

#[tokio::test]
async fn a_codec_of_the_users_own() -> TestResult {
    let nats = Nats::start().await;
    let _server = nats
        .server()
        .add_service(MathServer::new(Negate))
        .start()
        .await?;
    let client = MathClient::new(Client::new(nats.caller.clone()));
    assert_eq!(client.negate(7).await?, -7);
    assert_eq!(nats.ask("math.negate", "-12").await.payload, "12");

    let status = client.negate(-1).await.unwrap_err();
    assert_eq!(
        status,
        Status::invalid_argument("failed to encode the request: negative")
    );
    for (payload, error) in [
        ("1", ("INTERNAL", "failed to encode the response: negative")),
        (
            "x",
            (
                "INVALID_ARGUMENT",
                "failed to decode request: invalid digit found in string",
            ),
        ),
        (
            "2",
            ("INTERNAL", "the service failed to handle the request"),
        ),
        (
            "panic",
            ("INTERNAL", "the service failed to handle the request"),
        ),
    ] {
        let reply = nats.ask("math.negate", payload).await;
        assert_eq!(error_of(&reply), Some(error), "{payload}");
    }
    assert_eq!(client.negate(7).await?, -7);
    Ok(())
}
