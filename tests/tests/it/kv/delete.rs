//! A success deletes the entries that it makes stale.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv;
use natsmicro::store::Operation;
use natsmicro::{Code, Context, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, persistence};

#[natsmicro::service]
pub trait Profiles {
    #[kv_store(bucket = "profiles", key = "user.<key>", max_history = 5)]
    async fn save(&self, request: Save) -> Result<Saved, Status>;

    #[kv_delete(bucket = "profiles", key = "user.<key>")]
    async fn delete(&self, request: Save) -> Result<(), Status>;

    #[kv_delete(bucket = "profiles", key = "user.{key}", persist = "before_response")]
    async fn delete_first(&self, request: Save) -> Result<(), Status>;

    #[kv_delete(
        bucket = "profiles",
        key = "user.<key>",
        purge,
        persist = "before_response"
    )]
    async fn purge(&self, request: Save) -> Result<(), Status>;

    #[kv_delete(
        bucket = "profiles",
        key = "user.<response.text>",
        persist = "before_response"
    )]
    async fn delete_answered(&self, request: Save) -> Result<Saved, Status>;

    /// From `text` to `key`.
    #[kv_store(
        bucket = "profiles",
        key = "user.<key>",
        max_history = 5,
        persist = "before_response"
    )]
    #[kv_delete(bucket = "profiles", key = "user.<text>", persist = "before_response")]
    #[kv_delete(bucket = "lists", key = "all", persist = "before_response")]
    async fn rename(&self, cx: &Context, request: Save) -> Result<Saved, Status>;
}

/// What answers with fields of its own, fails for the text `fail`, and does not store the number 99.
struct Service;

impl Profiles for Service {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn delete(&self, request: Save) -> Result<(), Status> {
        request.answer().map(drop)
    }
    async fn delete_first(&self, request: Save) -> Result<(), Status> {
        request.answer().map(drop)
    }
    async fn purge(&self, request: Save) -> Result<(), Status> {
        request.answer().map(drop)
    }
    async fn delete_answered(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn rename(&self, cx: &Context, request: Save) -> Result<Saved, Status> {
        if request.n == 99 {
            cx.do_not_store();
        }
        let mut saved = request.answer()?;
        if saved.text == "large" {
            saved.text = "x".repeat(2 * 1024 * 1024);
        }
        Ok(saved)
    }
}

/// A nats-server with the bucket of another service, in which `all` has a value.
async fn start() -> Nats {
    let nats = Nats::start().await;
    let lists = kv::Config {
        bucket: "lists".into(),
        ..kv::Config::default()
    };
    let lists = nats.js.create_key_value(lists).await.unwrap();
    lists.put("all", "ada, bob".into()).await.unwrap();
    nats
}

async fn serve(nats: &Nats) -> natsmicro::Server {
    let server = nats.service().await;
    server.add_service(ProfilesServer::new(Service))
}

/// The operations that a key went through, as far as its history goes.
async fn operations(nats: &Nats, bucket: &str, key: &str) -> Vec<kv::Operation> {
    use futures::TryStreamExt;
    let history = nats.bucket(bucket).await.history(key).await.unwrap();
    let entries: Vec<kv::Entry> = history.try_collect().await.unwrap();
    entries.into_iter().map(|entry| entry.operation).collect()
}

#[tokio::test]
async fn a_success_deletes_and_an_error_does_not() -> TestResult {
    let nats = start().await;
    let server = serve(&nats).await.start().await?;
    let client = ProfilesClient::new(nats.client());
    client.save(Save::new("ada", "Ada")).await?;
    let error = client.delete(Save::new("ada", "fail")).await.unwrap_err();
    assert_eq!(error.code(), &Code::FailedPrecondition);
    let error = client.delete_first(Save::new("ada", "fail")).await;
    assert_eq!(error.unwrap_err().code(), &Code::FailedPrecondition);
    // Behind the write in the queue of the key, and so when this is done, that is.
    client.delete_first(Save::new("bob", "")).await?;
    let stats = persistence(&server, "delete");
    assert_eq!((stats.persisted, stats.persist_pending), (0, 0));
    assert_eq!(persistence(&server, "delete_first").persisted, 1);

    client.delete(Save::new("ada", "")).await?;
    server.stop().await?;
    let operations = operations(&nats, "profiles", "user.ada").await;
    assert_eq!(operations, [kv::Operation::Put, kv::Operation::Delete]);
    assert_eq!(client.get_save_from_kv("user.ada").await?, None);
    let header = nats.header("KV_profiles", "$KV.profiles.user.ada", "KV-Operation");
    assert_eq!(header.await.as_deref(), Some("DEL"));
    Ok(())
}

#[tokio::test]
async fn before_the_response_the_entry_is_gone() -> TestResult {
    let nats = start().await;
    let server = serve(&nats).await.start().await?;
    let client = ProfilesClient::new(nats.client());
    for text in ["1", "2"] {
        client.save(Save::new("ada", text)).await?;
    }
    client.delete_first(Save::new("ada", "")).await?;
    assert_eq!(client.get_save_from_kv("user.ada").await?, None);
    assert_eq!(nats.revisions("profiles", "user.ada").await.len(), 3);

    client.purge(Save::new("ada", "")).await?;
    assert_eq!(
        operations(&nats, "profiles", "user.ada").await,
        [kv::Operation::Purge]
    );
    let subject = "$KV.profiles.user.ada";
    let rollup = nats.header("KV_profiles", subject, "Nats-Rollup").await;
    assert_eq!(rollup.as_deref(), Some("sub"));
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_key_from_the_response() -> TestResult {
    let nats = start().await;
    let server = serve(&nats).await.start().await?;
    let client = ProfilesClient::new(nats.client());
    client.save(Save::new("ada", "Ada")).await?;
    client.delete_answered(Save::new("x", "ada")).await?;
    assert_eq!(client.get_save_from_kv("user.ada").await?, None);

    let error = client.delete_answered(Save::new("x", "a.b")).await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable);
    assert!(error.message().contains("deleted"), "{error}");
    assert_eq!(persistence(&server, "delete_answered").persist_failed, 1);
    let error = server.stop().await.unwrap_err();
    let [lost] = error.lost_writes() else {
        panic!("one deletion is lost: {error}")
    };
    assert_eq!(lost.operation, Operation::Delete);
    assert_eq!(lost.endpoint, "delete_answered");
    assert!(lost.to_string().starts_with("deletion of"), "{lost}");
    assert!(lost.cause.contains("`text`"), "{lost}");
    Ok(())
}

#[tokio::test]
async fn a_value_that_makes_no_key_is_refused() -> TestResult {
    let nats = start().await;
    let server = serve(&nats).await.start().await?;
    let client = ProfilesClient::new(nats.client());
    for value in ["a.b", "", "*", ">", "a b"] {
        // The handler, if it ran, would say something else.
        let error = client.delete(Save::new(value, "fail")).await.unwrap_err();
        assert_eq!(error.code(), &Code::InvalidArgument, "{value:?}");
        assert!(error.message().contains("`key`"), "{error}");
    }
    assert_eq!(nats.subjects("KV_profiles", ">").await.len(), 0);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_store_and_two_deletions() -> TestResult {
    let nats = start().await;
    let server = serve(&nats).await.start().await?;
    let client = ProfilesClient::new(nats.client());
    client.save(Save::new("old", "x")).await?;
    client.rename(Save::new("new", "old")).await?;
    let stats = persistence(&server, "rename");
    assert_eq!((stats.persisted, stats.persist_pending), (3, 0));
    assert_eq!(client.get_save_from_kv("user.old").await?, None);
    assert!(client.get_save_from_kv("user.new").await?.is_some());
    let all = operations(&nats, "lists", "all").await;
    assert_eq!(all, [kv::Operation::Delete]);

    // What a call stores is not stale.
    client.rename(Save::new("same", "same")).await?;
    assert!(client.get_save_from_kv("user.same").await?.is_some());
    assert_eq!(nats.revisions("profiles", "user.same").await.len(), 1);
    assert_eq!(persistence(&server, "rename").persisted, 5);
    server.stop().await?;
    Ok(())
}

/// Whatever becomes of the response, the entries are stale.
#[tokio::test]
async fn without_the_store_the_deletions_are_made() -> TestResult {
    let nats = start().await;
    let server = serve(&nats).await.start().await?;
    let client = ProfilesClient::new(nats.client());
    for key in ["old", "same", "large"] {
        client.save(Save::new(key, "x")).await?;
    }
    for (key, text) in [("new", "old"), ("same", "same")] {
        let mut request = Save::new(key, text);
        request.n = 99;
        client.rename(request).await?;
    }
    let result = client.rename(Save::new("other", "large")).await;
    let error = result.err().ok_or("a reply that is too large")?;
    assert_eq!(error.code(), &Code::ResourceExhausted);
    let stats = persistence(&server, "rename");
    assert_eq!((stats.persisted, stats.skipped), (6, 2), "{stats:?}");
    for key in [
        "user.old",
        "user.same",
        "user.large",
        "user.new",
        "user.other",
    ] {
        assert_eq!(client.get_save_from_kv(key).await?, None, "{key}");
    }
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_deleted_is_reported() -> TestResult {
    let nats = start().await;
    let lost: Arc<std::sync::Mutex<Vec<natsmicro::LostWrite>>> = Arc::default();
    let listed = Arc::clone(&lost);
    let server = serve(&nats)
        .await
        .with_persist_timeout(Duration::from_millis(300))
        .on_lost_write(move |write| listed.lock().unwrap().push(write.clone()))
        .start()
        .await?;
    let client = ProfilesClient::new(nats.client());
    nats.js.delete_key_value("profiles").await?;
    client.delete(Save::new("ada", "")).await?;
    let error = client.purge(Save::new("bob", "")).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable);
    assert!(error.message().contains("`profiles`"), "{error}");
    let error = server.stop().await.unwrap_err();
    let mut keys: Vec<_> = error
        .lost_writes()
        .iter()
        .map(|lost| (lost.key.as_str(), lost.operation))
        .collect();
    keys.sort_unstable_by_key(|(key, _)| *key);
    assert_eq!(
        keys,
        [
            ("user.ada", Operation::Delete),
            ("user.bob", Operation::Purge)
        ]
    );
    assert_eq!(lost.lock().unwrap().len(), 2);
    Ok(())
}
