//! An operator does all that the `nats` program can do to a bucket, beside a running service, caches, a watch and readers. After each step
//! all of them are equal to the bucket.
//!
//! Where the program is not there and cannot be installed, the walks say so on the terminal, and check nothing.

mod checks;
mod clusters;
mod complete;
mod entries;
mod fold;
mod objects;
mod program;
mod steps;
mod streams;

use std::any::Any;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use futures::TryStreamExt;
use natsmicro::store::KvCache;
use natsmicro::testing::NatsCluster;
use natsmicro::{KvStore, RunningServer, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, eventually};

use self::fold::Fold;
use self::program::Program;
use self::steps::{Effect, Step, WatchEffect};

/// The values of keys, with their revisions.
type Values = BTreeMap<String, (u64, u64)>;

const STREAM: &str = "KV_notes";
const MAX_AGE: Duration = Duration::from_secs(1);

#[natsmicro::service(codec = "json")]
pub trait Notes {
    #[kv_store(bucket = "notes", key = "later.<key>", max_history = 3)]
    async fn store_later(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "notes",
        key = "first.<key>",
        max_history = 3,
        persist = "before_response"
    )]
    async fn store_first(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "notes", key = "<key>", max_history = 3, client_only)]
    async fn look(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Notes for Echo {
    async fn store_later(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn store_first(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn look(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

struct Walk {
    place: Place,
    program: Program,
    server: RunningServer,
    client: NotesClient,
    store: KvStore<Saved>,
    cache: KvCache<Saved>,
    part: KvCache<Saved>,
    /// The watch; `None` after it has ended, until another one can be opened.
    fold: Option<Fold>,
    /// What the watch has told of keys that have lost their values without a message.
    untold: Values,
    /// How many calls have stored.
    calls: u64,
}

/// The patterns of the caches.
const ALL: &str = ">";
const PART: &str = "a.*";

/// Where a walk is made.
struct Place {
    url: String,
    js: jetstream::Context,
    /// On a connection of its own.
    service: jetstream::Context,
    batches: bool,
    _nats: Box<dyn Any + Send>,
}

impl Place {
    async fn server() -> Self {
        let nats = Nats::start().await;
        Self {
            url: nats.server.url().to_owned(),
            js: nats.js.clone(),
            service: jetstream::new(nats.server.connect().await.unwrap()),
            batches: false,
            _nats: Box::new(nats),
        }
    }

    async fn cluster() -> Self {
        let cluster = NatsCluster::start(3).await.unwrap();
        let connect = async || jetstream::new(cluster.connect().await.unwrap());
        let (js, service) = (connect().await, connect().await);
        Self {
            url: cluster.url().to_owned(),
            js,
            service,
            batches: false,
            _nats: Box::new(cluster),
        }
    }

    fn with_batches(mut self) -> Self {
        self.batches = true;
        self
    }

    fn client(&self) -> natsmicro::Client {
        natsmicro::Client::new(self.js.client()).with_jetstream(self.js.clone())
    }
}

/// Runs a walk from a new bucket, which the operator makes.
async fn walk(steps: &[Step]) {
    walk_at(Place::server().await, "kv add notes --history=3", steps).await;
}

async fn walk_at(place: Place, add: &str, steps: &[Step]) {
    let Some(mut walk) = Walk::start(place, add).await else {
        return;
    };
    let begin = Instant::now();
    for step in steps {
        walk.step(step).await;
    }
    println!("{} steps in {:?}", steps.len(), begin.elapsed());
    // The operator has made some writes of the service impossible, and they are counted; the server ends nevertheless.
    let _ = walk.server.stop().await;
}

impl Walk {
    async fn start(place: Place, add: &str) -> Option<Self> {
        let program = Program::of(&place.url)?;
        let add: Vec<&str> = add.split_whitespace().collect();
        let added = program.read(&add).await;
        assert!(added.is_done, "{}", added.text);
        let service = place.service.clone();
        let server = natsmicro::Server::new(service.client())
            .with_jetstream(service)
            .with_batches(place.batches)
            .add_service(NotesServer::new(Echo));
        let server = server.start().await.unwrap();
        let client = NotesClient::new(place.client());
        // The replicas of a cluster may lag behind.
        let store = client.look_kv().with_leader_reads();
        let cache = store.cached().with_max_age(MAX_AGE).await.unwrap();
        let part = store.cached().with_max_age(MAX_AGE).with_pattern(PART);
        let part = part.await.unwrap();
        let fold = Some(Fold::of(store.watch_all().await.unwrap(), |saved| saved.n));
        Some(Self {
            place,
            program,
            server,
            client,
            store,
            cache,
            part,
            fold,
            untold: Values::new(),
            calls: 0,
        })
    }

    async fn step(&mut self, step: &Step) {
        let walk = std::thread::current().name().unwrap_or_default().to_owned();
        println!("{walk}: {}", step.commands);
        let before = self.bucket().await.unwrap_or_default();
        for command in step.commands.split(" ; ") {
            self.operate(step, command).await;
        }
        let done_at = Instant::now();
        if let Some(key) = step.arrives {
            eventually("the key gets a value", || async {
                let values = self.bucket().await.unwrap();
                values.contains_key(key).then_some(())
            })
            .await;
        }
        if let Some(key) = step.expires {
            eventually("the key loses its value", || async {
                (!self.bucket().await.unwrap().contains_key(key)).then_some(())
            })
            .await;
        }
        for &key in step.untold {
            let lost = before.get(key).or(self.untold.get(key));
            self.untold.insert(key.to_owned(), *lost.unwrap());
        }
        if let WatchEffect::Ends(kind) = &step.watch {
            let fold = self.fold.take().expect("a watch is open");
            let ended = fold.ended().await;
            assert_eq!(ended.kind(), kind, "{}: {ended}", step.commands);
            self.untold.clear();
        }
        match &step.effect {
            Effect::Equal => self.check_equal(step, done_at).await,
            Effect::Fails(kind) => self.check_failing(step, kind).await,
        }
    }

    async fn operate(&self, step: &Step, command: &str) {
        let consumers = match command.contains("@consumer") {
            true => self.consumers().await,
            false => vec![String::new()],
        };
        for consumer in consumers {
            let arguments = self.arguments(command, &consumer).await;
            if is_endless(command) {
                self.program.run_until(&arguments, step.prints).await;
                continue;
            }
            let answer = self.program.run(&arguments).await;
            let text = answer.text;
            // A cache that is loaded again has another one.
            let is_gone = ["unknown consumer", "consumer not found"].map(|it| text.contains(it));
            if !consumer.is_empty() && is_gone.contains(&true) {
                continue;
            }
            assert_eq!(answer.is_done, !step.is_refused, "{arguments:?}: {text}");
            assert!(text.contains(step.prints), "{arguments:?}: {text}");
        }
    }

    async fn arguments(&self, command: &str, consumer: &str) -> Vec<String> {
        let mut arguments = Vec::new();
        for word in command.split_whitespace() {
            arguments.push(if let Some(n) = word.strip_prefix('{') {
                let n = n.strip_suffix('}').unwrap().parse().unwrap();
                serde_json::to_string(&Save::number("", n).saved()).unwrap()
            } else if word == "@consumer" {
                consumer.to_owned()
            } else if word == "@leader" {
                let stream = self.place.js.get_stream(STREAM).await.unwrap();
                let cluster = stream.cached_info().cluster.clone();
                cluster.unwrap().leader.unwrap()
            } else if let Some(key) = word.strip_prefix("@first:") {
                self.revisions(key).await.first().unwrap().to_string()
            } else if let Some(key) = word.strip_prefix('@') {
                self.revisions(key).await.last().unwrap().to_string()
            } else {
                word.to_owned()
            });
        }
        arguments
    }

    async fn revisions(&self, key: &str) -> Vec<u64> {
        let bucket = self.place.js.get_key_value("notes").await.unwrap();
        let history = bucket.history(key).await.unwrap();
        history
            .map_ok(|entry| entry.revision)
            .try_collect()
            .await
            .unwrap()
    }

    /// The consumers of caches and watches. Those of readers that have ended are deleted soon.
    async fn consumers(&self) -> Vec<String> {
        let stream = self.place.js.get_stream(STREAM).await.unwrap();
        let names =
            async || -> Vec<String> { stream.consumer_names().try_collect().await.unwrap() };
        let before = names().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut lasting = names().await;
        lasting.retain(|name| before.contains(name));
        lasting
    }

    /// What the bucket has, without natsmicro; `None` if there is no bucket.
    async fn bucket(&self) -> Option<Values> {
        let stream = self.place.js.get_stream(STREAM).await.ok()?;
        let prefix = prefix(stream.cached_info());
        let subjects = stream.info_with_subjects(format!("{prefix}>")).await;
        let subjects: Vec<_> = subjects.unwrap().try_collect().await.unwrap();
        let mut values = Values::new();
        for (subject, _) in subjects {
            // It may expire meanwhile.
            let Ok(message) = stream.get_last_raw_message_by_subject(&subject).await else {
                continue;
            };
            let is_marker = ["KV-Operation", "Nats-Marker-Reason"]
                .iter()
                .any(|name| message.headers.get(*name).is_some());
            if !is_marker {
                let value: Saved = serde_json::from_slice(&message.payload).unwrap();
                let key = subject.strip_prefix(&prefix).unwrap().to_owned();
                values.insert(key, (message.sequence, value.n));
            }
        }
        Some(values)
    }
}

/// The start of the subjects of the messages of a bucket: a mirror keeps those of its origin.
fn prefix(info: &stream::Info) -> String {
    let mirror = info.config.mirror.as_ref();
    let bucket = mirror.map_or("KV_notes", |mirror| &mirror.name);
    format!("$KV.{}.", bucket.strip_prefix("KV_").unwrap())
}

/// Whether a command goes on until it is interrupted.
fn is_endless(command: &str) -> bool {
    command.contains(" watch ") || command.contains(" graph ")
}
