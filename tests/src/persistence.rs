//! What the tests of persistence share: a server, messages, and views of what is really stored.

pub mod load;
pub mod log;
pub mod proxy;
pub mod watching;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, kv, stream};
use bytes::Bytes;
use futures::StreamExt;
use natsmicro::discovery::PersistenceStats;
use natsmicro::testing::NatsServer;
use natsmicro::{RunningServer, Status, StopError};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub type TestResult = Result<(), Box<dyn std::error::Error>>;

/// What a test's service is asked to save.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct Save {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub text: String,
    #[prost(uint64, tag = "3")]
    pub n: u64,
}

/// What it answers, and so what is stored.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
pub struct Saved {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub text: String,
    #[prost(uint64, tag = "3")]
    pub n: u64,
}

impl Save {
    pub fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            text: text.into(),
            n: 0,
        }
    }

    pub fn number(key: impl Into<String>, n: u64) -> Self {
        Self {
            key: key.into(),
            text: String::new(),
            n,
        }
    }

    /// What a handler without a mind of its own answers.
    pub fn saved(self) -> Saved {
        Saved {
            key: self.key,
            text: self.text,
            n: self.n,
        }
    }

    /// As [`saved`](Self::saved), but the text `fail` is a failure.
    pub fn answer(self) -> Result<Saved, Status> {
        if self.text == "fail" {
            return Err(Status::failed_precondition("as asked"));
        }
        Ok(self.saved())
    }
}

/// A nats-server with a connection to it.
pub struct Nats {
    pub server: NatsServer,
    pub nats: async_nats::Client,
    pub js: jetstream::Context,
}

impl Nats {
    pub async fn start() -> Self {
        Self::of(NatsServer::start().await.unwrap()).await
    }

    pub async fn of(server: NatsServer) -> Self {
        let nats = server.connect().await.unwrap();
        let js = jetstream::new(nats.clone());
        Self { server, nats, js }
    }

    /// A server with JetStream on a connection of its own.
    pub async fn service(&self) -> natsmicro::Server {
        let nats = self.server.connect().await.unwrap();
        natsmicro::Server::new(nats.clone()).with_jetstream(jetstream::new(nats))
    }

    /// A client with JetStream on the connection of the test.
    pub fn client(&self) -> natsmicro::Client {
        natsmicro::Client::new(self.nats.clone()).with_jetstream(self.js.clone())
    }

    pub async fn bucket(&self, name: &str) -> kv::Store {
        self.js.get_key_value(name).await.unwrap()
    }

    /// Whether there is a stream of this name.
    pub async fn has_stream(&self, name: &str) -> bool {
        self.js.get_stream(name).await.is_ok()
    }

    pub async fn stream_config(&self, name: &str) -> stream::Config {
        let mut stream = self.js.get_stream(name).await.unwrap();
        stream.info().await.unwrap().config.clone()
    }

    /// All that a key of a bucket holds, oldest first: revision and message.
    pub async fn revisions(&self, bucket: &str, key: &str) -> Vec<(u64, Bytes)> {
        let store = self.bucket(bucket).await;
        let mut history = store.history(key).await.unwrap();
        let mut revisions = Vec::new();
        while let Some(entry) = history.next().await {
            let entry = entry.unwrap();
            revisions.push((entry.revision, entry.value));
        }
        revisions
    }

    /// How many messages the stream holds per subject.
    pub async fn subjects(&self, stream: &str, filter: &str) -> HashMap<String, usize> {
        let stream = self.js.get_stream(stream).await.unwrap();
        let mut pages = stream.info_with_subjects(filter).await.unwrap();
        let mut subjects = HashMap::new();
        while let Some(subject) = pages.next().await {
            let (subject, count) = subject.unwrap();
            subjects.insert(subject, count);
        }
        subjects
    }

    /// The header of the newest message of a subject.
    pub async fn header(&self, stream: &str, subject: &str, name: &str) -> Option<String> {
        let stream = self.js.get_stream(stream).await.unwrap();
        let message = stream.get_last_raw_message_by_subject(subject).await;
        let headers = message.unwrap().headers;
        headers.get(name).map(|value| value.as_str().to_owned())
    }
}

/// What became of the writes of an endpoint.
pub fn persistence(server: &RunningServer, endpoint: &str) -> PersistenceStats {
    let stats = server.stats();
    let mut endpoints = stats.into_iter().flat_map(|service| service.endpoints);
    let endpoint = endpoints.find(|stats| stats.name == endpoint).unwrap();
    endpoint.persistence.unwrap()
}

/// Of writes that replies wait for, only those are lost whose calls have failed.
pub fn check_lost_with_their_calls(stopped: Result<(), StopError>, failed_calls: usize) {
    let Err(error) = stopped else { return };
    assert!(
        error.lost_write_count() <= failed_calls,
        "{} writes are lost, and {failed_calls} calls have failed",
        error.lost_write_count()
    );
    for lost in error.lost_writes() {
        let cause = &lost.cause;
        assert!(
            cause.contains("the end of the call that waited for it"),
            "{cause}"
        );
    }
}

/// Looks again and again, for effects that nothing announces.
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let since = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "it never happens that {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Holds handlers back until it is opened.
#[derive(Default)]
pub struct Gate {
    open: AtomicBool,
    opened: Notify,
    waiting: AtomicUsize,
    arrival: Notify,
}

impl Gate {
    /// Called by a handler: says that it runs, and waits.
    pub async fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.arrival.notify_waiters();
        loop {
            let opened = self.opened.notified();
            if self.open.load(Ordering::SeqCst) {
                return;
            }
            opened.await;
        }
    }

    /// Waits until this many handlers have come to the gate.
    pub async fn reached_by(&self, handlers: usize) {
        loop {
            let arrival = self.arrival.notified();
            if self.waiting.load(Ordering::SeqCst) >= handlers {
                return;
            }
            arrival.await;
        }
    }

    pub fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
        self.opened.notify_waiters();
    }
}
