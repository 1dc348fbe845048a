//! Per key, entries are stored and deleted in the order in which the handlers finished.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::kv;
use futures::TryStreamExt;
use natsmicro::Status;
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, persistence};
use prost::Message;

#[natsmicro::service(timeout = "30s")]
pub trait Journal {
    #[kv_store(bucket = "journal", key = "<key>", max_history = 64)]
    async fn save(&self, request: Save) -> Result<Saved, Status>;

    #[kv_delete(bucket = "journal", key = "<key>")]
    async fn delete(&self, request: Save) -> Result<(), Status>;

    #[kv_delete(bucket = "journal", key = "<key>", persist = "before_response")]
    async fn delete_first(&self, request: Save) -> Result<(), Status>;
}

/// What the handlers did to each key: stored a number, or deleted.
type Done = HashMap<String, Vec<Option<u64>>>;

/// Notes what it does as its last act.
///
/// The runtime of these tests has one thread, on which nothing can come between this act and the queue of writes.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Done>>);

impl Service {
    async fn act(&self, key: &str, n: u64, stores: bool) {
        if !n.is_multiple_of(3) {
            tokio::time::sleep(Duration::from_millis(n * 7 % 20)).await;
        }
        let mut done = self.0.lock().unwrap();
        done.entry(key.to_owned())
            .or_default()
            .push(stores.then_some(n));
    }
}

impl Journal for Service {
    async fn save(&self, request: Save) -> Result<Saved, Status> {
        self.act(&request.key, request.n, true).await;
        request.answer()
    }
    async fn delete(&self, request: Save) -> Result<(), Status> {
        self.act(&request.key, request.n, false).await;
        Ok(())
    }
    async fn delete_first(&self, request: Save) -> Result<(), Status> {
        self.act(&request.key, request.n, false).await;
        Ok(())
    }
}

/// What a key of the bucket went through.
async fn history(nats: &Nats, key: &str) -> Vec<Option<u64>> {
    let history = nats.bucket("journal").await.history(key).await.unwrap();
    let entries: Vec<kv::Entry> = history.try_collect().await.unwrap();
    let number = |entry: kv::Entry| match entry.operation {
        kv::Operation::Put => Some(Saved::decode(entry.value).unwrap().n),
        _ => None,
    };
    entries.into_iter().map(number).collect()
}

async fn call(client: &JournalClient, n: u64) -> Result<(), Status> {
    let request = Save::number(format!("key-{}", n % 7), n);
    match n % 5 {
        0..3 => client.save(request).await.map(drop),
        3 => client.delete(request).await,
        _ => client.delete_first(request).await,
    }
}

#[tokio::test]
async fn two_hundred_writers() -> TestResult {
    let nats = Nats::start().await;
    let service = Service::default();
    let server = nats
        .service()
        .await
        .add_service(JournalServer::new(service.clone()))
        .start()
        .await?;
    let client = JournalClient::new(nats.client());
    futures::future::try_join_all((0..700).map(|n| call(&client, n))).await?;
    server.stop().await?;
    for key in 0..7 {
        let key = format!("key-{key}");
        let done = service.0.lock().unwrap()[&key].clone();
        assert_eq!(done.len(), 100);
        // Of which the history keeps 64.
        assert_eq!(history(&nats, &key).await, done[36..], "{key}");
    }
    Ok(())
}

/// The server is restarted while writes are on their way. One may be repeated then, but never after a later one.
#[tokio::test]
async fn across_a_restart() -> TestResult {
    let nats = Nats::start().await;
    let service = Service::default();
    let server = nats
        .service()
        .await
        .add_service(JournalServer::new(service.clone()))
        .start()
        .await?;
    // Longer than the server is away: a deletion that a reply waits for is given up with its call.
    let client = JournalClient::new(nats.client().with_timeout(Duration::from_secs(10)));
    let load = |writer: u64| {
        let client = client.clone();
        async move {
            for round in 0..20 {
                // A call that is cut off may fail; what its handler did is written all the same.
                let _ = call(&client, round * 30 + writer).await;
            }
        }
    };
    let writers: Vec<_> = (0..30).map(|writer| tokio::spawn(load(writer))).collect();
    natsmicro_tests::persistence::eventually("the load is under way", || async {
        (persistence(&server, "delete").persisted > 10).then_some(())
    })
    .await;
    nats.server.restart().await?;
    for writer in writers {
        writer.await?;
    }
    server.stop().await?;
    for key in 0..7 {
        let key = format!("key-{key}");
        let mut done = service.0.lock().unwrap()[&key].clone();
        let mut found = history(&nats, &key).await;
        done.dedup();
        found.dedup();
        assert!(done.ends_with(&found), "{key}: {found:?} of {done:?}");
        assert!(found.len() > 20, "{key}: {found:?}");
    }
    Ok(())
}
