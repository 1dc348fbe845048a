//! Entries whose headers async-nats cannot parse: they end or interrupt the connection that receives them, once.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream;
use futures::{StreamExt, TryStreamExt};
use natsmicro::store::{StoreError, StoreErrorKind, WatchEvent};
use natsmicro::testing::NatsServer;
use natsmicro::{Client, ConnectionState, KvStore, Status};
use natsmicro_tests::common::{TestResult, Text, soon, text};
use natsmicro_tests::raw::RawPeer;

/// async-nats's task panics.
const DEADLY: &str = "A: b\rc";
/// async-nats connects again.
const INTERRUPTING: &str = "no colon";

#[natsmicro::service(subject_prefix = "poisoned")]
pub trait Poisoned {
    #[kv_store(bucket = "poisoned", key = "<text>", client_only)]
    async fn save(&self, request: Text) -> Result<Text, Status>;
    #[kv_store(
        bucket = "poisoned_history",
        key = "<text>",
        max_history = 5,
        client_only
    )]
    async fn keep(&self, request: Text) -> Result<Text, Status>;
    #[kv_store(
        bucket = "poisoned_long",
        key = "<text>",
        max_history = 64,
        client_only
    )]
    async fn keep_long(&self, request: Text) -> Result<Text, Status>;
    #[object_store(bucket = "poisoned", key = "<text>", client_only)]
    async fn store(&self, request: Text) -> Result<Text, Status>;
}

struct Test {
    server: NatsServer,
}

impl Test {
    async fn start() -> Self {
        Self {
            server: NatsServer::start().await.unwrap(),
        }
    }

    async fn client(&self) -> (Client, PoisonedClient) {
        let nats = self.server.connect().await.unwrap();
        let client = Client::new(nats.clone()).with_jetstream(jetstream::new(nats));
        (client.clone(), PoisonedClient::new(client))
    }

    /// Stores an entry with this line among its headers.
    fn poison(&self, subject: &str, header: &str) {
        let headers = format!("NATS/1.0\r\n{header}\r\n\r\n");
        let payload = text("poison").bytes();
        let (size, total) = (headers.len(), headers.len() + payload.len());
        let mut message = format!("HPUB {subject} {size} {total}\r\n{headers}").into_bytes();
        message.extend_from_slice(&payload);
        message.extend_from_slice(b"\r\n");
        RawPeer::connect(self.server.url()).write_and_close(&message);
    }
}

/// A watched value, the key of an entry that cannot be read, or the mark between the values and the changes.
fn seen(item: Result<WatchEvent<Text>, StoreError>) -> String {
    match item {
        Ok(WatchEvent::Entry(entry)) => format!("{}={}", entry.key, entry.value.unwrap().text),
        Ok(_) => "|".to_owned(),
        Err(error) => match error.undecodable() {
            Some(found) => {
                assert_eq!(*error.kind(), StoreErrorKind::Decode);
                assert_eq!(found.value, text("poison").bytes());
                format!("!{}", found.key)
            }
            None => format!("{:?}", error.kind()),
        },
    }
}

async fn put(store: &KvStore<Text>, key: &str, value: &str) {
    soon(store.put(key, &text(value))).await.unwrap();
}

#[tokio::test]
async fn a_watch_ends_with_its_connection_and_the_next_one_passes_over_the_entry() -> TestResult {
    let test = Test::start().await;
    let (client, poisoned) = test.client().await;
    let store = poisoned.save_kv();
    soon(store.create_bucket()).await?;
    put(&store, "a", "1").await;
    put(&store, "b", "1").await;
    let mut watch = soon(store.watch_all()).await?.map(seen);
    let initial: Vec<_> = soon(watch.by_ref().take(3).collect()).await;
    assert_eq!(initial, ["a=1", "b=1", "|"]);
    test.poison("$KV.poisoned.p", DEADLY);
    let last: Vec<_> = soon(watch.collect()).await;
    assert_eq!(last, ["ConnectionLost"]);
    assert_eq!(client.state(), ConnectionState::Closed);

    let (client, poisoned) = test.client().await;
    let store = poisoned.save_kv();
    put(&store, "c", "1").await;
    let mut watch = soon(store.watch_all()).await?.map(seen);
    let mut initial = Vec::new();
    while initial.last().is_none_or(|last| last != "|") {
        initial.push(soon(watch.next()).await.unwrap());
    }
    assert_eq!(initial, ["a=1", "b=1", "!p", "c=1", "|"]);
    put(&store, "a", "2").await;
    assert_eq!(soon(watch.next()).await.unwrap(), "a=2");
    let keys: BTreeSet<String> = soon(store.keys(">").await?.try_collect()).await?;
    assert_eq!(keys, ["a", "b", "c", "p"].map(str::to_owned).into());
    assert_eq!(client.state(), ConnectionState::Connected);

    // Written over, it is an entry as any other.
    put(&store, "p", "2").await;
    let (client, poisoned) = test.client().await;
    let watch = soon(poisoned.save_kv().watch_all()).await?.map(seen);
    let initial: BTreeSet<_> = soon(watch.take(5).collect()).await;
    let expected = ["a=2", "b=1", "c=1", "p=2", "|"];
    assert_eq!(initial, expected.map(str::to_owned).into());
    assert_eq!(client.state(), ConnectionState::Connected);
    Ok(())
}

/// Each costs a connection, and the ones that are known are passed over.
#[tokio::test]
async fn several_entries_cost_a_connection_each() -> TestResult {
    let test = Test::start().await;
    let (_, poisoned) = test.client().await;
    let store = poisoned.keep_kv();
    soon(store.create_bucket()).await?;
    for round in 1..=3 {
        put(&store, "a", &round.to_string()).await;
        test.poison(&format!("$KV.poisoned_history.p{round}"), DEADLY);
        put(&store, "z", &round.to_string()).await;
    }
    let mut connections = 0;
    let initial = loop {
        connections += 1;
        assert!(connections <= 4, "an entry is met again");
        let (_client, poisoned) = test.client().await;
        let mut watch = soon(poisoned.keep_kv().watch_all()).await?.map(seen);
        let mut initial = Vec::new();
        loop {
            match soon(watch.next()).await.as_deref() {
                Some("|") => break,
                Some("ConnectionLost") => {
                    initial.clear();
                    break;
                }
                item => initial.push(item.unwrap().to_owned()),
            }
        }
        if !initial.is_empty() {
            break initial;
        }
    };
    let errors: Vec<_> = initial.iter().filter(|it| it.starts_with('!')).collect();
    assert_eq!(errors, ["!p1", "!p2", "!p3"]);
    let last = |key: &str| {
        initial
            .iter()
            .rfind(|it| it.starts_with(key))
            .unwrap()
            .as_str()
    };
    assert_eq!((last("a"), last("z")), ("a=3", "z=3"));
    Ok(())
}

#[tokio::test]
async fn a_watch_lives_on_where_the_connection_is_only_interrupted() -> TestResult {
    let test = Test::start().await;
    let (client, poisoned) = test.client().await;
    let store = poisoned.save_kv();
    soon(store.create_bucket()).await?;
    put(&store, "a", "1").await;
    let mut watch = soon(store.watch_all()).await?.map(seen);
    assert_eq!(soon(watch.next()).await.unwrap(), "a=1");
    assert_eq!(soon(watch.next()).await.unwrap(), "|");
    test.poison("$KV.poisoned.p", INTERRUPTING);
    assert_eq!(soon(watch.next()).await.unwrap(), "!p");
    put(&store, "b", "1").await;
    assert_eq!(soon(watch.next()).await.unwrap(), "b=1");
    assert_eq!(client.state(), ConnectionState::Connected);
    // Those that start later pass over it too.
    let later: Vec<_> = soon(store.watch_all().await?.map(seen).take(4).collect()).await;
    assert_eq!(later, ["a=1", "!p", "b=1", "|"]);
    Ok(())
}

/// The initial items of a watch, up to the mark.
async fn initial(watch: natsmicro::store::Watch<Text>) -> Vec<String> {
    let mut watch = watch.map(seen);
    let mut items = Vec::new();
    while items.last().is_none_or(|last| last != "|") {
        items.push(soon(watch.next()).await.unwrap());
    }
    items
}

/// Where it began, and not where the stream begins.
#[tokio::test]
async fn a_watch_from_a_revision_goes_on_there() -> TestResult {
    let test = Test::start().await;
    let (_, poisoned) = test.client().await;
    let store = poisoned.keep_kv();
    soon(store.create_bucket()).await?;
    put(&store, "a", "1").await;
    test.poison("$KV.poisoned_history.before", INTERRUPTING);
    put(&store, "a", "2").await;
    test.poison("$KV.poisoned_history.p", INTERRUPTING);
    put(&store, "z", "1").await;
    for _ in 0..2 {
        let watch = soon(store.watch_all().with_history_from(4)).await?;
        assert_eq!(initial(watch).await, ["!p", "z=1", "|"]);
    }
    Ok(())
}

/// Neither an older value nor a deleted one is a current value.
#[tokio::test]
async fn superseded_values_after_the_entry_are_passed_over() -> TestResult {
    let test = Test::start().await;
    let (_, poisoned) = test.client().await;
    let store = poisoned.keep_kv();
    soon(store.create_bucket()).await?;
    test.poison("$KV.poisoned_history.p", INTERRUPTING);
    put(&store, "a", "1").await;
    soon(store.delete("a")).await?;
    put(&store, "b", "1").await;
    put(&store, "b", "2").await;
    for _ in 0..2 {
        let watch = soon(store.watch_all()).await?;
        assert_eq!(initial(watch).await, ["!p", "b=2", "|"]);
        let keys: Vec<String> = soon(store.keys(">").await?.try_collect()).await?;
        assert_eq!(keys, ["p", "b"]);
    }
    Ok(())
}

/// A consumer passes over them at once. Those who look for the entry look at each.
#[tokio::test]
async fn an_entry_behind_many_superseded_ones_is_found() -> TestResult {
    const SUPERSEDED: usize = 2_500;
    let test = Test::start().await;
    let (_, poisoned) = test.client().await;
    let store = poisoned.keep_long_kv();
    soon(store.create_bucket()).await?;
    for round in 0..SUPERSEDED {
        put(&store, &(round % 50).to_string(), "old").await;
    }
    test.poison("$KV.poisoned_long.p", INTERRUPTING);
    for key in 0..50 {
        put(&store, &key.to_string(), "new").await;
    }
    let items = initial(soon(store.watch_all()).await?).await;
    assert_eq!(items.len(), 52);
    assert_eq!(items[0], "!p");
    assert!(items[1..51].iter().all(|it| it.ends_with("=new")));
    Ok(())
}

/// A write reads the entry without harm, and finds that it is there. An object whose metadata is such an entry cannot be read, and that is
/// said as of any other that is not understood.
#[tokio::test]
async fn what_a_write_finds_harms_nothing() -> TestResult {
    for header in [DEADLY, INTERRUPTING] {
        let test = Test::start().await;
        let (client, poisoned) = test.client().await;
        let store = poisoned.save_kv();
        soon(store.create_bucket()).await?;
        test.poison("$KV.poisoned.p", header);
        let error = soon(store.create("p", &text("1"))).await.unwrap_err();
        assert_eq!(*error.kind(), StoreErrorKind::AlreadyExists, "{error}");
        let objects = poisoned.store_object_store();
        soon(objects.create_bucket()).await?;
        test.poison("$O.poisoned.M.cA==", header);
        let error = soon(objects.get("p")).await.unwrap_err();
        assert_eq!(*error.kind(), StoreErrorKind::Decode, "{error}");
        assert_eq!(error.undecodable().unwrap().key, "p");
        assert_eq!(client.state(), ConnectionState::Connected);
    }
    Ok(())
}

#[tokio::test]
async fn a_cache_says_that_its_connection_is_lost_and_the_next_one_loads() -> TestResult {
    let test = Test::start().await;
    let (_, poisoned) = test.client().await;
    let store = poisoned.save_kv();
    soon(store.create_bucket()).await?;
    put(&store, "a", "1").await;
    let cache = soon(store.cached()).await?;
    assert_eq!(cache.get("a")?.unwrap().text, "1");
    let waiting = tokio::spawn({
        let cache = cache.clone();
        async move { cache.wait_for(u64::MAX).await }
    });
    test.poison("$KV.poisoned.p", DEADLY);
    let error = soon(async {
        loop {
            match cache.get("a") {
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => break error,
            }
        }
    })
    .await;
    assert_eq!(*error.kind(), StoreErrorKind::ConnectionLost);
    assert!(!cache.status().is_complete);
    let error = soon(waiting).await?.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::ConnectionLost);

    let (client, poisoned) = test.client().await;
    let store = poisoned.save_kv();
    let cache = soon(store.cached()).await?;
    assert_eq!(cache.get("a")?.unwrap().text, "1");
    assert_eq!(*cache.get("p").unwrap_err().kind(), StoreErrorKind::Decode);
    let revision = soon(store.put("b", &text("1"))).await?;
    soon(cache.wait_for(revision)).await?;
    assert_eq!(cache.get("b")?.unwrap().text, "1");
    assert!(cache.status().is_complete);
    assert_eq!(client.state(), ConnectionState::Connected);
    Ok(())
}

#[tokio::test]
async fn a_read_of_the_entry_costs_one_connection() -> TestResult {
    let test = Test::start().await;
    let (_, poisoned) = test.client().await;
    soon(poisoned.save_kv().create_bucket()).await?;
    put(&poisoned.save_kv(), "a", "1").await;
    test.poison("$KV.poisoned.read", DEADLY);
    let error = soon(poisoned.save_kv().get("read")).await.unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::ConnectionLost, "{error}");
    let error = soon(poisoned.save_kv().put("a", &text("2")))
        .await
        .unwrap_err();
    assert_eq!(*error.kind(), StoreErrorKind::ConnectionLost, "{error}");

    let (client, poisoned) = test.client().await;
    let store = poisoned.save_kv();
    for _ in 0..2 {
        let error = soon(store.get("read")).await.unwrap_err();
        assert_eq!(*error.kind(), StoreErrorKind::Decode, "{error}");
    }
    assert_eq!(soon(store.get("a")).await?, Some(text("1")));
    put(&store, "read", "2").await;
    assert_eq!(soon(store.get("read")).await?, Some(text("2")));
    assert_eq!(client.state(), ConnectionState::Connected);
    Ok(())
}

/// A connection that was closed by its owner has met no malformed entry: the next readers use a consumer, and not a request per entry.
#[tokio::test]
async fn after_a_drain_readers_look_at_what_comes_next_alone() -> TestResult {
    const ENTRIES: usize = 50;
    let server = NatsServer::builder().debug_trace(true).start().await?;
    let test = Test { server };
    let nats = test.server.connect().await?;
    let client = Client::new(nats.clone()).with_jetstream(jetstream::new(nats.clone()));
    let store = PoisonedClient::new(client).keep_kv();
    soon(store.create_bucket()).await?;
    for entry in 0..ENTRIES {
        put(&store, &entry.to_string(), "1").await;
    }
    let watch = soon(store.watch_all()).await?.map(seen);
    nats.drain().await?;
    let items: Vec<_> = soon(watch.collect()).await;
    assert_eq!(items.last().unwrap(), "ConnectionLost");
    let (_, poisoned) = test.client().await;
    let watch = soon(poisoned.keep_kv().watch_all()).await?.map(seen);
    let items: Vec<_> = soon(watch.take(ENTRIES + 1).collect()).await;
    assert_eq!(items.last().unwrap(), "|");
    let log = test.server.log();
    let looked_at = log
        .matches("PUB $JS.API.STREAM.MSG.GET.KV_poisoned_history")
        .count();
    assert!(looked_at <= ENTRIES + 1, "{looked_at}");
    let (_, poisoned) = test.client().await;
    let watch = soon(poisoned.keep_kv().watch_all()).await?.map(seen);
    let items: Vec<_> = soon(watch.take(ENTRIES + 1).collect()).await;
    assert_eq!(items.last().unwrap(), "|");
    let log = test.server.log();
    assert_eq!(
        log.matches("PUB $JS.API.STREAM.MSG.GET.KV_poisoned_history")
            .count(),
        looked_at
    );
    Ok(())
}

#[tokio::test]
async fn a_list_of_objects_passes_over_poisoned_metadata() -> TestResult {
    let test = Test::start().await;
    let (_, poisoned) = test.client().await;
    let store = poisoned.store_object_store();
    soon(store.create_bucket()).await?;
    soon(store.put("a", &text("1"))).await?;
    test.poison("$O.poisoned.M.cA==", DEADLY);
    let names = async |store: &natsmicro::ObjectStore<Text>| {
        let list = soon(store.list()).await?;
        Ok::<_, StoreError>(soon(list.map(|it| it.map(|it| it.key)).collect::<Vec<_>>()).await)
    };
    let first = names(&store).await;
    let is_lost = match &first {
        Ok(items) => items
            .iter()
            .any(|it| matches!(it, Err(error) if *error.kind() == StoreErrorKind::ConnectionLost)),
        Err(error) => *error.kind() == StoreErrorKind::ConnectionLost,
    };
    assert!(is_lost, "{first:?}");
    let (client, poisoned) = test.client().await;
    let items = names(&poisoned.store_object_store()).await?;
    let is_decode = |it: &Result<String, StoreError>| matches!(it, Err(error) if *error.kind() == StoreErrorKind::Decode);
    assert_eq!(items.len(), 2, "{items:?}");
    assert!(items.iter().any(is_decode), "{items:?}");
    assert!(items.iter().any(|it| matches!(it, Ok(name) if name == "a")));
    assert_eq!(client.state(), ConnectionState::Connected);
    Ok(())
}
