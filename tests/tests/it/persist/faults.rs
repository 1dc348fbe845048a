//! nats-server goes away and comes back: what was answered is stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use natsmicro::store::WatchEvent;
use natsmicro::{Code, RunningServer, Status};
use natsmicro_tests::persistence::load::Load;
use natsmicro_tests::persistence::proxy::Proxy;
use natsmicro_tests::persistence::watching::next;
use natsmicro_tests::persistence::{
    Nats, Save, Saved, TestResult, check_lost_with_their_calls, eventually, persistence,
};

#[natsmicro::service]
pub trait Orders {
    #[kv_store(bucket = "after", key = "<key>")]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "before", key = "<key>", persist = "before_response")]
    async fn before(&self, request: Save) -> Result<Saved, Status>;

    #[object_store(bucket = "objects", key = "<key>", persist = "before_response")]
    async fn object(&self, request: Save) -> Result<Saved, Status>;
}

struct Echo;

impl Orders for Echo {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn object(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

async fn start_on(server: natsmicro::Server) -> RunningServer {
    server
        .add_service(OrdersServer::new(Echo))
        .start()
        .await
        .unwrap()
}

#[derive(Clone, Copy)]
enum Mode {
    After,
    Before,
}

async fn check_all_stored(nats: &Nats, mode: Mode, answered: &[Saved]) {
    let client = OrdersClient::new(nats.client());
    let store = match mode {
        Mode::After => client.after_kv(),
        Mode::Before => client.before_kv(),
    };
    let mut watch = store.watch_all().await.unwrap();
    let mut stored = HashMap::new();
    while let WatchEvent::Entry(entry) = next(&mut watch).await.unwrap() {
        stored.extend(entry.value.map(|value| (entry.key, value)));
    }
    let lost: Vec<_> = answered
        .iter()
        .filter(|saved| stored.get(&saved.key) != Some(saved))
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {} are lost: {:?}",
        lost.len(),
        answered.len(),
        lost[0]
    );
}

/// What happens while calls are made.
enum Disturbance {
    /// The nats-server is killed, and comes back after a while.
    Killed,
    /// The nats-server does nothing for a while.
    Paused,
    /// The connection of the service is cut again and again, and both servers live on.
    Cut,
}

/// Whatever happens: what was answered is stored.
async fn under_load(mode: Mode, disturbance: Disturbance) -> TestResult {
    let nats = Nats::start().await;
    let proxy = Proxy::start(&nats.server).await;
    let server = start_on(proxy.service().await).await;
    let client = OrdersClient::new(nats.server.connect().await?);
    // So many that several batches are on their way.
    let load = Load::start(400, move |key| {
        let request = Save::new(key.clone(), format!("value of {key}"));
        let call = match mode {
            Mode::After => client.after(request),
            Mode::Before => client.before(request),
        };
        call.with_timeout(Duration::from_secs(2)).into_future()
    });
    load.more(2_000).await;
    match disturbance {
        Disturbance::Killed => {
            nats.server.kill()?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            nats.server.restart().await?;
        }
        Disturbance::Paused => {
            nats.server.pause()?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            nats.server.resume()?;
        }
        Disturbance::Cut => {
            for _ in 0..6 {
                proxy.cut();
                load.more(300).await;
            }
        }
    }
    load.more(2_000).await;
    let (answered, failed): (Vec<_>, Vec<_>) =
        load.end().await.into_iter().partition(Result::is_ok);
    let answered: Vec<_> = answered.into_iter().flatten().collect();
    match mode {
        Mode::After => server.stop().await?,
        Mode::Before => {
            check_all_stored(&nats, mode, &answered).await;
            check_lost_with_their_calls(server.stop().await, failed.len());
        }
    }
    check_all_stored(&nats, mode, &answered).await;
    Ok(())
}

#[tokio::test]
async fn cut_before_the_response() -> TestResult {
    under_load(Mode::Before, Disturbance::Cut).await
}

#[tokio::test]
async fn cut_after_the_response() -> TestResult {
    under_load(Mode::After, Disturbance::Cut).await
}

#[tokio::test]
async fn killed_before_the_response() -> TestResult {
    under_load(Mode::Before, Disturbance::Killed).await
}

#[tokio::test]
async fn killed_after_the_response() -> TestResult {
    under_load(Mode::After, Disturbance::Killed).await
}

#[tokio::test]
async fn paused_before_the_response() -> TestResult {
    under_load(Mode::Before, Disturbance::Paused).await
}

#[tokio::test]
async fn paused_after_the_response() -> TestResult {
    under_load(Mode::After, Disturbance::Paused).await
}

/// JetStream is on a server of its own, so that calls go on without it.
struct Apart {
    calls: Nats,
    jetstream: Nats,
}

impl Apart {
    async fn start() -> Self {
        Self {
            calls: Nats::start().await,
            jetstream: Nats::start().await,
        }
    }

    async fn server(&self) -> natsmicro::Server {
        let nats = self.calls.server.connect().await.unwrap();
        let jetstream = self.jetstream.server.connect().await.unwrap();
        natsmicro::Server::new(nats)
            .with_jetstream(async_nats::jetstream::new(jetstream))
            .add_service(OrdersServer::new(Echo))
    }

    fn client(&self) -> OrdersClient {
        OrdersClient::new(self.calls.nats.clone())
    }
}

#[tokio::test]
async fn jetstream_away_for_longer_than_the_persist_timeout() -> TestResult {
    let apart = Apart::start().await;
    let lost = Arc::new(AtomicUsize::default());
    let seen = lost.clone();
    let server = apart.server().await;
    let server = server
        .with_persist_timeout(Duration::from_secs(2))
        .on_lost_write(move |_| {
            seen.fetch_add(1, Ordering::Relaxed);
        })
        .start()
        .await?;
    let client = apart.client();
    client.before(Save::number("kept", 1)).await?;
    apart.jetstream.server.kill()?;

    let begun = Instant::now();
    let object = client.object(Save::number("lost", 0)).into_future();
    let before = client.before(Save::number("lost", 0)).into_future();
    let (object, before) = (tokio::spawn(object), tokio::spawn(before));
    for n in 0..20 {
        client
            .after(Save::number(format!("lost-{}", n % 5), n))
            .await?;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "nobody waits for the store"
    );
    for error in [before.await?, object.await?] {
        assert_eq!(error.unwrap_err().code(), &Code::Unavailable);
    }
    eventually("the writes are given up", || async {
        (persistence(&server, "after").persist_failed == 20).then_some(())
    })
    .await;
    // Rather than by default.
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );

    apart.jetstream.server.restart().await?;
    eventually("writes work again", || async {
        client.before(Save::number("again", 1)).await.ok()
    })
    .await;
    let error = server.stop().await.unwrap_err();
    assert!(error.lost_write_count() >= 22);
    assert_eq!(error.lost_write_count(), lost.load(Ordering::Relaxed));
    assert_eq!(error.lost_writes().len(), error.lost_write_count());
    let write = error.lost_writes().iter().find(|lost| lost.key == "lost-3");
    assert_eq!(write.unwrap().bucket, "after");
    assert!(error.unfinished_calls().is_empty());
    assert_eq!(apart.jetstream.revisions("before", "kept").await.len(), 1);
    Ok(())
}

/// Neither the caller nor the method says how long: the write is given up before the caller stops waiting, not after the persist timeout.
#[tokio::test]
async fn a_call_with_all_defaults_is_answered_in_time() -> TestResult {
    let apart = Apart::start().await;
    let server = apart.server().await.start().await?;
    let client = apart.client();
    apart.jetstream.server.kill()?;
    let before = client.before(Save::number("lost", 0)).into_future();
    let object = client.object(Save::number("lost", 0)).into_future();
    let (before, object) = (tokio::spawn(before), tokio::spawn(object));
    for error in [before.await?, object.await?] {
        assert_eq!(error.unwrap_err().code(), &Code::Unavailable);
    }
    let error = server.stop().await.unwrap_err();
    assert_eq!(error.lost_write_count(), 2, "{error}");
    Ok(())
}

#[tokio::test]
async fn stop_waits_for_jetstream_to_come_back() -> TestResult {
    let apart = Apart::start().await;
    let server = apart.server().await.start().await?;
    let client = apart.client();
    client.after(Save::number("a", 1)).await?;
    apart.jetstream.server.kill()?;
    for n in 2..50 {
        client.after(Save::number("a", n)).await?;
    }
    let stop = tokio::spawn(server.stop());
    eventually("the endpoint is gone", || async {
        client.after(Save::number("b", 0)).await.err()
    })
    .await;
    assert!(!stop.is_finished());
    apart.jetstream.server.restart().await?;
    stop.await??;
    let client = OrdersClient::new(apart.jetstream.client());
    assert_eq!(client.get_after_from_kv("a").await?.unwrap().n, 49);
    Ok(())
}

#[tokio::test]
async fn stop_lists_what_jetstream_did_not_take_in_time() -> TestResult {
    let apart = Apart::start().await;
    let server = apart.server().await;
    let server = server.with_drain_timeout(Duration::from_secs(1));
    let server = server.start().await?;
    let client = apart.client();
    apart.jetstream.server.kill()?;
    for n in 0..10 {
        client.after(Save::number(format!("k{}", n / 5), n)).await?;
    }
    let waiting = tokio::spawn(client.before(Save::number("x", 0)).into_future());
    eventually("the call runs", || async {
        (persistence(&server, "before").persist_pending == 1).then_some(())
    })
    .await;
    let begun = Instant::now();
    let error = server.stop().await.unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(error.lost_write_count(), 11, "{error}");
    assert_eq!(waiting.await?.unwrap_err().code(), &Code::Unavailable);
    Ok(())
}
