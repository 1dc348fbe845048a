//! A bucket on a leaf node that has the name of one of the hub.

use async_nats::jetstream;
use natsmicro_tests::persistence::{Save, TestResult, eventually};

use crate::ways::{Echo, PicturesClient, PicturesServer, Way, setups};

const MAPPING: &str = "mappings = { \"$JS.hub.API.$O.>\": \"$O.>\" }";

/// Clients of the bucket of the leaf node.
fn near(way: &Way) -> PicturesClient {
    let context = jetstream::new(way.nats.clone());
    let client = natsmicro::Client::new(way.nats.clone()).with_jetstream(context);
    PicturesClient::new(client)
}

async fn messages(context: &jetstream::Context) -> u64 {
    let mut stream = context.get_stream("OBJ_pictures").await.unwrap();
    stream.info().await.unwrap().state.messages
}

/// Nothing is stored in both.
#[tokio::test]
async fn objects_are_stored_in_one_bucket_alone() -> TestResult {
    for mapping in ["", MAPPING] {
        let (way, _hub) = setups::hub_beside_leaf(mapping).await;
        let leaf = jetstream::new(way.nats.clone());
        near(&way).paint_object_store().create_bucket().await?;
        let store = way.pictures().paint_object_store();
        store.create_bucket().await?;
        let value = Save::new("", "text").saved();
        let stored = store.put("a", &value).await;
        let server = way.server().add_service(PicturesServer::new(Echo));
        let server = server.start().await?;
        let painted = way.pictures().paint(Save::new("b", "text")).await;
        if mapping.is_empty() {
            let error = stored.unwrap_err().to_string();
            assert!(error.contains("$JS.hub.API.$O.pictures."), "{error}");
            let status = painted.unwrap_err();
            assert_eq!(status.code(), &natsmicro::Code::Unavailable, "{status}");
            assert_eq!(messages(&way.home).await, 0);
        } else {
            stored?;
            painted?;
            assert_eq!(store.get("a").await?, Some(value));
            assert_eq!(messages(&way.home).await, 4);
        }
        assert_eq!(messages(&leaf).await, 0);
        let _ = server.stop().await;
    }
    Ok(())
}

/// Also if the other bucket is made while the first one is in use.
#[tokio::test]
async fn a_bucket_that_is_made_later_is_noticed() -> TestResult {
    let (way, _hub) = setups::hub_beside_leaf(MAPPING).await;
    let leaf = jetstream::new(way.nats.clone());
    let store = way.pictures().paint_object_store();
    store.create_bucket().await?;
    let value = Save::new("", "text").saved();
    store.put("a", &value).await?;
    near(&way).paint_object_store().create_bucket().await?;
    eventually("no more is stored on the leaf node", || async {
        let before = messages(&leaf).await;
        store.put("b", &value).await.unwrap();
        (messages(&leaf).await == before).then_some(())
    })
    .await;
    Ok(())
}

/// Entries of the hub go below the prefix of its domain in any case.
#[tokio::test]
async fn entries_are_stored_in_one_bucket_alone() -> TestResult {
    let (way, _hub) = setups::hub_beside_leaf("").await;
    let leaf = jetstream::new(way.nats.clone());
    let client = natsmicro::Client::new(way.nats.clone()).with_jetstream(leaf.clone());
    let near = crate::ways::GoodsClient::new(client).put_kv();
    near.create_bucket().await?;
    let far = way.goods().put_kv();
    far.create_bucket().await?;
    far.put("a", &Save::number("", 1).saved()).await?;
    near.put("b", &Save::number("", 2).saved()).await?;
    assert_eq!(near.get("a").await?, None);
    assert_eq!(far.get("b").await?, None);
    Ok(())
}
