//! Mirrors on a leaf node of buckets of its hub: read where they are, written to their origin.

use async_nats::jetstream::stream::{Config, External, Source};
use async_nats::jetstream::{self, Context};
use natsmicro::store::{StoreErrorKind, WatchEvent};
use natsmicro::{Client, Server, StartErrorKind};
use natsmicro_tests::persistence::watching::next;
use natsmicro_tests::persistence::{Save, TestResult, eventually};

use crate::ways::{Echo, GoodsClient, GoodsServer, PicturesClient, PicturesServer, Way, setups};

async fn mirror(leaf: &Context, stream: &str, origin: &str) {
    let config = Config {
        name: stream.to_owned(),
        mirror: Some(Source {
            name: origin.to_owned(),
            external: Some(External {
                api_prefix: "$JS.hub.API".to_owned(),
                delivery_prefix: None,
            }),
            ..Source::default()
        }),
        max_messages_per_subject: i64::from(stream.starts_with("KV_")),
        allow_direct: true,
        allow_message_ttl: true,
        ..Config::default()
    };
    leaf.create_stream(config).await.unwrap();
}

/// The hub and the leaf node, and what uses the leaf node without the domain.
async fn leaf() -> (Way, Context, Client, Server) {
    let (way, _) = setups::hub_beside_leaf("").await;
    let leaf = jetstream::new(way.nats.clone());
    let client = Client::new(way.nats.clone()).with_jetstream(leaf.clone());
    let server = Server::new(way.nats.clone()).with_jetstream(leaf.clone());
    (way, leaf, client, server)
}

#[tokio::test]
async fn entries_are_read_on_the_leaf_and_written_to_the_hub() -> TestResult {
    let (way, leaf, client, server) = leaf().await;
    let origin = way.goods().put_kv();
    origin.create_bucket().await?;
    let value = |n| Save::number("", n).saved();
    origin.put("a", &value(1)).await?;
    mirror(&leaf, "KV_goods", "KV_goods").await;
    let client = GoodsClient::new(client);
    let store = client.put_kv();
    eventually("the mirror has the entry", || async {
        store.get("a").await.unwrap()
    })
    .await;
    let cache = store.cached().await?;
    let mut watch = store.watch_all().await?;
    assert!(matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "a"));
    assert!(matches!(next(&mut watch).await?, WatchEvent::EndOfInitial));

    let revision = store.put("b", &value(2)).await?;
    assert_eq!(origin.entry("b").await?.unwrap().revision, revision);
    cache.wait_for(revision).await?;
    assert_eq!(cache.get("b")?.as_deref(), Some(&value(2)));
    assert!(matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "b"));
    let revision = store.update("b", &value(3), revision).await?;
    let stale = store.update("b", &value(3), revision - 1).await;
    assert_eq!(*stale.unwrap_err().kind(), StoreErrorKind::WrongRevision);
    store.create("c", &value(4)).await?;
    store.delete("a").await?;
    assert_eq!(origin.get("a").await?, None);

    let brief = store
        .clone()
        .with_key_ttl(std::time::Duration::from_secs(1));
    brief.put("brief", &value(5)).await?;
    eventually("the entry is gone from the mirror too", || async {
        let origin = origin.get("brief").await.unwrap();
        (origin.is_none() && store.get("brief").await.unwrap().is_none()).then_some(())
    })
    .await;

    let server = server.add_service(GoodsServer::new(Echo)).start().await?;
    client.put(Save::number("d", 6)).await?;
    assert_eq!(origin.get("d").await?.map(|it| it.n), Some(6));
    eventually("the mirror has it too", || async {
        store.get("d").await.unwrap()
    })
    .await;
    client.update(Save::number("d", 7)).await?;
    assert_eq!(origin.get("d").await?.map(|it| it.n), Some(7));
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn objects_are_read_on_the_leaf_and_not_written() -> TestResult {
    let (way, leaf, client, server) = leaf().await;
    let origin = way.pictures().paint_object_store();
    origin.create_bucket().await?;
    let value = Save::new("", "text").saved();
    origin.put("a", &value).await?;
    mirror(&leaf, "OBJ_pictures", "OBJ_pictures").await;
    let store = PicturesClient::new(client).paint_object_store();
    eventually("the mirror has the object", || async {
        store.get("a").await.ok().flatten()
    })
    .await;
    let mut watch = store.watch().await?;
    assert!(matches!(next(&mut watch).await?, WatchEvent::Entry(entry) if entry.key == "a"));
    for error in [
        store.put("b", &value).await.unwrap_err(),
        store.delete("a").await.unwrap_err(),
    ] {
        assert_eq!(*error.kind(), StoreErrorKind::Unsupported, "{error}");
    }
    assert!(origin.get("a").await?.is_some());
    assert!(origin.get("b").await?.is_none());
    let server = server.add_service(PicturesServer::new(Echo));
    let error = server.start().await.unwrap_err();
    assert_eq!(*error.kind(), StartErrorKind::BucketMismatch, "{error}");
    Ok(())
}
