//! What a cache is a copy of: loaded as a whole, and looked at from time to time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::{Info, State};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::backoff;
use crate::store::bucket::facts::{Facts, Report};
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::bucket::KvBucket;
use crate::store::kv::cache::state::{Basis, CacheState};
use crate::store::kv::clock::Clock;
use crate::store::kv::handle::KvStore;
use crate::store::reader::api_request::request;
use crate::store::reader::delivery::{BucketMessage, ReaderEvent};
use crate::store::reader::liveness::{ConsumerProgress, Liveness};
use crate::store::reader::range::{Start, is_replicated};
use crate::store::reader::raw;

/// How long a change that was stored before a look may take to arrive before the server is asked for it.
const ARRIVAL_TIMEOUT: Duration = Duration::from_millis(100);
/// How often, and with which pauses, the server is asked for what is on its way.
const MAX_PROGRESS_REQUESTS: usize = 10;
const PROGRESS_PAUSE: Duration = Duration::from_millis(50);
/// How long a replica that is behind the leader may deliver nothing before another one is tried.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(1);

/// The part of a bucket that a cache holds.
pub(crate) struct Source<T> {
    pub(crate) store: KvStore<T>,
    pub(crate) pattern: String,
    pub(crate) max_entries: Option<usize>,
}

/// How far a copy has come: the newest revision, and the creation of the bucket to which it belongs; `None` if there is no copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) created: Option<SystemTime>,
    pub(crate) revision: u64,
}

/// A copy of the bucket.
pub(crate) struct Loaded<T> {
    pub(crate) state: CacheState<T>,
    pub(crate) seen: Seen,
    pub(crate) feed: ChangeFeed,
    /// No change before this moment is missing.
    pub(crate) agreed_at: Instant,
}

/// The changes that follow a copy.
pub(crate) struct ChangeFeed {
    pub(crate) events: BoxStream<'static, Result<ReaderEvent, StoreError>>,
    pub(crate) liveness: Arc<Liveness>,
    pub(crate) prefix: String,
}

/// What a look at the bucket has found.
pub(crate) struct Look {
    pub(crate) asked_at: Instant,
    pub(crate) basis: Basis,
    pub(crate) stream: State,
    /// How many keys have a message; `None` if nothing has changed since the last look that agreed.
    pub(crate) subjects: Option<u64>,
    pub(crate) arrival: Arrival,
    /// The keys to look up, with what the bucket has for each.
    pub(crate) uncovered: Vec<(String, Option<BucketMessage>)>,
}

/// Whether what the bucket had at a look has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Complete,
    /// This many messages are yet to come.
    Behind(u64, ConsumerProgress),
    /// They do not come, since an operator has paused the consumer.
    Paused(u64),
}

/// The state of a consumer, as the server tells it.
#[derive(Deserialize)]
struct ConsumerState {
    num_pending: u64,
    delivered: Delivered,
    #[serde(default)]
    paused: bool,
}

/// A request without content: the server takes no other value here.
#[derive(Serialize)]
struct EmptyRequest {}

#[derive(Deserialize)]
struct Delivered {
    consumer_seq: u64,
}

impl<T: Send + Sync + 'static> Source<T> {
    /// Reads all current entries.
    pub(crate) async fn load(&self) -> Result<Loaded<T>, StoreError> {
        let deadline = backoff::after(Instant::now(), self.store.timeout()?);
        loop {
            if let Some(loaded) = self.load_from_replica().await? {
                return Ok(loaded);
            }
            if Instant::now() >= deadline {
                let bucket = self.store.bucket();
                return Err(StoreError::new(
                    StoreErrorKind::TimedOut,
                    format!(
                        "the replicas of bucket `{bucket}` that were read are behind its leader"
                    ),
                ));
            }
        }
    }

    /// Reads all current entries from one of the replicas; `None` if that is behind the leader, and stays so.
    async fn load_from_replica(&self) -> Result<Option<Loaded<T>>, StoreError> {
        let agreed_at = Instant::now();
        let (report, basis) = self.within(async |bucket| ask(bucket, None).await).await?;
        let pattern = std::slice::from_ref(&self.pattern);
        let (consumer, prefix) = self
            .store
            .consume(pattern, Start::Newest, false, true)
            .await?;
        let liveness = consumer.liveness();
        let mut events = consumer.into_stream();
        let mut state = CacheState::new(self.max_entries, Some(basis.clone()));
        let mut apply = |message: BucketMessage| {
            let sequence = message.sequence;
            state.apply(&self.store.codec(), &prefix, message);
            sequence
        };
        let within = self.store.timeout()?;
        let mut position = 0;
        loop {
            match timeout(within, events.next()).await {
                Ok(Some(Ok(ReaderEvent::Message(message)))) => position = apply(message),
                Ok(Some(Ok(ReaderEvent::CaughtUp)) | None) => break,
                Ok(Some(Err(error))) => return Err(error),
                Err(_) => return Err(self.store.timed_out()),
            }
        }
        let last_sequence = report.info.state.last_sequence;
        if position < last_sequence && is_replicated(&report.info) {
            match self.catch_up(position, &mut events, apply).await? {
                Some(caught_up) => position = caught_up,
                None => return Ok(None),
            }
        }
        let created = Some(basis.facts.created);
        // What is not delivered of this was superseded or removed.
        let revision = position.max(last_sequence);
        Ok(Some(Loaded {
            state,
            seen: Seen { created, revision },
            feed: ChangeFeed {
                events,
                liveness,
                prefix,
            },
            agreed_at,
        }))
    }

    /// Reads on until a copy has all that the leader has: the replica that delivers may be behind it. Returns the sequence of the last
    /// message; `None` if no more is delivered.
    async fn catch_up(
        &self,
        mut position: u64,
        events: &mut BoxStream<'static, Result<ReaderEvent, StoreError>>,
        mut apply: impl FnMut(BucketMessage) -> u64,
    ) -> Result<Option<u64>, StoreError> {
        while let Some(end) = self.newer_at_leader(position).await {
            let begin = position;
            while position < end {
                match timeout(REPLICA_TIMEOUT, events.next()).await {
                    Ok(Some(Ok(ReaderEvent::Message(message)))) => position = apply(message),
                    Ok(Some(Ok(ReaderEvent::CaughtUp))) => {}
                    Ok(Some(Err(error))) => return Err(error),
                    Ok(None) => return Err(StoreError::connection_lost()),
                    // nats-server may forget to tell a consumer what a replica has fetched from the others.
                    Err(_) if position == begin => return Ok(None),
                    // What the leader had may have been removed before it was delivered.
                    Err(_) => break,
                }
            }
            if position >= end {
                break;
            }
        }
        Ok(Some(position))
    }

    /// The newest revision that the leader has, if it is after `position`. `None` if the leader does not say.
    async fn newer_at_leader(&self, position: u64) -> Option<u64> {
        let newest = self.within(async |bucket| {
            let subject = bucket.subject(&self.pattern);
            let (gate, context) = (bucket.gate(), bucket.context());
            Ok(raw::newest_at_leader(gate, context, bucket.stream_name(), &subject).await)
        });
        let newest = newest.await.ok()??;
        (newest.sequence > position).then_some(newest.sequence)
    }

    /// Looks at the bucket, for comparison with a copy. `last` is the stream at the last look that agreed. With `is_exact`, the stream may
    /// have subjects that are not of the bucket.
    pub(crate) async fn look(
        &self,
        last: Option<State>,
        is_exact: bool,
        uncovered: Vec<String>,
        liveness: Arc<Liveness>,
        seen: watch::Receiver<Seen>,
    ) -> Result<Look, StoreError> {
        let asked_at = Instant::now();
        let mut found = Vec::with_capacity(uncovered.len());
        for key in uncovered {
            let message = self.newest(&key).await?;
            found.push((key, message));
        }
        let (mut report, mut basis) = self.within(async |bucket| ask(bucket, None).await).await?;
        let is_unchanged = last.is_some_and(|last| is_unchanged(&last, &report.info.state));
        let subjects = if is_unchanged && found.is_empty() {
            None
        } else if self.pattern == ">" && !is_exact && report.info.config.sources.is_none() {
            Some(report.info.state.subjects_count)
        } else {
            let counted = async |bucket: &KvBucket| ask(bucket, Some(&self.pattern)).await;
            (report, basis) = self.within(counted).await?;
            Some(report.total)
        };
        let arrival = if is_unchanged {
            Arrival::Complete
        } else {
            self.arrival(&report.info, &liveness, seen).await?
        };
        let stream = report.info.state;
        Ok(Look {
            asked_at,
            basis,
            stream,
            subjects,
            arrival,
            uncovered: found,
        })
    }

    /// Finds out whether all that the bucket has at a look has arrived.
    async fn arrival(
        &self,
        stream: &Info,
        liveness: &Liveness,
        mut seen: watch::Receiver<Seen>,
    ) -> Result<Arrival, StoreError> {
        let last_sequence = stream.state.last_sequence;
        let arrived = async {
            let arrived = seen.wait_for(|seen| seen.revision >= last_sequence).await;
            arrived.is_ok()
        };
        if timeout(ARRIVAL_TIMEOUT, arrived).await == Ok(true) {
            return Ok(Arrival::Complete);
        }
        // The last message may not match, or may be gone; or the server holds it back.
        let mut arrival = Arrival::Behind(0, ConsumerProgress::default());
        for _ in 0..MAX_PROGRESS_REQUESTS {
            let progress = liveness.consumer();
            if progress.name.is_empty() {
                return Ok(arrival);
            }
            let asked = async |bucket: &KvBucket| consumer_state(bucket, &progress.name).await;
            let state = self.within(asked).await?;
            if state.paused {
                return Ok(Arrival::Paused(state.num_pending));
            }
            let delivered = ConsumerProgress {
                name: progress.name,
                delivered: state.delivered.consumer_seq,
            };
            let progress = liveness.consumer();
            let is_at_end = state.num_pending == 0 && progress == delivered;
            let position = seen.borrow().revision;
            if is_at_end
                && (!is_replicated(stream) || self.newer_at_leader(position).await.is_none())
            {
                return Ok(Arrival::Complete);
            }
            arrival = Arrival::Behind(state.num_pending, progress);
            sleep(PROGRESS_PAUSE).await;
        }
        Ok(arrival)
    }

    /// The newest message of a key. Read with a consumer, for which whoever may have a cache has the permissions.
    async fn newest(&self, key: &str) -> Result<Option<BucketMessage>, StoreError> {
        let key = [key.to_owned()];
        let (consumer, _) = self
            .store
            .consume(&key, Start::Newest, false, false)
            .await?;
        let mut events = consumer.into_stream();
        match timeout(self.store.timeout()?, events.next()).await {
            Ok(Some(Ok(ReaderEvent::Message(message)))) => Ok(Some(message)),
            Ok(Some(Ok(ReaderEvent::CaughtUp)) | None) => Ok(None),
            Ok(Some(Err(error))) => Err(error),
            Err(_) => Err(self.store.timed_out()),
        }
    }

    /// The bucket as it is now.
    pub(crate) async fn facts(&self) -> Result<Arc<Facts>, StoreError> {
        self.within(async |bucket| bucket.facts().now().await).await
    }

    async fn within<R>(
        &self,
        operation: impl AsyncFnOnce(&KvBucket) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let handle = &self.store.handle;
        handle
            .within(async |jetstream| {
                let bucket = jetstream.open::<KvBucket>(self.store.bucket()).await?;
                operation(&bucket).await
            })
            .await
    }
}

/// Asks the server for the state of the bucket, and for how many of its keys match a pattern.
async fn ask(bucket: &KvBucket, pattern: Option<&str>) -> Result<(Report, Basis), StoreError> {
    let asked_at = Instant::now();
    let (report, facts) = match pattern {
        Some(pattern) => bucket.facts().count(&bucket.subject(pattern)).await?,
        None => bucket.facts().look(&()).await?,
    };
    let clock = Clock::read(&report.ts, asked_at).ok_or_else(|| {
        StoreError::new(StoreErrorKind::Nats, "cannot read the clock of the server")
    })?;
    Ok((report, Basis { facts, clock }))
}

async fn consumer_state(bucket: &KvBucket, name: &str) -> Result<ConsumerState, StoreError> {
    let failed = "cannot read the state of a consumer";
    let subject = format!("CONSUMER.INFO.{}.{name}", bucket.stream_name());
    let (gate, context) = (bucket.gate(), bucket.context());
    let state = request(gate, context, &subject, &EmptyRequest {}, failed).await?;
    state.map_err(|error| StoreError::nats(failed, error))
}

/// Whether nothing was written or removed between two looks at a stream.
fn is_unchanged(one: &State, other: &State) -> bool {
    let key = |state: &State| {
        (
            state.first_sequence,
            state.last_sequence,
            state.messages,
            state.subjects_count,
        )
    };
    key(one) == key(other)
}
