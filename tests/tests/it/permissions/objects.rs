//! The clients of Object Stores: reading, listing and writing, and responses that are too large for a reply.

use futures::{StreamExt, TryStreamExt};
use natsmicro::__private::permissions::{CALLER, Names, OBJECT_READ, OBJECT_WATCH, OBJECT_WRITE};
use natsmicro::store::WatchEvent;
use natsmicro::{Client, Code, ObjectStore};
use natsmicro_tests::common::{TestResult, Text, soon, text};
use tokio::io::AsyncReadExt;

use super::trial::{Run, Trial, outcome};
use super::writes::{Impl, REPORTS, ReportsClient, ReportsServer, make_buckets};

/// Too large to be read at once.
const LARGE: usize = 5 << 20;
/// Too large for a reply, and read at once.
const SMALL: usize = 2 << 20;

fn bucket(run: &Run) -> ObjectStore<Text> {
    ReportsClient::new(run.client()).report_object_store()
}

async fn filled(trial: &Trial) {
    make_buckets(trial).await;
    let nats = trial.admin().await;
    let client = Client::new(nats.clone()).with_jetstream(async_nats::jetstream::new(nats));
    let store = ReportsClient::new(client).report_object_store();
    for (name, size) in [("small", SMALL), ("large", LARGE)] {
        store.put(name, &text("x".repeat(size))).await.unwrap();
    }
}

#[tokio::test]
async fn reading_objects() {
    let trial = Trial::of(&[OBJECT_READ], REPORTS).await;
    filled(&trial).await;
    let read = async |run: &Run| {
        outcome(
            async {
                let store = bucket(run);
                assert!(store.info("small").await?.is_some());
                for (name, size) in [("small", SMALL), ("large", LARGE)] {
                    let object = store.get(name).await?.unwrap();
                    assert_eq!(object.text.len(), size);
                }
                let mut bytes = Vec::new();
                let mut reader = store.reader("large").await?.unwrap();
                reader.read_to_end(&mut bytes).await.unwrap();
                assert!(bytes.len() > LARGE);
                Ok(())
            }
            .await,
        )
    };
    trial.run(read).await;
    for lacking in [
        "<api>.STREAM.MSG.GET.OBJ_<bucket>",
        "<api>.CONSUMER.MSG.NEXT.OBJ_<bucket>.*",
    ] {
        trial.run_untold(lacking, read).await;
    }
}

#[tokio::test]
async fn listing_objects() {
    let trial = Trial::of(&[OBJECT_WATCH], REPORTS).await;
    filled(&trial).await;
    let list = async |run: &Run| {
        outcome(
            async {
                let store = bucket(run);
                let objects: Vec<_> = store.list().await?.try_collect().await?;
                assert_eq!(objects.len(), 2);
                let mut watch = store.watch().await?;
                while soon(watch.next()).await.unwrap()? != WatchEvent::EndOfInitial {}
                Ok(())
            }
            .await,
        )
    };
    trial.run(list).await;
    trial
        .run_untold("<api>.CONSUMER.CREATE.OBJ_<bucket>.*.$O.<bucket>.M.>", list)
        .await;
}

#[tokio::test]
async fn writing_objects() {
    let trial = Trial::of(&[OBJECT_WRITE], REPORTS).await;
    filled(&trial).await;
    let write = async |run: &Run| {
        outcome(
            async {
                let store = bucket(run);
                store.put("new", &text("one")).await?;
                store.put_from("new", &b"two"[..]).await?;
                store.delete("new").await
            }
            .await,
        )
    };
    trial.run(write).await;
    for lacking in ["$O.<bucket>.C.>", "<api>.STREAM.MSG.GET.OBJ_<bucket>"] {
        trial.run_untold(lacking, write).await;
    }
}

/// A claim check: the reply refers to an object, which the caller fetches.
#[tokio::test]
async fn fetching_responses_that_are_too_large_for_a_reply() -> TestResult {
    const CALLER_OF_REPORTS: Names<'static> = Names {
        peer_inbox: "_INBOX",
        ..REPORTS
    };
    let trial = Trial::of(&[CALLER, OBJECT_READ], CALLER_OF_REPORTS).await;
    let nats = trial.admin().await;
    let service = natsmicro::Server::new(nats.clone())
        .with_jetstream(async_nats::jetstream::new(nats))
        .add_service(ReportsServer::new(Impl))
        .start()
        .await?;
    let call = async |run: &Run| {
        let client = ReportsClient::new(run.client());
        for size in [SMALL, LARGE] {
            match client.report(text(size.to_string())).await {
                Ok(report) => assert_eq!(report.text.len(), size),
                Err(status) => {
                    if status.message().contains("does not permit") {
                        assert_eq!(*status.code(), Code::PermissionDenied, "{status}");
                    }
                    return Err(status.to_string());
                }
            }
        }
        Ok(())
    };
    trial.run(call).await;
    trial
        .run_untold("<api>.STREAM.INFO.OBJ_<bucket>", call)
        .await;
    service.stop().await?;
    Ok(())
}
