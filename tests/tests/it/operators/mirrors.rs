//! A bucket that is a mirror of another one, under another name in the same account: ADR-8 has it read under the keys of its origin, and
//! written to its origin.

use async_nats::jetstream::stream::{Config, Source, SubjectTransform};
use natsmicro::Status;
use natsmicro::store::{BucketPolicy, WatchEvent};
use natsmicro_tests::persistence::watching::next;
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually};

#[natsmicro::service]
pub trait Origin {
    #[kv_store(bucket = "origin", key = "<key>")]
    async fn origin(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service]
pub trait Mirror {
    #[kv_store(bucket = "mirror", key = "<key>", persist = "before_response")]
    async fn mirror(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "mirror",
        key = "<key>",
        persist = "before_response",
        write = "update"
    )]
    async fn change(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Mirror for Echo {
    async fn mirror(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn change(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

async fn check(transforms: Vec<SubjectTransform>) -> TestResult {
    let nats = Nats::start().await;
    // A mirror answers direct reads of its origin too.
    let origin = OriginClient::new(nats.client())
        .origin_kv()
        .with_leader_reads();
    origin.create_bucket().await?;
    let value = |n| Save::number("", n).saved();
    origin.put("a", &value(1)).await?;
    nats.js
        .create_stream(Config {
            name: "KV_mirror".to_owned(),
            mirror: Some(Source {
                name: "KV_origin".to_owned(),
                subject_transforms: transforms,
                ..Source::default()
            }),
            max_messages_per_subject: 1,
            allow_rollup: true,
            allow_direct: true,
            ..Config::default()
        })
        .await?;
    let client = MirrorClient::new(nats.client());
    let mirror = client.mirror_kv();
    eventually("the mirror has the entry", || async {
        mirror.get("a").await.unwrap()
    })
    .await;
    let cache = mirror.cached().await?;
    let mut watch = mirror.watch_all().await?;
    assert!(matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "a"));
    assert!(matches!(next(&mut watch).await?, WatchEvent::EndOfInitial));

    // What is written goes to the origin, with the revisions of the origin.
    let revision = mirror.put("b", &value(2)).await?;
    assert_eq!(origin.entry("b").await?.unwrap().revision, revision);
    cache.wait_for(revision).await?;
    assert_eq!(cache.get("b")?.as_deref(), Some(&value(2)));
    assert!(matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "b"));
    mirror.update("b", &value(3), revision).await?;
    mirror.delete("a").await?;
    assert_eq!(origin.get("a").await?, None);

    let server = nats.service().await;
    let server = server.with_bucket_policy(BucketPolicy::Create);
    let server = server.add_service(MirrorServer::new(Echo)).start().await?;
    client.mirror(Save::number("c", 4)).await?;
    assert_eq!(origin.get("c").await?.map(|it| it.n), Some(4));
    eventually("the mirror has it too", || async {
        mirror.get("c").await.unwrap()
    })
    .await;
    client.change(Save::number("c", 5)).await?;
    assert_eq!(origin.get("c").await?.map(|it| it.n), Some(5));
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn under_the_keys_of_the_origin() -> TestResult {
    check(Vec::new()).await
}

#[tokio::test]
async fn under_keys_of_its_own() -> TestResult {
    check(vec![SubjectTransform {
        source: "$KV.origin.>".to_owned(),
        destination: "$KV.mirror.>".to_owned(),
    }])
    .await
}
