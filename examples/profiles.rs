//! A cache that stays right: profiles are written, watched, cached and read through their store, while an instance of the service
//! and the NATS server itself go away and come back. At the end, everybody must know the same.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::try_join_all;
use natsmicro::store::{Any, KvCache, StoreErrorKind, Watch, WatchEvent};
use natsmicro::testing::NatsServer;
use natsmicro::{Cached, Client, KvStore, Origin, RunningServer, Server, Status};
use tokio::sync::watch;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ProfileId {
    #[prost(string, tag = "1")]
    pub team: String,
    #[prost(string, tag = "2")]
    pub name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Profile {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint64, tag = "2")]
    pub version: u64,
}

/// Keeps profiles.
#[natsmicro::service(subject_prefix = "example.profiles")]
pub trait Profiles {
    /// Makes the next version of a profile. Whoever has the reply finds it in the bucket.
    #[kv_store(
        bucket = "example_profiles",
        key = "profile.<team>.<name>",
        persist = "before_response"
    )]
    async fn save(&self, id: ProfileId) -> Result<Profile, Status>;

    /// Reads a profile from the database, which is slow.
    #[kv_store(
        bucket = "example_profiles",
        key = "profile.<team>.<name>",
        persist = "before_response"
    )]
    async fn load(&self, id: ProfileId) -> Result<Profile, Status>;

    /// Forgets what is stored of a profile; the database keeps it.
    #[kv_delete(
        bucket = "example_profiles",
        key = "profile.<team>.<name>",
        persist = "before_response"
    )]
    async fn evict(&self, id: ProfileId) -> Result<(), Status>;
}

/// What the instances of the service share.
#[derive(Default)]
struct Database {
    versions: Mutex<HashMap<ProfileId, u64>>,
    loads: AtomicU64,
}

#[derive(Clone)]
struct Instance(Arc<Database>);

impl Profiles for Instance {
    async fn save(&self, id: ProfileId) -> Result<Profile, Status> {
        let mut versions = self
            .0
            .versions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let version = versions.entry(id.clone()).or_default();
        *version += 1;
        Ok(Profile {
            name: id.name,
            version: *version,
        })
    }

    async fn load(&self, id: ProfileId) -> Result<Profile, Status> {
        self.0.loads.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
        match self.0.version(&id) {
            Some(version) => Ok(Profile {
                name: id.name,
                version,
            }),
            None => Err(Status::not_found(format!("nobody is called {}", id.name))),
        }
    }

    async fn evict(&self, _id: ProfileId) -> Result<(), Status> {
        Ok(())
    }
}

impl Database {
    fn version(&self, id: &ProfileId) -> Option<u64> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.get(id).copied()
    }
}

fn id(team: &str, name: &str) -> ProfileId {
    ProfileId {
        team: team.to_owned(),
        name: name.to_owned(),
    }
}

fn everybody() -> Vec<ProfileId> {
    [
        ("red", "ada"),
        ("red", "bob"),
        ("blue", "cy"),
        ("blue", "dee"),
    ]
    .map(|(team, name)| id(team, name))
    .into()
}

async fn start_instance(nats: &NatsServer, database: &Arc<Database>) -> Result<RunningServer> {
    // A connection of its own, as if it were another process.
    let nats = nats.connect().await?;
    let instance = Server::new(nats.clone())
        .with_jetstream(async_nats::jetstream::new(nats))
        .add_service(ProfilesServer::new(Instance(Arc::clone(database))))
        .start()
        .await?;
    Ok(instance)
}

async fn connect_client(nats: &NatsServer) -> Result<ProfilesClient> {
    let nats = nats.connect().await?;
    let jetstream = async_nats::jetstream::new(nats.clone());
    let client = Client::new(nats)
        .with_jetstream(jetstream)
        .with_timeout(Duration::from_secs(2));
    Ok(ProfilesClient::new(client))
}

/// What the writer has done so far.
#[derive(Clone, Copy, Default)]
struct Written {
    saves: u64,
    failures: u64,
}

/// Saves one profile after the other until it is told to stop, and each until it is saved.
async fn write(
    client: ProfilesClient,
    written: Arc<watch::Sender<Written>>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    for id in everybody().into_iter().cycle() {
        while let Err(status) = client.save(id.clone()).await {
            written.send_modify(|written| written.failures += 1);
            dim(format!("the writer tries again: {}", status.code()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        written.send_modify(|written| written.saves += 1);
        let pause = Duration::from_millis(40);
        if tokio::time::timeout(pause, stop.wait_for(|stop| *stop))
            .await
            .is_ok()
        {
            break;
        }
    }
    Ok(())
}

/// Shows the changes of one team as they come, and checks that none comes out of order.
async fn show(mut changes: Watch<Profile>) -> Result<()> {
    let mut newest: HashMap<String, u64> = HashMap::new();
    while let Some(event) = changes.next().await {
        let WatchEvent::Entry(entry) = event? else {
            continue;
        };
        match entry.value {
            Some(profile) => {
                let before = newest.insert(entry.key.clone(), profile.version);
                if before.is_some_and(|before| before > profile.version) {
                    return Err(
                        format!("{}: {before:?}, then {}", entry.key, profile.version).into(),
                    );
                }
                dim(format!("{} is now version {}", entry.key, profile.version));
            }
            None => dim(format!("{} is gone", entry.key)),
        }
    }
    Ok(())
}

/// Waits until this many more profiles are saved.
async fn more_saves(written: &watch::Sender<Written>, count: u64) -> Result<()> {
    let mut written = written.subscribe();
    let until = written.borrow().saves + count;
    let saved = written.wait_for(|written| written.saves >= until);
    tokio::time::timeout(Duration::from_secs(20), saved)
        .await
        .map_err(|_| "the writer gets nowhere")??;
    Ok(())
}

fn origin<T>(found: &Cached<T>) -> String {
    match found.origin {
        Origin::Store { revision, age, .. } => format!(
            "the bucket, revision {revision}, {} ms old",
            age.as_millis()
        ),
        _ => "the service".to_owned(),
    }
}

/// Calls that read the bucket first.
async fn read_through(client: &ProfilesClient, database: &Database) -> Result<()> {
    let ada = id("red", "ada");
    client.evict(ada.clone()).await?;
    let loads = database.loads.load(Ordering::Relaxed);
    // Ten callers at once: one call.
    let calls = (0..10).map(|_| client.load_cached(ada.clone()).into_future());
    let found = try_join_all(calls).await?;
    let calls = database.loads.load(Ordering::Relaxed) - loads;
    println!(
        "   10 callers: version {} from {}, {calls} call",
        found[0].version,
        origin(&found[0])
    );
    check(
        calls == 1 && found.iter().all(|found| found.origin == Origin::Service),
        "one call for all",
    )?;

    let found = client.load_cached(ada.clone()).await?;
    println!(
        "   once more:  version {} from {}",
        found.version,
        origin(&found)
    );
    check(
        found.origin != Origin::Service,
        "the second read is one of the bucket",
    )?;

    let young = Duration::from_nanos(1);
    let found = client.load_cached(ada).with_max_age(young).await?;
    println!(
        "   too old:    version {} from {}",
        found.version,
        origin(&found)
    );
    check(
        found.origin == Origin::Service,
        "what is too old is not taken",
    )?;

    let nobody = client.load_cached(id("red", "zoe")).await.unwrap_err();
    println!("   nobody:     {nobody}");
    Ok(())
}

/// The database, the bucket and the cache must say the same.
async fn compare(
    store: &KvStore<Profile>,
    cache: &KvCache<Profile>,
    database: &Database,
) -> Result<()> {
    for id in everybody() {
        let key = ProfilesClient::save_key(&id.team, &id.name)?;
        let stored = store.entry(&key).await?.ok_or("a profile is missing")?;
        cache.wait_for(stored.revision).await?;
        let cached = cache.get(&key)?.map(|profile| profile.version);
        let stored = stored.value.map(|profile| profile.version);
        let expected = database.version(&id);
        println!("   {key}: version {}", expected.unwrap_or_default());
        check(
            stored == expected && cached == expected,
            "all know the same version",
        )?;
    }
    Ok(())
}

fn check(holds: bool, what: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(format!("not so: {what}").into())
    }
}

fn headline(text: &str) {
    let (bold, end) = if io::stdout().is_terminal() {
        ("\x1b[1m", "\x1b[0m")
    } else {
        ("", "")
    };
    println!("{bold}{text}{end}");
}

fn dim(text: impl AsRef<str>) {
    let (dim, end) = if io::stdout().is_terminal() {
        ("\x1b[2m", "\x1b[0m")
    } else {
        ("", "")
    };
    println!("   {dim}{}{end}", text.as_ref());
}

#[tokio::main]
async fn main() -> Result<()> {
    let nats = NatsServer::from_env_or_start().await?;
    let client = connect_client(&nats).await?;
    let store = client.save_kv();
    // Of an earlier run.
    match store.delete_bucket().await {
        Err(error) if *error.kind() != StoreErrorKind::BucketNotFound => return Err(error.into()),
        _ => {}
    }
    let database = Arc::new(Database::default());

    headline("1. two instances, a writer, a cache, and a watch on the red team");
    let first = start_instance(&nats, &database).await?;
    let second = start_instance(&nats, &database).await?;
    let cache = store.cached().await?;
    let red = ProfilesClient::save_pattern("red", Any)?;
    let shown = tokio::spawn(show(store.watch(&red).await?));
    let written = Arc::new(watch::Sender::default());
    let (stop, stopped) = watch::channel(false);
    let writer = write(connect_client(&nats).await?, Arc::clone(&written), stopped);
    let writer = tokio::spawn(writer);
    more_saves(&written, 10).await?;

    headline("2. an instance stops; the other one answers");
    first.stop().await?;
    more_saves(&written, 8).await?;
    check(
        written.borrow().failures == 0,
        "no call fails when an instance stops",
    )?;

    if nats.pid().is_some() {
        headline("3. the NATS server is killed and starts again");
        nats.restart().await?;
        more_saves(&written, 8).await?;
    } else {
        headline("3. the NATS server is not ours to restart");
    }

    headline("4. a new instance joins");
    let third = start_instance(&nats, &database).await?;
    more_saves(&written, 8).await?;
    stop.send(true)?;
    writer.await??;

    headline("5. reads through the bucket");
    read_through(&client, &database).await?;

    headline("6. the database, the bucket and the cache agree");
    compare(&store, &cache, &database).await?;
    let Written { saves, failures } = *written.borrow();
    println!("   {saves} saves, {failures} tried again");

    second.stop().await?;
    third.stop().await?;
    // It ends only if something was wrong.
    if shown.is_finished() {
        shown.await??;
    } else {
        shown.abort();
    }
    store.delete_bucket().await?;
    Ok(())
}
