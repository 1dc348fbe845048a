//! Objects whose metadata another client has written, and nobody can read.

use natsmicro::store::StoreErrorKind;
use natsmicro::{ObjectStore, Result, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually};

/// The subject of the metadata of object `a`.
const META: &str = "$O.unreadable.M.YQ==";

/// One is no JSON; one tells at least which chunks it has; one is an entry of another kind.
const UNREADABLE: [&str; 3] = ["no metadata", r#"{"nuid": "CHUNKS"}"#, "[]"];

#[natsmicro::service]
pub trait Unreadable {
    #[object_store(bucket = "unreadable", key = "<key>", client_only)]
    async fn object(&self, request: Save) -> Result<Saved, Status>;
}

async fn with_unreadable(
    nats: &Nats,
    store: &ObjectStore<Saved>,
    meta: &'static str,
) -> TestResult {
    nats.js
        .publish("$O.unreadable.C.CHUNKS", "chunk".into())
        .await?
        .await?;
    nats.js.publish(META, meta.into()).await?.await?;
    let error = store.get("a").await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::Decode);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_read_can_be_replaced_and_deleted() -> TestResult {
    let nats = Nats::start().await;
    let store = UnreadableClient::new(nats.client()).object_object_store();
    store.create_bucket().await?;
    for meta in UNREADABLE {
        with_unreadable(&nats, &store, meta).await?;
        let value = Save::new("", meta).saved();
        store.put("a", &value).await?;
        assert_eq!(store.get("a").await?, Some(value));

        with_unreadable(&nats, &store, meta).await?;
        store.put_from("a", &b"bytes"[..]).await?;
        assert_eq!(store.info("a").await?.unwrap().size, 5);

        with_unreadable(&nats, &store, meta).await?;
        store.delete("a").await?;
        assert_eq!(store.get("a").await?, None);
    }
    Ok(())
}

#[tokio::test]
async fn the_chunks_of_what_cannot_be_read_are_removed_where_they_are_known() -> TestResult {
    let nats = Nats::start().await;
    let store = UnreadableClient::new(nats.client()).object_object_store();
    store.create_bucket().await?;
    let [_, known, _] = UNREADABLE;
    with_unreadable(&nats, &store, known).await?;
    store.delete("a").await?;
    eventually("the chunks are removed", || async {
        let chunks = nats.subjects("OBJ_unreadable", "$O.unreadable.C.>").await;
        chunks.is_empty().then_some(())
    })
    .await;
    Ok(())
}
