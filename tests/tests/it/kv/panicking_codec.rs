//! A codec that panics on what somebody else has written.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use natsmicro::store::StoreErrorKind;
use natsmicro::{Codec, CodecError, Origin, Status};
use natsmicro_tests::persistence::{Nats, TestResult};

#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub id: String,
}

fn note(id: &str) -> Note {
    Note { id: id.to_owned() }
}

/// Panics on `boom`.
pub struct Brittle;

impl Codec<Note> for Brittle {
    fn encode(message: &Note) -> Result<Bytes, CodecError> {
        Ok(message.id.clone().into())
    }

    fn decode(payload: Bytes) -> Result<Note, CodecError> {
        assert_ne!(payload, "boom", "planted");
        let id = String::from_utf8(payload.into()).map_err(CodecError::new)?;
        Ok(Note { id })
    }
}

#[natsmicro::service(codec = Brittle)]
pub trait Notes {
    #[kv_store(bucket = "notes", key = "<id>", persist = "before_response")]
    async fn save(&self, request: Note) -> Result<Note, Status>;
}

struct Service;

impl Notes for Service {
    async fn save(&self, request: Note) -> Result<Note, Status> {
        Ok(request)
    }
}

#[tokio::test]
async fn such_a_value_is_undecodable_and_ends_nothing() -> TestResult {
    let nats = Nats::start().await;
    let server = nats.service().await.add_service(NotesServer::new(Service));
    let server = server.start().await?;
    let client = NotesClient::new(nats.client());
    let store = client.save_kv();
    let raw = nats.bucket("notes").await;
    raw.put("loaded", "boom".into()).await?;
    let cache = store.cached().await?;
    let mut watch = store.watch(">").await?;
    let mut next = async || {
        let next = tokio::time::timeout(Duration::from_secs(15), watch.next()).await;
        next.expect("a change").expect("an open watch")
    };
    assert_eq!(next().await.unwrap_err().kind(), &StoreErrorKind::Decode);
    next().await?;

    let odd = raw.put("a", "boom".into()).await?;
    assert_eq!(next().await.unwrap_err().kind(), &StoreErrorKind::Decode);
    let later = store.put("b", &note("fine")).await?;
    next().await?;
    let waited = tokio::time::timeout(Duration::from_secs(15), cache.wait_for(later));
    waited.await.expect("a cache that follows")?;
    assert_eq!(*cache.get("b")?.unwrap(), note("fine"));
    for key in ["loaded", "a"] {
        for error in [
            cache.get(key).unwrap_err(),
            store.get(key).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), &StoreErrorKind::Decode);
            assert_eq!(error.undecodable().unwrap().value, "boom");
        }
    }
    let error = store.entry("a").await.unwrap_err();
    assert_eq!(error.undecodable().unwrap().revision, odd);
    let keys: Vec<_> = store.keys(">").await?.try_collect().await?;
    assert_eq!(keys.len(), 3);

    let called = client.save_cached(note("a")).await?;
    assert_eq!((called.value, called.origin), (note("a"), Origin::Service));
    server.stop().await?;
    Ok(())
}
