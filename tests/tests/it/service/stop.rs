//! The end of a server: `stop`, drop, and what neither of them may lose.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use natsmicro::{Code, RunningServer, Status};
use natsmicro_tests::common::synced;
use natsmicro_tests::persistence::load::Load;
use natsmicro_tests::persistence::{Gate, Nats, Save, Saved, TestResult, eventually};
use prost::Message;

#[natsmicro::service(subject_prefix = "w")]
pub trait Worker {
    #[kv_store(bucket = "work", key = "<key>", storage = "memory")]
    async fn work(&self, request: Save) -> Result<Saved, Status>;

    async fn wait(&self, request: Save) -> Result<Saved, Status>;

    #[endpoint(max_in_flight = 1)]
    async fn in_order(&self, request: Save) -> Result<Saved, Status>;

    async fn block(&self, request: Save) -> Result<Saved, Status>;
}

#[derive(Default)]
struct Instance {
    number: u64,
    gate: Arc<Gate>,
}

impl Worker for Instance {
    async fn work(&self, mut request: Save) -> Result<Saved, Status> {
        request.n = self.number;
        if request.key.ends_with('7') {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        request.answer()
    }

    async fn wait(&self, request: Save) -> Result<Saved, Status> {
        self.gate.pass().await;
        request.answer()
    }

    async fn in_order(&self, request: Save) -> Result<Saved, Status> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        request.answer()
    }

    async fn block(&self, request: Save) -> Result<Saved, Status> {
        std::thread::sleep(Duration::from_micros(300));
        request.answer()
    }
}

async fn start(nats: &Nats, instance: Instance) -> RunningServer {
    nats.service()
        .await
        .with_drain_timeout(Duration::from_secs(10))
        .add_service(WorkerServer::new(instance))
        .start()
        .await
        .unwrap()
}

async fn load(nats: &Nats) -> Load<Saved> {
    let client = WorkerClient::new(nats.server.connect().await.unwrap());
    Load::start(256, move |key| {
        let call = client.work(Save::new(key, ""));
        call.with_timeout(Duration::from_secs(4)).into_future()
    })
}

fn instance(number: u64) -> Instance {
    Instance {
        number,
        ..Instance::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_under_load_loses_no_call_and_no_write() -> TestResult {
    let nats = Nats::start().await;
    let (first, second) = (
        start(&nats, instance(1)).await,
        start(&nats, instance(2)).await,
    );
    let load = load(&nats).await;
    load.more(2_000).await;
    first.stop().await?;
    // What the first instance has answered by now is all that it will ever answer.
    let stored = nats.subjects("KV_work", ">").await;
    load.more(1_000).await;
    let results = load.end().await;

    let failed: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        failed[0]
    );
    let by_first: Vec<_> = results
        .iter()
        .flatten()
        .filter(|saved| saved.n == 1)
        .collect();
    assert!(by_first.len() > 100, "both instances had a share");
    for saved in by_first {
        assert!(
            stored.contains_key(&format!("$KV.work.{}", saved.key)),
            "answered by the stopped instance and not stored: {saved:?}"
        );
    }
    second.stop().await?;
    let stored: HashSet<_> = nats.subjects("KV_work", ">").await.into_keys().collect();
    for saved in results.into_iter().flatten() {
        assert!(
            stored.contains(&format!("$KV.work.{}", saved.key)),
            "{saved:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drop_under_load_lets_no_caller_wait() -> TestResult {
    let nats = Nats::start().await;
    let (first, second) = (
        start(&nats, instance(1)).await,
        start(&nats, instance(2)).await,
    );
    let load = load(&nats).await;
    load.more(2_000).await;
    drop(first);
    load.more(1_000).await;
    for result in load.end().await {
        if let Err(error) = result {
            assert_eq!(error.code(), &Code::Unavailable, "{error}");
        }
    }
    second.stop().await?;
    Ok(())
}

#[tokio::test]
async fn drop_ends_the_service_and_not_its_calls() -> TestResult {
    let nats = Nats::start().await;
    let gate = Arc::new(Gate::default());
    let service = Instance {
        gate: gate.clone(),
        number: 1,
    };
    let server = start(&nats, service).await;
    let client = WorkerClient::new(nats.client());
    let call = tokio::spawn(client.wait(Save::new("a", "")).into_future());
    gate.reached_by(1).await;
    client.work(Save::new("b", "")).await?;
    drop(server);
    eventually("the endpoint is gone", || async {
        let error = client.in_order(Save::new("c", "")).await.err()?;
        (error.code() == &Code::Unavailable).then_some(())
    })
    .await;
    gate.open();
    assert_eq!(call.await??.key, "a");
    // And what was answered is stored.
    eventually("the response is stored", || async {
        client.get_work_from_kv("b").await.unwrap()
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn stop_answers_what_waits_for_its_turn() -> TestResult {
    let nats = Nats::start().await;
    let server = start(&nats, instance(1)).await;
    let client = WorkerClient::new(nats.client());
    let calls = (0..100).map(|n| tokio::spawn(client.in_order(Save::number("a", n)).into_future()));
    let calls: Vec<_> = calls.collect();
    eventually("the first is answered", || async {
        (server.stats()[0].endpoints[2].num_requests > 0).then_some(())
    })
    .await;
    server.stop().await?;
    for call in calls {
        call.await??;
    }
    let error = client.in_order(Save::new("a", "")).await.unwrap_err();
    assert_eq!(error.code(), &Code::Unavailable);
    let discovery = nats.nats.request("$SRV.PING", "".into()).await;
    assert!(discovery.is_err(), "discovery ends too");
    Ok(())
}

/// Handlers that hold up the thread, so that requests pile up in the subscription.
#[tokio::test]
async fn stop_answers_what_has_arrived() -> TestResult {
    const REQUESTS: usize = 3_000;
    let nats = Nats::start().await;
    let server = start(&nats, instance(1)).await;
    let caller = nats.server.connect().await?;
    let inbox = caller.new_inbox();
    let mut answers = caller.subscribe(inbox.clone()).await?;
    let request = Save::new("a", "").encode_to_vec();
    for _ in 0..REQUESTS {
        let (inbox, request) = (inbox.clone(), request.clone().into());
        caller.publish_with_reply("w.block", inbox, request).await?;
    }
    // What comes after them on the same connection: they are all with the nats-server, and none is left to be sent.
    caller
        .request("w.work", Save::new("a", "").encode_to_vec().into())
        .await?;
    server.stop().await?;
    answers_of(&mut answers, REQUESTS).await;
    Ok(())
}

async fn answers_of(answers: &mut async_nats::Subscriber, count: usize) {
    for n in 0..count {
        let answer = tokio::time::timeout(Duration::from_secs(3), answers.next()).await;
        let answer = answer.unwrap_or_else(|_| panic!("only {n} of {count} were answered"));
        let headers = answer.unwrap().headers;
        assert!(headers.is_none(), "{headers:?}");
    }
}

#[tokio::test]
async fn stop_gives_up_a_handler_that_never_ends() -> TestResult {
    let nats = Nats::start().await;
    let gate = Arc::<Gate>::default();
    let server = nats
        .service()
        .await
        .with_drain_timeout(Duration::from_millis(500))
        .add_service(WorkerServer::new(Instance {
            number: 1,
            gate: Arc::clone(&gate),
        }))
        .start()
        .await?;
    let client = WorkerClient::new(nats.client());
    let calls = [0, 1].map(|n| tokio::spawn(client.wait(Save::number("a", n)).into_future()));
    gate.reached_by(2).await;
    let begun = Instant::now();
    let error = server.stop().await.unwrap_err();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let [unfinished] = error.unfinished_calls() else {
        panic!("{error:?}")
    };
    assert_eq!(
        (
            unfinished.service.as_str(),
            unfinished.endpoint.as_str(),
            unfinished.calls
        ),
        ("Worker", "wait", 2)
    );
    assert_eq!(error.lost_write_count(), 0);
    for call in calls {
        let error = call.await?.unwrap_err();
        assert_eq!(error.code(), &Code::Unavailable);
        assert!(error.message().contains("stopping"), "{error}");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "nobody waits for a timeout"
    );
    Ok(())
}

#[tokio::test]
async fn stop_without_nats_returns_with_an_error() -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .with_drain_timeout(Duration::from_millis(500))
        .add_service(WorkerServer::new(instance(1)))
        .start()
        .await?;
    nats.server.kill()?;
    let begun = Instant::now();
    let error = server.stop().await.unwrap_err();
    // Rather than after the 30 s of a server that was told nothing.
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        error.unfinished_calls().is_empty(),
        "no call was running: {error}"
    );
    assert!(error.to_string().contains("did not answer"), "{error}");
    Ok(())
}

/// What `stop` relies on: nats-server takes a limit of more than nine digits as "at once", and async-nats goes on receiving.
#[tokio::test]
async fn a_very_large_unsubscribe_limit_means_at_once() -> TestResult {
    let nats = Nats::start().await;
    let service = nats.server.connect().await?;
    let mut requests = service.queue_subscribe("fence", "q".into()).await?;
    synced(&service).await;
    nats.nats.publish("fence", "before".into()).await?;
    synced(&nats.nats).await;

    requests.unsubscribe_after(u64::MAX).await?;
    synced(&service).await;
    let error = nats
        .nats
        .request("fence", "after".into())
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        async_nats::RequestErrorKind::NoResponders,
        "the server has taken the subscription away"
    );
    let received = requests.next().await.unwrap();
    assert_eq!(
        received.payload, "before",
        "sent before, and still received"
    );
    synced(&service).await;
    let nothing = tokio::time::timeout(Duration::ZERO, requests.next()).await;
    assert!(
        nothing.is_err(),
        "still open, and nothing came after: {nothing:?}"
    );
    Ok(())
}
