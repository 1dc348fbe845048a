//! Small objects, which are read with one request: that they are, and what happens if its answer is not as it should be.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{self, object_store};
use async_nats::{Client, Message};
use futures::StreamExt;
use natsmicro::store::StoreErrorKind;
use natsmicro::testing::NatsServer;
use natsmicro::{ObjectStore, Status};
use natsmicro_tests::persistence::proxy::Proxy;
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::task::AbortHandle;

#[natsmicro::service]
pub trait Reports {
    #[object_store(bucket = "reports", key = "report.<key>", client_only)]
    async fn report(&self, request: Save) -> Result<Saved, Status>;
}

const CHUNK: usize = 128 * 1024;
const BATCH: &str = "DIRECT.GET.OBJ_reports";
const META: &str = "STREAM.MSG.GET.OBJ_reports";
const CONSUMER: &str = "CONSUMER.CREATE";

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

async fn create(nats: &Nats) {
    let config = object_store::Config {
        bucket: "reports".to_owned(),
        ..object_store::Config::default()
    };
    nats.js.create_object_store(config).await.unwrap();
}

fn store(client: natsmicro::Client) -> ObjectStore<Saved> {
    ReportsClient::new(client).report_object_store()
}

async fn read(store: &ObjectStore<Saved>, name: &str) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    let mut reader = store.reader(name).await.unwrap().unwrap();
    reader.read_to_end(&mut data).await?;
    Ok(data)
}

/// What happens to a request for a batch.
#[derive(Clone, Copy)]
enum Fault {
    None,
    Silence,
    /// It is another request.
    Changed(fn(&mut Value)),
    /// Of the answers only these arrive.
    Only(&'static [usize]),
}

/// Stands between a client and JetStream, and writes down what is asked.
struct Peer {
    asked: Arc<Mutex<Vec<String>>>,
    fault: Arc<Mutex<Fault>>,
    task: AbortHandle,
}

impl Peer {
    async fn start(server: &NatsServer) -> Self {
        let nats = server.connect().await.unwrap();
        let mut requests = nats.subscribe("PEER.>").await.unwrap();
        // The server has seen the subscription.
        nats.request("$JS.API.INFO", "".into()).await.unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let fault = Arc::new(Mutex::new(Fault::None));
        let (client, seen, now) = (nats.clone(), asked.clone(), fault.clone());
        let task = tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                let subject = request.subject.strip_prefix("PEER.").unwrap().to_owned();
                let payload = String::from_utf8_lossy(&request.payload);
                seen.lock().unwrap().push(format!("{subject} {payload}"));
                let fault = *now.lock().unwrap();
                if subject == BATCH {
                    disturb(&client, request, fault).await;
                } else {
                    forward(&client, &subject, request).await;
                }
            }
        });
        Self {
            asked,
            fault,
            task: task.abort_handle(),
        }
    }

    /// A bucket on a connection, as seen through the peer.
    fn store(&self, nats: &Client) -> ObjectStore<Saved> {
        let jetstream = jetstream::with_prefix(nats.clone(), "PEER");
        store(natsmicro::Client::new(nats.clone()).with_jetstream(jetstream))
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// How many bytes the last batch may have.
    fn limit(&self) -> Option<u64> {
        let asked = self.asked.lock().unwrap();
        let batch = asked
            .iter()
            .rev()
            .find_map(|asked| asked.strip_prefix(BATCH))?;
        let ask: Value = serde_json::from_str(batch).unwrap();
        ask["max_bytes"].as_u64()
    }

    /// What it was asked for since the last time.
    fn requests(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let subject = |asked: String| asked.split(' ').next().unwrap().to_owned();
        asked.into_iter().map(subject).collect()
    }

    /// How often it was asked for batches and for consumers since the last time.
    fn count(&self) -> (usize, usize) {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let count = |what: &str| asked.iter().filter(|asked| asked.starts_with(what)).count();
        (count(BATCH), count(CONSUMER))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(nats: &Client, subject: &str, request: Message) {
    let subject = match subject.starts_with("$O.") {
        true => subject.to_owned(),
        false => format!("$JS.API.{subject}"),
    };
    let reply = request.reply.unwrap();
    let headers = request.headers.unwrap_or_default();
    let sent = nats.publish_with_reply_and_headers(subject, reply, headers, request.payload);
    sent.await.unwrap();
}

async fn disturb(nats: &Client, mut request: Message, fault: Fault) {
    match fault {
        Fault::None => forward(nats, BATCH, request).await,
        Fault::Silence => {}
        Fault::Changed(change) => {
            let mut ask: Value = serde_json::from_slice(&request.payload).unwrap();
            change(&mut ask);
            request.payload = ask.to_string().into();
            forward(nats, BATCH, request).await;
        }
        Fault::Only(which) => {
            let to = request.reply.replace(nats.new_inbox().into()).unwrap();
            let inbox = request.reply.clone().unwrap();
            let mut answers = nats.subscribe(inbox).await.unwrap();
            forward(nats, BATCH, request).await;
            let mut number = 0;
            while let Some(answer) = answers.next().await.filter(|one| one.status.is_none()) {
                if which.contains(&number) {
                    let headers = answer.headers.unwrap();
                    let sent = nats.publish_with_headers(to.clone(), headers, answer.payload);
                    sent.await.unwrap();
                }
                number += 1;
            }
        }
    }
}

#[tokio::test]
async fn a_small_object_takes_no_consumer() -> TestResult {
    let nats = Nats::start().await;
    create(&nats).await;
    let peer = Peer::start(&nats.server).await;
    let store = peer.store(&nats.nats);
    for length in [1, CHUNK, CHUNK + 1, 32 * CHUNK] {
        let data = bytes(length);
        store.put_from("a", &data[..]).await?;
        assert!(read(&store, "a").await? == data, "{length}");
        assert_eq!(peer.count(), (1, 0), "{length}");
    }
    let report = Save::new("a", "x".repeat(3 * CHUNK)).saved();
    store.put("a", &report).await?;
    assert_eq!(store.get("a").await?, Some(report));
    assert_eq!(peer.count(), (1, 0));
    // One request for the metadata, and one for the chunks.
    assert!(store.get("a").await?.is_some());
    assert_eq!(peer.requests(), [META, BATCH]);
    // Without chunks there is nothing to ask for.
    store.put_from("a", &b""[..]).await?;
    assert!(read(&store, "a").await?.is_empty());
    assert_eq!(peer.count(), (0, 0));

    // Larger ones are not asked for at once.
    for (length, chunk_size) in [(33 * CHUNK, CHUNK), (33, 1), ((4 << 20) + 1, 1_000_000)] {
        let data = bytes(length);
        let put = store.put_from("a", &data[..]);
        put.with_chunk_size(chunk_size).await?;
        assert!(read(&store, "a").await? == data, "{length}");
        assert_eq!(peer.count(), (0, 1), "{length}");
    }
    Ok(())
}

#[tokio::test]
async fn a_batch_that_is_not_complete() -> TestResult {
    let nats = Nats::start().await;
    create(&nats).await;
    let data = bytes(5 * CHUNK + 7);
    let other = store(nats.client());
    other.put_from("other", &data[..]).await?;
    other.put_from("a", &data[..]).await?;
    let peer = Peer::start(&nats.server).await;
    // Whether the bucket is asked for a batch the next time.
    for (what, again, fault) in [
        ("silence", false, Fault::Silence),
        ("of the middle", false, Fault::Only(&[0, 1])),
        ("the first is lost", true, Fault::Only(&[1, 2, 3, 4, 5])),
        ("one is lost", true, Fault::Only(&[0, 1, 2, 4, 5])),
        (
            "repeated",
            true,
            Fault::Changed(|ask| ask["seq"] = 9.into()),
        ),
        (
            "too short",
            true,
            Fault::Changed(|ask| ask["batch"] = 2.into()),
        ),
        (
            "full",
            true,
            Fault::Changed(|ask| ask["max_bytes"] = 1.into()),
        ),
        ("refused", true, Fault::Changed(|ask| *ask = "odd".into())),
        (
            "not found",
            true,
            Fault::Changed(|ask| ask["next_by_subj"] = "$O.reports.C.x".into()),
        ),
        (
            "an old server",
            false,
            Fault::Changed(|ask| {
                ask.as_object_mut().unwrap().remove("batch");
            }),
        ),
    ] {
        let store = peer.store(&nats.nats);
        peer.set(fault);
        assert!(read(&store, "a").await? == data, "{what}");
        assert_eq!(peer.count(), (1, 1), "{what}");
        peer.set(Fault::None);
        assert!(read(&store, "a").await? == data, "{what}");
        let expected = if again { (1, 0) } else { (0, 1) };
        assert_eq!(peer.count(), expected, "{what}");
    }
    Ok(())
}

/// After a silence too, batches are asked for on the next connection.
#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle() -> TestResult {
    let nats = Nats::start().await;
    create(&nats).await;
    let data = bytes(5 * CHUNK);
    store(nats.client()).put_from("a", &data[..]).await?;
    let proxy = Proxy::start(&nats.server).await;
    let cut_off = proxy.connect().await;
    let peer = Peer::start(&nats.server).await;
    let store = peer.store(&cut_off);
    peer.set(Fault::Silence);
    assert!(read(&store, "a").await? == data);
    assert_eq!(peer.count(), (1, 1));
    proxy.cut();
    eventually("the connection is there again", async || {
        let connects = cut_off.statistics().connects.load(Ordering::Relaxed);
        (connects == 2).then_some(())
    })
    .await;
    peer.set(Fault::Only(&[0, 1]));
    let mut reader = store.reader("a").await?.unwrap();
    assert_eq!(peer.count(), (1, 0));
    let mut read = vec![0; CHUNK];
    reader.read_exact(&mut read).await?;
    proxy.cut();
    reader.read_to_end(&mut read).await?;
    assert!(read == data);
    assert_eq!(peer.count().1, 1);
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_directly() -> TestResult {
    let nats = Nats::start().await;
    create(&nats).await;
    let data = bytes(5 * CHUNK);
    let peer = Peer::start(&nats.server).await;
    let opened = store(nats.client());
    opened.put_from("a", &data[..]).await?;
    assert!(read(&opened, "a").await? == data);
    let mut config = nats.stream_config("OBJ_reports").await;
    config.allow_direct = false;
    nats.js.update_stream(&config).await?;
    // Nobody responds now.
    assert!(read(&opened, "a").await? == data);
    assert!(read(&peer.store(&nats.nats), "a").await? == data);
    assert_eq!(peer.count(), (0, 1));
    Ok(())
}

#[tokio::test]
async fn an_account_that_may_not_ask() -> TestResult {
    let server = NatsServer::builder()
        .config(
            r#"authorization { users: [
                { user: all, password: x }
                { user: some, password: x, permissions: { publish: { deny: "$JS.API.DIRECT.GET.OBJ_reports" } } }
            ] }"#,
        )
        .start()
        .await?;
    let options =
        |user: &str| async_nats::ConnectOptions::with_user_and_password(user.into(), "x".into());
    let all = server.connect_with(options("all")).await?;
    let some = server.connect_with(options("some")).await?;
    let js = jetstream::new(all.clone());
    let nats = Nats {
        server,
        nats: all,
        js,
    };
    create(&nats).await;
    let data = bytes(5 * CHUNK);
    store(nats.client()).put_from("a", &data[..]).await?;
    let client = natsmicro::Client::new(some.clone()).with_jetstream(jetstream::new(some));
    let store = store(client.with_timeout(Duration::from_secs(4)));
    assert!(read(&store, "a").await? == data);
    assert!(nats.server.log().contains("$JS.API.DIRECT.GET.OBJ_reports"));
    assert!(read(&store, "a").await? == data);
    Ok(())
}

/// Nobody is sent more than the metadata announces.
#[tokio::test]
async fn metadata_that_lies() -> TestResult {
    let nats = Nats::start().await;
    create(&nats).await;
    let peer = Peer::start(&nats.server).await;
    let store = peer.store(&nats.nats);
    for _ in 0..30 {
        let chunk = nats.js.publish("$O.reports.C.id", bytes(1 << 19).into());
        chunk.await?.await?;
    }
    for (size, chunks, asked) in [
        (10, 30, (1, 0)),
        (0, 1, (1, 0)),
        (0, 1_000_000_000, (0, 4)),
        (usize::MAX, usize::MAX, (0, 4)),
        (usize::MAX, 1, (0, 1)),
        (1 << 19, 2, (1, 0)),
        (1 << 20, 1, (1, 0)),
        (1 << 22, 32, (4, 4)),
    ] {
        let meta = serde_json::json!({
            "name": "a", "bucket": "reports", "nuid": "id", "size": size, "chunks": chunks,
        });
        let meta = nats
            .js
            .publish("$O.reports.M.YQ==", meta.to_string().into());
        meta.await?.await?;
        let error = store.get("a").await.unwrap_err();
        assert_eq!(*error.kind(), StoreErrorKind::Incomplete, "{size} {chunks}");
        // Some room for what is not payload.
        let limit = size.saturating_add(chunks.min(32) * 4096) as u64;
        assert!(peer.limit().is_none_or(|asked| asked <= limit));
        assert_eq!(peer.count(), asked, "{size} {chunks}");
    }
    Ok(())
}
