//! Responses get into the stores: what is stored, when, and under which key.

use natsmicro::{Code, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, persistence};
use prost::Message;
use std::time::Duration;

#[natsmicro::service]
pub trait Profiles {
    #[kv_store(bucket = "after", key = "user.<key>")]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "before", key = "user.<key>", persist = "before_response")]
    async fn before(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service(codec = "json")]
pub trait JsonProfiles {
    #[kv_store(bucket = "json", key = "user.<key>")]
    async fn save(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Both {
    #[kv_store(bucket = "both", key = "a.<key>")]
    #[object_store(bucket = "both", key = "a.{key}")]
    async fn same(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "both", key = "k.<key>")]
    #[object_store(bucket = "both", key = "o.<n>.<response.text>")]
    async fn different(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Mixed {
    #[kv_store(bucket = "read_only", key = "<key>", client_only)]
    #[object_store(bucket = "read_only", key = "<key>", client_only)]
    async fn read(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "by_response", key = "id.<response.text>")]
    async fn named_by_response(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "by_response",
        key = "first.<response.text>",
        persist = "before_response"
    )]
    async fn named_first(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Profiles for Echo {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl JsonProfiles for Echo {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Both for Echo {
    async fn same(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn different(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Mixed for Echo {
    async fn read(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn named_by_response(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn named_first(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

#[tokio::test]
async fn stored_bytes_are_the_reply_bytes() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(ProfilesServer::new(Echo))
        .add_service(JsonProfilesServer::new(Echo))
        .start()
        .await?;

    let request = Save {
        key: "ada".into(),
        text: "Ada \u{1f9ee}".into(),
        n: 1 << 60,
    };
    let proto = request.encode_to_vec();
    let after = nats.nats.request("profiles.after", proto.clone().into());
    let after = after.await?.payload;
    let before = nats.nats.request("profiles.before", proto.into());
    let before = before.await?.payload;
    let json = serde_json::to_vec(&request)?;
    let json = nats.nats.request("json_profiles.save", json.into());
    let json = json.await?.payload;
    server.stop().await?;

    assert_eq!(Saved::decode(after.clone())?, request.clone().saved());
    assert_eq!(
        serde_json::from_slice::<Saved>(&json)?,
        request.clone().saved()
    );
    for (bucket, reply) in [("after", after), ("before", before), ("json", json)] {
        let revisions = nats.revisions(bucket, "user.ada").await;
        assert_eq!(revisions.len(), 1, "{bucket}");
        assert_eq!(revisions[0].1, reply, "{bucket}");
        let subject = format!("$KV.{bucket}.user.ada");
        let stream = nats.js.get_stream(format!("KV_{bucket}")).await?;
        let stored = stream.get_last_raw_message_by_subject(&subject).await?;
        assert!(
            stored.headers.is_empty(),
            "{bucket}: a plain put has no headers of ours: {:?}",
            stored.headers
        );
    }
    let client = ProfilesClient::new(nats.client());
    let cached = client.get_after_from_kv("user.ada").await?;
    assert_eq!(cached, Some(request.clone().saved()));
    let client = JsonProfilesClient::new(nats.client());
    let cached = client.get_save_from_kv("user.ada").await?;
    assert_eq!(cached, Some(request.saved()));
    Ok(())
}

#[tokio::test]
async fn only_before_response_waits_for_the_store() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .with_persist_timeout(Duration::from_millis(300))
        .add_service(ProfilesServer::new(Echo))
        .start()
        .await?;
    let client = ProfilesClient::new(nats.client());
    client.before(Save::new("ada", "there")).await?;
    assert_eq!(
        persistence(&server, "before").persisted,
        1,
        "acknowledged when the reply comes"
    );

    nats.js.delete_key_value("before").await?;
    nats.js.delete_key_value("after").await?;
    let error = client.before(Save::new("ada", "gone")).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable);
    assert!(error.message().contains("`before`"), "{error}");
    client.after(Save::new("ada", "gone")).await?;

    let error = server.stop().await.unwrap_err();
    let lost: Vec<_> = error
        .lost_writes()
        .iter()
        .map(|lost| &lost.bucket)
        .collect();
    assert_eq!(lost, ["before", "after"]);
    assert_eq!(error.lost_writes()[1].key, "user.ada");
    assert!(error.unfinished_calls().is_empty(), "{error}");
    Ok(())
}

#[tokio::test]
async fn nothing_is_stored_for_an_error() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(ProfilesServer::new(Echo))
        .start()
        .await?;
    let client = ProfilesClient::new(nats.client());
    let after = client.after(Save::new("ada", "fail")).await.unwrap_err();
    let before = client.before(Save::new("ada", "fail")).await.unwrap_err();
    assert_eq!(after.code(), &Code::FailedPrecondition);
    assert_eq!(before.code(), &Code::FailedPrecondition);
    let stats = persistence(&server, "after");
    assert_eq!((stats.persisted, stats.persist_failed), (0, 0));
    server.stop().await?;
    for stream in ["KV_after", "KV_before"] {
        assert_eq!(
            nats.js
                .get_stream(stream)
                .await?
                .cached_info()
                .state
                .messages,
            0
        );
    }
    Ok(())
}

#[tokio::test]
async fn one_method_writes_to_both_stores() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(BothServer::new(Echo))
        .start()
        .await?;
    let client = BothClient::new(nats.client());
    let request = Save {
        key: "x".into(),
        text: "name".into(),
        n: 7,
    };
    client.same(request.clone()).await?;
    client.different(request.clone()).await?;
    let stats = persistence(&server, "same");
    server.stop().await?;
    assert!(stats.persisted + stats.persist_pending == 2, "{stats:?}");

    assert_eq!(BothClient::same_key("x")?.as_str(), "a.x");
    assert_eq!(BothClient::different_kv_key("x")?.as_str(), "k.x");
    assert_eq!(
        BothClient::different_object_key(7_u64, "name")?.as_str(),
        "o.7.name"
    );
    let saved = Some(request.saved());
    assert_eq!(client.get_same_from_kv("a.x").await?, saved);
    assert_eq!(client.get_same_from_object_store("a.x").await?, saved);
    assert_eq!(client.get_different_from_kv("k.x").await?, saved);
    let key = BothClient::different_object_key(7_u64, "name")?;
    assert_eq!(client.get_different_from_object_store(&key).await?, saved);
    Ok(())
}

#[tokio::test]
async fn client_only_is_left_to_clients() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(MixedServer::new(Echo))
        .start()
        .await?;
    let client = MixedClient::new(nats.client());
    // A key that could not be stored is nobody's concern here.
    client.read(Save::new("not a key", "x")).await?;
    assert!(nats.has_stream("KV_by_response").await);
    assert!(!nats.has_stream("KV_read_only").await);
    assert!(!nats.has_stream("OBJ_read_only").await);
    assert!(server.stats()[0].endpoints[0].persistence.is_none());
    server.stop().await?;

    let config = async_nats::jetstream::kv::Config {
        bucket: "read_only".into(),
        ..Default::default()
    };
    nats.js.create_key_value(config).await?;
    let value = Save::new("k", "by hand").saved();
    client.put_read_to_kv("k", &value).await?;
    assert_eq!(client.get_read_from_kv("k").await?, Some(value));
    Ok(())
}

#[tokio::test]
async fn a_response_that_makes_no_key_is_a_failed_write() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(MixedServer::new(Echo))
        .start()
        .await?;
    let client = MixedClient::new(nats.client());
    client.named_by_response(Save::new("", "good")).await?;
    client
        .named_by_response(Save::new("", "two.levels"))
        .await?;
    let error = client.named_first(Save::new("", "*")).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable);
    assert_eq!(persistence(&server, "named_by_response").persist_failed, 1);
    assert_eq!(persistence(&server, "named_first").persist_failed, 1);

    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count(), 2);
    let lost = &error.lost_writes()[0];
    assert_eq!(lost.endpoint, "named_by_response");
    assert_eq!(lost.bucket, "by_response");
    assert!(lost.cause.contains("`text`"), "{lost}");
    let subjects = nats.subjects("KV_by_response", ">").await;
    assert_eq!(subjects.len(), 1);
    assert_eq!(subjects["$KV.by_response.id.good"], 1);
    Ok(())
}
