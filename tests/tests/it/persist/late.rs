//! Writes whose turn comes late, since another write to the key or the connection holds them up: they stand back for what is newer, and
//! are not made when their callers have gone.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream;
use natsmicro::store::Operation;
use natsmicro::{Code, RunningServer, Status};
use natsmicro_tests::persistence::proxy::{Fault, Proxy};
use natsmicro_tests::persistence::{Nats, Save, Saved, TestResult, eventually, persistence};
use prost::Message;

#[natsmicro::service(timeout = "30s")]
pub trait Late {
    #[kv_store(bucket = "late", key = "<key>", max_history = 64)]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "late",
        key = "<key>",
        max_history = 64,
        persist = "before_response"
    )]
    async fn before(&self, request: Save) -> Result<Saved, Status>;

    #[kv_delete(bucket = "late", key = "<key>")]
    async fn delete(&self, request: Save) -> Result<(), Status>;

    #[kv_store(bucket = "brief", key = "<key>", key_ttl = "1h")]
    async fn brief(&self, request: Save) -> Result<Saved, Status>;

    #[object_store(bucket = "objects", key = "<key>", persist = "before_response")]
    async fn object(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Late for Echo {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn delete(&self, _request: Save) -> Result<(), Status> {
        Ok(())
    }
    async fn brief(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn object(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

/// A service whose buckets are on a server of their own, behind a proxy, so that calls go on without them.
struct Fixture {
    stores: Nats,
    proxy: Proxy,
    /// The connection to the buckets.
    nats: async_nats::Client,
    server: RunningServer,
    client: LateClient,
    /// Somebody else, with a connection of its own.
    other: LateClient,
    _calls: Nats,
}

impl Fixture {
    async fn start(with_batches: bool) -> Self {
        let (calls, stores) = (Nats::start().await, Nats::start().await);
        let proxy = Proxy::start(&stores.server).await;
        let nats = proxy.connect().await;
        let server = natsmicro::Server::new(calls.server.connect().await.unwrap())
            .with_jetstream(jetstream::new(nats.clone()))
            .with_batches(with_batches)
            .add_service(LateServer::new(Echo))
            .start()
            .await
            .unwrap();
        Self {
            client: LateClient::new(calls.nats.clone()),
            other: LateClient::new(stores.client()),
            stores,
            proxy,
            nats,
            server,
            _calls: calls,
        }
    }

    async fn disconnect(&self) {
        self.stores.server.kill().unwrap();
        eventually("the connection is seen to be down", || async {
            (self.nats.connection_state() == State::Disconnected).then_some(())
        })
        .await;
    }

    async fn settled(&self, endpoint: &str) {
        eventually("all writes are settled", || async {
            (persistence(&self.server, endpoint).persist_pending == 0).then_some(())
        })
        .await;
    }

    async fn texts(&self, key: &str) -> Vec<String> {
        let revisions = self.stores.revisions("late", key).await;
        let text = |(_, value): (u64, bytes::Bytes)| Saved::decode(value).unwrap().text;
        revisions.into_iter().map(text).collect()
    }
}

fn value(text: &str) -> Saved {
    Save::new("", text).saved()
}

/// More than the clocks may be apart, and the server may take to say what time it is.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// The first write to each key does not arrive, and the second one waits for it. Meanwhile somebody else writes.
async fn late_writes_stand_back(with_batches: bool) -> TestResult {
    let fixture = Fixture::start(with_batches).await;
    let Fixture { client, other, .. } = &fixture;
    fixture.proxy.fail("first", Fault::Swallowed);
    client.after(Save::new("put", "first")).await?;
    fixture.proxy.failed().await;
    client.after(Save::new("put", "second")).await?;
    a_while().await;
    let newer = other.after_kv().put("put", &value("newer")).await?;

    fixture.proxy.fail("first", Fault::Swallowed);
    client.after(Save::new("deleted", "first")).await?;
    fixture.proxy.failed().await;
    client.delete(Save::new("deleted", "")).await?;
    a_while().await;
    let kept = other.after_kv().put("deleted", &value("newer")).await?;

    fixture.proxy.fail("first", Fault::Swallowed);
    client.brief(Save::new("brief", "first")).await?;
    fixture.proxy.failed().await;
    client.brief(Save::new("brief", "second")).await?;
    a_while().await;
    let brief = other.brief_kv().put("brief", &value("newer")).await?;

    for endpoint in ["after", "delete", "brief"] {
        fixture.settled(endpoint).await;
    }
    let store = other.after_kv();
    assert_eq!(store.entry("put").await?.unwrap().revision, newer);
    assert_eq!(store.entry("deleted").await?.unwrap().revision, kept);
    let entry = other.brief_kv().entry("brief").await?.unwrap();
    assert_eq!(entry.revision, brief);
    // Nobody waited for them, so they count as stored and replaced.
    assert_eq!(persistence(&fixture.server, "after").persisted, 3);
    fixture.server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn late_writes_stand_back_one_by_one() -> TestResult {
    late_writes_stand_back(false).await
}

#[tokio::test]
async fn late_writes_stand_back_with_batches() -> TestResult {
    late_writes_stand_back(true).await
}

/// A bucket that was written to, and then made again.
async fn made_again(with_batches: bool) -> Fixture {
    let fixture = Fixture::start(with_batches).await;
    for n in 0..20 {
        fixture.client.after(Save::number("key", n)).await.unwrap();
    }
    fixture.settled("after").await;
    let config = fixture.stores.stream_config("KV_late").await;
    fixture.stores.js.delete_stream("KV_late").await.unwrap();
    fixture.stores.js.create_stream(config).await.unwrap();
    fixture
}

/// The revisions of a bucket that was made again begin again, and so say nothing of what is older than a write.
async fn late_writes_stand_back_in_a_bucket_made_again(with_batches: bool) -> TestResult {
    let fixture = made_again(with_batches).await;
    let Fixture { client, other, .. } = &fixture;
    fixture.proxy.fail("first", Fault::Swallowed);
    client.after(Save::new("key", "first")).await?;
    fixture.proxy.failed().await;
    client.after(Save::new("key", "second")).await?;
    a_while().await;
    let newer = other.after_kv().put("key", &value("newer")).await?;
    assert_eq!(newer, 1);
    fixture.settled("after").await;
    assert_eq!(fixture.texts("key").await, ["newer"]);
    fixture.server.stop().await?;
    Ok(())
}

/// Nobody has looked at the new bucket when they are written.
async fn late_writes_keep_their_order_in_a_bucket_made_again(with_batches: bool) -> TestResult {
    let fixture = made_again(with_batches).await;
    let save = |text: &str| fixture.client.after(Save::new("key", text)).into_future();
    fixture.proxy.fail("first", Fault::Swallowed);
    save("first").await?;
    fixture.proxy.failed().await;
    for text in ["second", "third", "fourth"] {
        save(text).await?;
    }
    fixture.settled("after").await;
    let texts = fixture.texts("key").await;
    assert_eq!(texts, ["first", "second", "third", "fourth"]);
    fixture.server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn late_writes_keep_their_order_in_a_bucket_made_again_one_by_one() -> TestResult {
    late_writes_keep_their_order_in_a_bucket_made_again(false).await
}

#[tokio::test]
async fn late_writes_keep_their_order_in_a_bucket_made_again_with_batches() -> TestResult {
    late_writes_keep_their_order_in_a_bucket_made_again(true).await
}

#[tokio::test]
async fn late_writes_stand_back_in_a_bucket_made_again_one_by_one() -> TestResult {
    late_writes_stand_back_in_a_bucket_made_again(false).await
}

#[tokio::test]
async fn late_writes_stand_back_in_a_bucket_made_again_with_batches() -> TestResult {
    late_writes_stand_back_in_a_bucket_made_again(true).await
}

/// The caller is not told that its value is stored, since it may never have been.
#[tokio::test]
async fn a_call_whose_write_stood_back_is_aborted() -> TestResult {
    let fixture = Fixture::start(true).await;
    fixture.proxy.fail("first", Fault::Swallowed);
    let call = |text| tokio::spawn(fixture.client.before(Save::new("key", text)).into_future());
    let first = call("first");
    fixture.proxy.failed().await;
    let second = call("second");
    eventually("both are queued", || async {
        (persistence(&fixture.server, "before").persist_pending == 2).then_some(())
    })
    .await;
    a_while().await;
    fixture
        .other
        .before_kv()
        .put("key", &value("newer"))
        .await?;
    for call in [first, second] {
        assert_eq!(call.await?.unwrap_err().code(), &Code::Aborted);
    }
    assert_eq!(fixture.texts("key").await, ["newer"]);
    let error = fixture.server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count(), 2, "{error}");
    Ok(())
}

/// One write is under way when the calls end, and another one waits for it.
async fn nothing_is_stored_after_its_call(with_batches: bool) -> TestResult {
    let fixture = Fixture::start(with_batches).await;
    let call = |text| {
        let call = fixture.client.before(Save::new("key", text));
        tokio::spawn(call.with_timeout(Duration::from_secs(1)).into_future())
    };
    fixture.proxy.fail("first", Fault::Swallowed);
    let first = call("first");
    fixture.proxy.failed().await;
    let second = call("second");
    for call in [first, second] {
        assert_eq!(call.await?.unwrap_err().code(), &Code::Unavailable);
    }
    fixture.settled("before").await;
    // The key is written to again at once.
    fixture.client.before(Save::new("key", "third")).await?;
    assert_eq!(fixture.texts("key").await, ["third"]);
    let error = fixture.server.stop().await.unwrap_err();
    let causes: Vec<_> = error.lost_writes().iter().map(|lost| &lost.cause).collect();
    assert_eq!(causes.len(), 2);
    assert!(
        causes[0].starts_with("given up at the end of the call that waited for it: "),
        "{causes:?}"
    );
    assert_eq!(
        causes[1],
        "not attempted before the end of the call that waited for it"
    );
    Ok(())
}

#[tokio::test]
async fn nothing_is_stored_after_its_call_one_by_one() -> TestResult {
    nothing_is_stored_after_its_call(false).await
}

#[tokio::test]
async fn nothing_is_stored_after_its_call_with_batches() -> TestResult {
    nothing_is_stored_after_its_call(true).await
}

/// What was sent before a server stands still is stored when it goes on; what waited behind it is not.
#[tokio::test]
async fn a_server_that_goes_on_gets_no_write_of_an_ended_call() -> TestResult {
    let fixture = Fixture::start(true).await;
    fixture.client.before(Save::new("key", "zero")).await?;
    fixture.stores.server.pause()?;
    let calls: Vec<_> = ["first", "second", "third"]
        .map(|text| {
            let call = fixture.client.before(Save::new("key", text));
            tokio::spawn(call.with_timeout(Duration::from_secs(1)).into_future())
        })
        .into();
    for call in calls {
        assert_eq!(call.await?.unwrap_err().code(), &Code::Unavailable);
    }
    fixture.stores.server.resume()?;
    fixture.settled("before").await;
    let texts = fixture.texts("key").await;
    assert!(texts.len() <= 2 && texts[0] == "zero", "{texts:?}");
    fixture.server.stop().await.unwrap_err();
    Ok(())
}

/// A connection that is down gets nothing to send later: it could not be withdrawn any more.
#[tokio::test]
async fn nothing_is_handed_to_a_connection_that_is_down() -> TestResult {
    let fixture = Fixture::start(true).await;
    fixture.disconnect().await;
    let calls = (0..20).map(|n| {
        let request = Save::number(format!("key-{n}"), n);
        let call = match n % 2 {
            0 => fixture.client.before(request),
            _ => fixture.client.object(request),
        };
        tokio::spawn(call.with_timeout(Duration::from_secs(1)).into_future())
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        assert_eq!(call.await?.unwrap_err().code(), &Code::Unavailable);
    }
    fixture.stores.server.restart().await?;
    fixture.settled("before").await;
    fixture.settled("object").await;
    // It is made after all that was sent before it on the same connection.
    fixture.client.before(Save::new("last", "")).await?;
    let stored = fixture.stores.subjects("KV_late", ">").await;
    assert_eq!(stored.keys().collect::<Vec<_>>(), ["$KV.late.last"]);
    assert!(fixture.stores.subjects("OBJ_objects", ">").await.is_empty());
    let error = fixture.server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count(), 20, "{error}");
    Ok(())
}

/// Late writes read what the key holds, and that is what the writes before them have put there: no reason to stand back.
#[tokio::test]
async fn late_writes_keep_their_order_through_a_reconnect() -> TestResult {
    let fixture = Fixture::start(true).await;
    let save = |text: String| fixture.client.after(Save::new("key", text)).into_future();
    save("0".to_owned()).await?;
    fixture.settled("after").await;
    fixture.disconnect().await;
    for n in 1..10 {
        save(n.to_string()).await?;
    }
    fixture.client.delete(Save::new("key", "")).await?;
    for n in 10..20 {
        save(n.to_string()).await?;
    }
    a_while().await;
    fixture.stores.server.restart().await?;
    // Some are queued while the others are made.
    for n in 20..30 {
        save(n.to_string()).await?;
    }
    fixture.settled("after").await;
    let mut history = fixture.other.after_kv().history("key").await?;
    let mut found = Vec::new();
    while let Some(entry) = futures::StreamExt::next(&mut history).await {
        let entry = entry?;
        found.push((entry.operation, entry.value.map(|value| value.text)));
    }
    let put = |n: u32| (Operation::Put, Some(n.to_string()));
    let deletion = (Operation::Delete, None);
    let expected: Vec<_> = (0..10)
        .map(put)
        .chain([deletion])
        .chain((10..30).map(put))
        .collect();
    assert_eq!(found, expected);
    fixture.server.stop().await?;
    Ok(())
}
