//! Walks through `nats object`, beside a service that stores objects, a watch and lists.

use std::collections::BTreeMap;

use async_nats::jetstream::object_store;
use futures::TryStreamExt;
use natsmicro::store::StoreErrorKind::{BucketNotFound, Incomplete};
use natsmicro::store::{ObjectInfo, StoreError, StoreErrorKind};
use natsmicro::{Code, ObjectStore, RunningServer, Status};
use natsmicro_tests::persistence::{Nats, Save, Saved, eventually};
use tokio::io::AsyncReadExt;

use super::checks::reads_through;
use super::fold::Fold;
use super::program::Program;
use super::steps::{Effect, Service, Step, WatchEffect, done, refused};
use super::{Values, is_endless};

const STREAM: &str = "OBJ_files";
const METADATA: &str = "$O.files.M.";

#[natsmicro::service(codec = "json")]
pub trait Files {
    #[object_store(bucket = "files", key = "later.<key>")]
    async fn store_later(&self, request: Save) -> Result<Saved, Status>;

    #[object_store(bucket = "files", key = "first.<key>", persist = "before_response")]
    async fn store_first(&self, request: Save) -> Result<Saved, Status>;

    #[object_store(bucket = "files", key = "<key>", client_only)]
    async fn look(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Files for Echo {
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

/// What the bucket has for a name: the revision of its metadata, its size, and the number in it, `None` if its bytes are not there.
type Objects = BTreeMap<String, (u64, u64, Option<u64>)>;

struct Walk {
    nats: Nats,
    program: Program,
    server: RunningServer,
    client: FilesClient,
    store: ObjectStore<Saved>,
    fold: Option<Fold>,
    untold: Values,
    calls: u64,
}

/// Runs a walk from a new bucket. The operator has files with the names of the numbers in them, from 1 to 9.
async fn walk(steps: &[Step]) {
    let Some(mut walk) = Walk::start().await else {
        return;
    };
    for step in steps {
        walk.step(step).await;
    }
    let _ = walk.server.stop().await;
}

fn follow(watch: natsmicro::store::Watch<ObjectInfo>) -> Option<Fold> {
    Some(Fold::of(watch, |info| info.size))
}

impl Walk {
    async fn start() -> Option<Self> {
        let nats = Nats::start().await;
        let program = Program::of(nats.server.url())?;
        for n in 1..10 {
            let file = program.directory().join(n.to_string());
            let text = "x".repeat(usize::try_from(n).unwrap());
            let saved = Saved {
                key: String::new(),
                text,
                n,
            };
            std::fs::write(file, serde_json::to_string(&saved).unwrap()).unwrap();
        }
        let added = program.read(&["object", "add", "files"]).await;
        assert!(added.is_done, "{}", added.text);
        let server = nats.service().await.add_service(FilesServer::new(Echo));
        let server = server.start().await.unwrap();
        let client = FilesClient::new(nats.client());
        let store = client.look_object_store();
        let fold = follow(store.watch().await.unwrap());
        Some(Self {
            nats,
            program,
            server,
            client,
            store,
            fold,
            untold: Values::new(),
            calls: 0,
        })
    }

    async fn step(&mut self, step: &Step) {
        println!("{}", step.commands);
        let before = self.objects().await.unwrap_or_default();
        for command in step.commands.split(" ; ") {
            self.operate(step, command, &before).await;
        }
        for &name in step.untold {
            let (revision, size, _) = before[name];
            self.untold.insert(name.to_owned(), (revision, size));
        }
        if let WatchEffect::Ends(kind) = &step.watch {
            let fold = self.fold.take().expect("a watch is open");
            let ended = fold.ended().await;
            assert_eq!(ended.kind(), kind, "{}: {ended}", step.commands);
            self.untold.clear();
        }
        match &step.effect {
            Effect::Equal => self.check_equal(step).await,
            Effect::Fails(kind) => self.check_failing(step, kind).await,
        }
    }

    async fn operate(&self, step: &Step, command: &str, before: &Objects) {
        let words = command.split_whitespace();
        let arguments: Vec<String> = words
            .map(|word| match word.strip_prefix('@') {
                Some(name) => before[name].0.to_string(),
                None => word.to_owned(),
            })
            .collect();
        if is_endless(command) {
            self.program.run_until(&arguments, step.prints).await;
            return;
        }
        let answer = self.program.run(&arguments).await;
        let text = answer.text;
        assert_eq!(answer.is_done, !step.is_refused, "{arguments:?}: {text}");
        assert!(text.contains(step.prints), "{arguments:?}: {text}");
    }

    /// What the bucket has, without natsmicro; `None` if there is no bucket.
    async fn objects(&self) -> Option<Objects> {
        let stream = self.nats.js.get_stream(STREAM).await.ok()?;
        let bucket = self.nats.js.get_object_store("files").await.unwrap();
        let subjects = stream.info_with_subjects(format!("{METADATA}>")).await;
        let subjects: Vec<_> = subjects.unwrap().try_collect().await.unwrap();
        let mut objects = Objects::new();
        for (subject, _) in subjects {
            let message = stream.get_last_raw_message_by_subject(&subject).await;
            let message = message.unwrap();
            let info: object_store::ObjectInfo = serde_json::from_slice(&message.payload).unwrap();
            if !info.deleted {
                let number = number(&bucket, &info).await;
                let size = u64::try_from(info.size).unwrap();
                objects.insert(info.name, (message.sequence, size, number));
            }
        }
        Some(objects)
    }

    async fn check_equal(&mut self, step: &Step) {
        self.check_service(step).await;
        let objects = self.objects().await.expect("there is a bucket");
        let answer = self.program.read(&["object", "ls", "files"]).await;
        for name in objects.keys() {
            assert!(answer.text.contains(name), "{}", answer.text);
        }
        let infos = objects
            .iter()
            .map(|(name, (revision, size, _))| (name.clone(), (*revision, *size)));
        let infos: Values = infos.collect();
        let list = self.store.list().await.unwrap();
        let list: Vec<_> = list.try_collect().await.unwrap();
        let listed = list.into_iter();
        let listed: Values = listed
            .map(|entry| (entry.key, (entry.revision, entry.value.unwrap().size)))
            .collect();
        assert_eq!(listed, infos, "the list after `{}`", step.commands);
        if self.fold.is_none() {
            self.fold = follow(self.store.watch().await.unwrap());
        }
        self.untold.retain(|name, _| !objects.contains_key(name));
        let mut expected = infos;
        expected.extend(self.untold.clone());
        let fold = self.fold.as_ref().expect("a watch is open");
        fold.becomes(&expected, step.commands).await;
        self.check_readers(&objects).await;
        self.check_status(step).await;
        assert_eq!(self.objects().await, Some(objects), "it is at rest");
    }

    async fn check_readers(&self, objects: &Objects) {
        for (name, (revision, size, n)) in objects {
            let info = self.store.info(name).await.unwrap().unwrap();
            assert_eq!((info.revision, info.size), (*revision, *size), "{name}");
            let read = self.store.get(name).await;
            let Some(n) = n else {
                assert_eq!(read.unwrap_err().kind(), &Incomplete, "{name}");
                continue;
            };
            assert_eq!(read.unwrap().unwrap().n, *n, "{name}");
        }
        for name in self.untold.keys().map(String::as_str).chain(["a.none"]) {
            assert_eq!(self.store.get(name).await.unwrap(), None, "{name}");
        }
    }

    async fn check_service(&mut self, step: &Step) {
        self.calls += 1;
        let request = Save::number("it", self.calls);
        let first = self.client.store_first(request.clone()).await;
        let later = self.client.store_later(request.clone()).await.unwrap();
        assert_eq!(later.n, self.calls);
        if step.service == Service::Fails {
            let refused = first.unwrap_err();
            assert_eq!(refused.code(), &Code::Unavailable, "{refused}");
            return;
        }
        assert_eq!(first.unwrap().n, self.calls);
        assert_eq!(self.number("first.it").await, Some(self.calls), "{step:?}");
        eventually("the response is stored", || async {
            (self.number("later.it").await == Some(self.calls)).then_some(())
        })
        .await;
        let call = || {
            self.client
                .store_first_cached(request.clone())
                .into_future()
        };
        reads_through(call, self.calls, step).await;
    }

    async fn number(&self, name: &str) -> Option<u64> {
        self.objects().await?.get(name)?.2
    }

    async fn check_status(&self, step: &Step) {
        let mut stream = self.nats.js.get_stream(STREAM).await.unwrap();
        let info = stream.info().await.unwrap();
        let (config, state) = (&info.config, &info.state);
        let status = self.store.status().await.unwrap();
        let numbers = (status.values, status.bytes, status.last_revision);
        let expected = (state.messages, state.bytes, state.last_sequence);
        assert_eq!(numbers, expected, "{}", step.commands);
        assert_eq!(status.ttl.unwrap_or_default(), config.max_age);
        assert_eq!(status.metadata, config.metadata);
    }

    async fn check_failing(&mut self, step: &Step, kind: &StoreErrorKind) {
        self.check_service(step).await;
        let is_expected = |error: StoreError| {
            assert_eq!(error.kind(), kind, "{}: {error}", step.commands);
        };
        let list = async { self.store.list().await?.try_collect::<Vec<_>>().await };
        is_expected(list.await.unwrap_err());
        is_expected(self.store.get("a.1").await.unwrap_err());
        is_expected(self.store.info("a.1").await.unwrap_err());
        is_expected(self.store.status().await.unwrap_err());
        is_expected(self.store.watch().await.err().unwrap());
        let put = self.store.put("a.1", &Saved::default()).await;
        is_expected(put.unwrap_err());
    }
}

/// The number in an object; `None` if its bytes are not there.
async fn number(
    bucket: &object_store::ObjectStore,
    info: &object_store::ObjectInfo,
) -> Option<u64> {
    let chunks = bucket.get(&info.name);
    let mut object = chunks.await.unwrap();
    let mut bytes = Vec::new();
    let read = object.read_to_end(&mut bytes);
    let read = tokio::time::timeout(std::time::Duration::from_secs(1), read).await;
    if !matches!(read, Ok(Ok(_))) || bytes.len() != info.size {
        return None;
    }
    let saved: Saved = serde_json::from_slice(&bytes).unwrap();
    Some(saved.n)
}

#[tokio::test]
async fn objects() {
    walk(&objects_and_files()).await;
}

pub fn objects_and_files() -> Vec<Step> {
    vec![
        done("object put files 1 --name=a.1 -f --no-progress"),
        done("object put files 2 --name=a.1 -f --no-progress"),
        done(
            "object put files 3 --name=a.2 --description=Three -H A:B --chunk-size=3 -f --no-progress",
        ),
        done("object put files 4 --name=b.1 --no-progress"),
        done("object put files 5 --name=b.1 --no-progress"),
        done("object get files a.1 -O got -f --no-progress").prints("Wrote"),
        done("object info files").prints("files"),
        done("object info files a.2").prints("Three"),
        done("object ls").prints("files"),
        done("object ls --names").prints("files"),
        done("object ls files").prints("a.1"),
        done("object watch files").prints("a.1"),
        done("object del files b.1 -f"),
        done("object put files 6 --name=b.1 -f --no-progress"),
        done("object del files b.1"),
        done("stream purge OBJ_files -f --subject=$O.files.C.>"),
        done("object put files 7 --name=a.1 -f --no-progress"),
        done("stream rmm OBJ_files @a.1 -f").untold(&["a.1"]),
        done("object put files 8 --name=a.1 -f --no-progress"),
        done("stream purge OBJ_files -f").untold(&["a.1", "a.2"]),
        done("object put files 9 --name=a.1 -f --no-progress"),
    ]
}

#[tokio::test]
async fn settings() {
    walk(&settings_of_objects()).await;
}

pub fn settings_of_objects() -> Vec<Step> {
    vec![
        done("object put files 1 --name=a.1 -f --no-progress"),
        done("object edit files --description=Files"),
        done("object edit files --ttl=1h"),
        done("object put files 2 --name=a.2 -f --no-progress"),
        refused(
            "object edit files --replicas=3",
            "replicas > 1 not supported in non-clustered mode",
        ),
        done("object edit files --max-bucket-size=1MB"),
        done("object edit files --tags=ssd"),
        done("object edit files --cluster=here"),
        done("object edit files --metadata=owner:ops"),
        done("object edit files --compress"),
        done("object edit files --no-compress"),
        done("stream edit OBJ_files -f --no-allow-direct"),
        done("stream edit OBJ_files -f --allow-direct"),
        done("stream edit OBJ_files -f --deny-delete"),
        done("backup stream OBJ_files saved --no-progress"),
        done("object put files 3 --name=a.1 -f --no-progress"),
        done("stream rm OBJ_files -f").fails(BucketNotFound),
        done("backup restore stream saved --no-progress"),
        done("object put files 4 --name=a.1 -f --no-progress"),
        done("object del files -f").fails(BucketNotFound),
        done(
            "object add files --description=Files --ttl=1h --storage=memory --compress --metadata=owner:ops --max-bucket-size=1MB",
        ),
        done("object put files 5 --name=a.1 -f --no-progress"),
        done("object del files").fails(BucketNotFound),
        done("object add files"),
        done("object put files 6 --name=a.1 -f --no-progress"),
        done("object seal files -f").read_only(),
        refused(
            "object put files 7 --name=a.1 -f --no-progress",
            "invalid operation on sealed stream",
        )
        .read_only(),
        done("stream rm OBJ_files -f").fails(BucketNotFound),
    ]
}
