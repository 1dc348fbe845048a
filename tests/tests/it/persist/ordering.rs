//! Per key, responses are stored in the order in which their handlers finished.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use natsmicro::Status;
use natsmicro_tests::persistence::proxy::Proxy;
use natsmicro_tests::persistence::{
    Nats, Save, Saved, TestResult, check_lost_with_their_calls, persistence,
};
use prost::Message;

#[natsmicro::service(timeout = "30s")]
pub trait Journal {
    #[kv_store(bucket = "after", key = "<key>", max_history = 64)]
    async fn after(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(
        bucket = "before",
        key = "<key>",
        max_history = 64,
        persist = "before_response"
    )]
    async fn before(&self, request: Save) -> Result<Saved, Status>;

    /// On the bucket of another method.
    #[kv_store(bucket = "after", key = "<key>", max_history = 64)]
    async fn another(&self, request: Save) -> Result<Saved, Status>;
}

/// Waits for a time that differs from call to call, and numbers the calls of a key as its last act.
///
/// The runtime of these tests has one thread, on which nothing can come between this act and the queue of writes.
#[derive(Default)]
struct Numbering(Mutex<HashMap<String, u64>>);

impl Numbering {
    async fn answer(&self, request: Save) -> Result<Saved, Status> {
        if !request.n.is_multiple_of(3) {
            tokio::time::sleep(Duration::from_millis(request.n * 7 % 20)).await;
        }
        let mut saved = request.saved();
        let mut finished = self.0.lock().unwrap();
        let finished = finished.entry(saved.key.clone()).or_default();
        *finished += 1;
        saved.n = *finished;
        Ok(saved)
    }
}

struct Service(Arc<Numbering>);

impl Journal for Service {
    async fn after(&self, request: Save) -> Result<Saved, Status> {
        self.0.answer(request).await
    }
    async fn before(&self, request: Save) -> Result<Saved, Status> {
        self.0.answer(request).await
    }
    async fn another(&self, request: Save) -> Result<Saved, Status> {
        self.0.answer(request).await
    }
}

/// The numbers that a key of a bucket went through.
async fn numbers(nats: &Nats, bucket: &str, key: &str) -> Vec<u64> {
    let revisions = nats.revisions(bucket, key).await;
    let decode = |(_, value): (u64, bytes::Bytes)| Saved::decode(value).unwrap().n;
    revisions.into_iter().map(decode).collect()
}

#[derive(Clone, Copy)]
enum Mode {
    After,
    Before,
}

async fn two_hundred_writers(mode: Mode) -> TestResult {
    let nats = Nats::start().await;
    let server = nats
        .service()
        .await
        .add_service(JournalServer::new(Service(Arc::default())))
        .start()
        .await?;
    let client = JournalClient::new(nats.client());
    // Four times, so that each key is written by many calls that wait in different ways.
    let calls = (0..800).map(|n| {
        let request = Save::number(format!("key-{}", n % 10), n);
        match (mode, n % 2) {
            (Mode::Before, _) => client.before(request).into_future(),
            (Mode::After, 0) => client.after(request).into_future(),
            (Mode::After, _) => client.another(request).into_future(),
        }
    });
    let calls: Vec<_> = calls.collect();
    for (n, result) in futures::future::join_all(calls)
        .await
        .into_iter()
        .enumerate()
    {
        result.map_err(|error| format!("call {n}: {error}"))?;
    }
    server.stop().await?;
    let bucket = match mode {
        Mode::After => "after",
        Mode::Before => "before",
    };
    for key in 0..10 {
        // 80 calls, of which the history keeps 64.
        let numbers = numbers(&nats, bucket, &format!("key-{key}")).await;
        assert_eq!(numbers, (17..=80).collect::<Vec<_>>(), "key {key}");
    }
    Ok(())
}

#[tokio::test]
async fn after_the_response() -> TestResult {
    two_hundred_writers(Mode::After).await
}

#[tokio::test]
async fn before_the_response() -> TestResult {
    two_hundred_writers(Mode::Before).await
}

enum Disturbance {
    /// The nats-server is killed and comes back.
    Restart,
    /// The connection of the service is cut, three times.
    Cuts,
}

/// Two hundred writers on ten keys. A write may be repeated after the disturbance, but never after a later one.
async fn disturbed(mode: Mode, disturbance: Disturbance) -> TestResult {
    let nats = Nats::start().await;
    let proxy = Proxy::start(&nats.server).await;
    let numbering = Arc::new(Numbering::default());
    let server = proxy
        .service()
        .await
        .add_service(JournalServer::new(Service(numbering.clone())))
        .start()
        .await?;
    let client = JournalClient::new(nats.client().with_timeout(Duration::from_secs(20)));
    let load = |writer: u64| {
        let client = client.clone();
        async move {
            let mut results = Vec::new();
            for round in 0..4 {
                let request = Save::number(format!("key-{}", writer % 10), round + writer);
                // A call that is cut off may fail. What its handler answered is stored all the same if the call does not wait for that.
                let call = match mode {
                    Mode::Before => client.before(request),
                    Mode::After => client.after(request),
                };
                results.push(call.with_timeout(Duration::from_secs(3)).await);
            }
            results
        }
    };
    let writers: Vec<_> = (0..200).map(|writer| tokio::spawn(load(writer))).collect();
    let endpoint = match mode {
        Mode::After => "after",
        Mode::Before => "before",
    };
    let are_stored = |count| {
        let server = &server;
        natsmicro_tests::persistence::eventually("the load is under way", move || async move {
            (persistence(server, endpoint).persisted > count).then_some(())
        })
    };
    are_stored(50).await;
    match disturbance {
        Disturbance::Restart => nats.server.restart().await?,
        Disturbance::Cuts => {
            for cut in 1..=3 {
                proxy.cut();
                are_stored(50 + cut * 50).await;
            }
        }
    }
    let mut results = Vec::new();
    for writer in writers {
        results.extend(writer.await?);
    }
    let (answered, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let answered: Vec<_> = answered.into_iter().flatten().collect();
    match mode {
        Mode::After => server.stop().await?,
        Mode::Before => check_lost_with_their_calls(server.stop().await, failed.len()),
    }

    for key in 0..10 {
        let key = format!("key-{key}");
        let numbers = numbers(&nats, endpoint, &key).await;
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        let mut distinct = numbers.clone();
        distinct.dedup();
        match mode {
            Mode::After => {
                let last = numbering.0.lock().unwrap()[&key];
                let expected: Vec<_> = (last + 1 - distinct.len() as u64..=last).collect();
                assert_eq!(distinct, expected, "{key} lacks a response: {numbers:?}");
            }
            Mode::Before => {
                // The history may have dropped what is older than the first one.
                let of_key = answered.iter().filter(|saved| saved.key == key);
                let recent = of_key.map(|saved| saved.n).filter(|n| *n >= distinct[0]);
                let lacks: Vec<_> = recent.filter(|n| !distinct.contains(n)).collect();
                assert!(lacks.is_empty(), "{key} lacks {lacks:?}: {numbers:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn after_the_response_across_a_restart() -> TestResult {
    disturbed(Mode::After, Disturbance::Restart).await
}

#[tokio::test]
async fn before_the_response_across_a_restart() -> TestResult {
    disturbed(Mode::Before, Disturbance::Restart).await
}

#[tokio::test]
async fn after_the_response_across_cuts() -> TestResult {
    disturbed(Mode::After, Disturbance::Cuts).await
}

#[tokio::test]
async fn before_the_response_across_cuts() -> TestResult {
    disturbed(Mode::Before, Disturbance::Cuts).await
}
