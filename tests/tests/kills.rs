//! Two services write to the same keys of a replicated bucket while the servers of the cluster are killed one after the other: no older
//! value stands over a newer one that was acknowledged. A program of its own: it takes minutes, and needs the machine to itself.
//!
//! `NATSMICRO_KILLS` and `NATSMICRO_KILLS_KEYS` say how many kills and keys; `.ci/run` asks for more than the defaults: it takes two minutes.

use std::collections::HashMap;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use natsmicro::store::StoreError;
use natsmicro::testing::NatsCluster;
use natsmicro::{Code, KvStore, Status, StopError};
use natsmicro_tests::persistence::{Save, Saved, TestResult, persistence};

const DEFAULT_KILLS: usize = 5;
const DEFAULT_KEYS: usize = 2_000;
const CALLERS: usize = 1_000;
/// How many values a caller writes to a key before it goes on to the next one.
const VALUES_IN_A_ROW: u64 = 4;
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the cluster may take until all its servers have all values again.
const RECOVERY: Duration = Duration::from_secs(60);

#[natsmicro::service(subject_prefix = "left")]
trait Left {
    #[kv_store(
        bucket = "values",
        key = "<key>",
        replicas = 3,
        persist = "before_response"
    )]
    async fn save_left(&self, request: Save) -> Result<Saved, Status>;
}

#[natsmicro::service(subject_prefix = "right")]
trait Right {
    #[kv_store(
        bucket = "values",
        key = "<key>",
        replicas = 3,
        persist = "before_response"
    )]
    async fn save_right(&self, request: Save) -> Result<Saved, Status>;
}

struct Service;

impl Left for Service {
    async fn save_left(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

impl Right for Service {
    async fn save_right(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
}

/// What a caller knows of its key. Values count from 1.
struct Key {
    name: String,
    /// The last value that was sent.
    sent: u64,
    /// The highest value that was acknowledged.
    acknowledged: u64,
}

#[derive(Default)]
struct Counts {
    acknowledged: AtomicUsize,
    failed: AtomicUsize,
    deadline_exceeded: AtomicUsize,
    /// Looks at keys between their values.
    looks: AtomicUsize,
}

#[derive(Clone)]
struct Caller {
    left: LeftClient,
    right: RightClient,
    store: KvStore<Saved>,
    counts: Arc<Counts>,
    is_over: Arc<AtomicBool>,
}

impl Caller {
    async fn connect(cluster: &NatsCluster) -> Self {
        let nats = cluster.connect().await.unwrap();
        let jetstream = jetstream::new(nats.clone());
        let client = natsmicro::Client::new(nats).with_jetstream(jetstream);
        let left = LeftClient::new(client.clone());
        Self {
            store: left.save_left_kv().with_leader_reads(),
            left,
            right: RightClient::new(client),
            counts: Arc::default(),
            is_over: Arc::default(),
        }
    }

    /// Writes to its keys in turns, each at least once, until the kills are over. Returns the keys, and what was wrong in between.
    async fn run(self, mut keys: Vec<Key>) -> (Vec<Key>, Vec<String>) {
        let mut wrong = Vec::new();
        let mut is_first_round = true;
        while is_first_round || !self.is_over.load(Ordering::Relaxed) {
            for key in &mut keys {
                if let Ok(stored) = self.store.get(&key.name).await {
                    self.counts.looks.fetch_add(1, Ordering::Relaxed);
                    wrong.extend(key.compared_with(stored));
                }
                for _ in 0..VALUES_IN_A_ROW {
                    self.write_next(key).await;
                }
            }
            is_first_round = false;
        }
        (keys, wrong)
    }

    /// Reads what is stored in the end. A cluster that has just lost servers may choose another leader once more, and answers nobody meanwhile.
    async fn read(&self, name: &str) -> Result<Option<Saved>, StoreError> {
        let since = Instant::now();
        loop {
            match self.store.get(name).await {
                Err(error) if since.elapsed() >= RECOVERY => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                stored => return stored,
            }
        }
    }

    /// Writes the next value through the other service than the last one, and waits for the outcome.
    async fn write_next(&self, key: &mut Key) {
        key.sent += 1;
        let request = Save::number(&key.name, key.sent);
        let call = if key.sent.is_multiple_of(2) {
            self.left
                .save_left(request)
                .with_timeout(CALL_TIMEOUT)
                .into_future()
        } else {
            self.right
                .save_right(request)
                .with_timeout(CALL_TIMEOUT)
                .into_future()
        };
        match call.await {
            Ok(saved) => {
                assert_eq!(saved.n, key.sent);
                key.acknowledged = saved.n;
                self.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                if error.code() == &Code::DeadlineExceeded {
                    self.counts
                        .deadline_exceeded
                        .fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

impl Key {
    /// A value that was not acknowledged may be stored or not, but only over older ones.
    fn compared_with(&self, stored: Option<Saved>) -> Option<String> {
        let Self {
            name,
            sent,
            acknowledged,
        } = self;
        let stored = stored.map_or(0, |saved| saved.n);
        (stored < *acknowledged || stored > *sent).then(|| {
            format!(
                "{name}: {acknowledged} was acknowledged, {sent} was sent last, {stored} is stored"
            )
        })
    }
}

/// How many of the lost writes that are listed had which cause, up to the first colon.
fn causes(error: &StopError) -> HashMap<&str, usize> {
    let mut causes = HashMap::new();
    for lost in error.lost_writes() {
        let cause = lost.cause.split(':').next().unwrap_or_default();
        *causes.entry(cause).or_default() += 1;
    }
    causes
}

fn setting(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// A server on a connection of its own.
async fn server(cluster: &NatsCluster) -> natsmicro::Server {
    let nats = cluster.connect().await.unwrap();
    natsmicro::Server::new(nats.clone()).with_jetstream(jetstream::new(nats))
}

/// Waits until the bucket has a leader and all its replicas are up to date.
async fn recovered(jetstream: &jetstream::Context) {
    let since = Instant::now();
    loop {
        if let Ok(stream) = jetstream.get_stream("KV_values").await
            && let Some(cluster) = &stream.cached_info().cluster
            && cluster.leader.is_some()
            && cluster.replicas.len() == 2
            && cluster
                .replicas
                .iter()
                .all(|replica| replica.current && !replica.offline)
        {
            return;
        }
        assert!(since.elapsed() < RECOVERY, "the cluster does not recover");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_value_is_lost_or_replaced_by_an_older_one() -> TestResult {
    let kills = setting("NATSMICRO_KILLS", DEFAULT_KILLS);
    let keys = setting("NATSMICRO_KILLS_KEYS", DEFAULT_KEYS);
    let since = Instant::now();
    let cluster = NatsCluster::start(3).await?;
    // One of the services writes in batches.
    let left = server(&cluster).await.with_batches(true);
    let left = left.add_service(LeftServer::new(Service));
    let right = server(&cluster)
        .await
        .add_service(RightServer::new(Service));
    let (left, right) = (left.start().await?, right.start().await?);
    let caller = Caller::connect(&cluster).await;
    let key = |n: usize| Key {
        name: format!("key-{n}"),
        sent: 0,
        acknowledged: 0,
    };
    let callers: Vec<_> = (0..CALLERS)
        .map(|first| {
            let keys = (first..keys).step_by(CALLERS).map(key).collect();
            tokio::spawn(caller.clone().run(keys))
        })
        .collect();

    let operator = jetstream::new(cluster.connect().await?);
    for kill in 0..kills {
        let server = &cluster.servers()[kill % 3];
        // So that there is a load, and a server that is back has had something to do.
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.kill()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.restart().await?;
        recovered(&operator).await;
    }
    caller.is_over.store(true, Ordering::Relaxed);
    let (mut keys, mut wrong) = (Vec::new(), Vec::new());
    for caller in callers {
        let (of_caller, wrong_in_between) = caller.await?;
        keys.extend(of_caller);
        wrong.extend(wrong_in_between);
    }
    let stats = [
        persistence(&left, "save_left"),
        persistence(&right, "save_right"),
    ];
    // Whatever waits is made or given up. Some writes were given up: those of calls that failed.
    let stopped = [left.stop().await, right.stop().await];
    let wrong_in_between = wrong.len();
    recovered(&operator).await;
    for key in &keys {
        wrong.extend(key.compared_with(caller.read(&key.name).await?));
    }
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    println!(
        "{kills} kills, {} keys, {:?}: {} values acknowledged, {} calls failed ({} DEADLINE_EXCEEDED), {} looks in between; \
         {} wrong, {wrong_in_between} of them in between",
        keys.len(),
        since.elapsed(),
        count(&caller.counts.acknowledged),
        count(&caller.counts.failed),
        count(&caller.counts.deadline_exceeded),
        count(&caller.counts.looks),
        wrong.len(),
    );
    for stopped in stopped {
        println!("{:?}", stopped.as_ref().map_err(causes));
    }
    println!("{stats:?}");
    assert!(keys.iter().all(|key| key.sent >= VALUES_IN_A_ROW));
    assert!(
        count(&caller.counts.failed) > 0,
        "the kills disturbed nobody"
    );
    assert!(
        wrong.is_empty(),
        "{} keys, such as {}",
        wrong.len(),
        wrong[0]
    );
    Ok(())
}
