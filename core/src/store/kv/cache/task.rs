//! The task of a cache: applies changes, compares the copy with the bucket, and loads it again where they disagree.
//!
//! Not all that happens to a bucket is announced: an operator purges keys, a server that was restored has another history, messages expire
//! and uncover older ones, consumers are paused. So the task looks at the bucket twice within the maximum age of the cache, and compares
//! how many keys have a message, and what has arrived.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::State;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use tokio::time::{Instant, sleep_until, timeout};

use crate::backoff::{self, Backoff};
use crate::error::chain;
use crate::log::warn_limited;
use crate::store::bucket::facts::Facts;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::cache::event::CacheEvent;
use crate::store::kv::cache::shared::CacheShared;
use crate::store::kv::cache::source::{Arrival, ChangeFeed, Look, Seen};
use crate::store::kv::cache::state::CacheState;
use crate::store::reader::delivery::ReaderEvent;
use crate::store::reader::liveness::{ConsumerProgress, Liveness};

/// How often the cache removes expired entries.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// The pauses between attempts to load a lost bucket again.
const RELOAD_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// The pauses between loads of a bucket that still disagrees when it was loaded again.
const DISAGREEMENT_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// How many looks in succession disagree before the bucket is loaded again: the server counts keys while they are written.
const MAX_DOUBTS: u32 = 3;
/// The pause before a look that follows one which disagreed.
const DOUBT_PAUSE: Duration = Duration::from_millis(10);
/// The least time that a look may take.
const MIN_LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// The task of a cache.
pub(crate) struct CacheTask<T> {
    shared: Arc<CacheShared<T>>,
    feed: ChangeFeed,
    comparison: Comparison,
}

/// What the task knows of the looks so far.
struct Comparison {
    next_look: Instant,
    /// The stream at the last look that agreed with the copy.
    agreed: Option<State>,
    /// The fewest and the most keys with a message in the copy since the look in progress has begun.
    subjects: (usize, usize),
    doubts: u32,
    /// The consumer at the last look, if not all had arrived.
    behind: Option<ConsumerProgress>,
    pause: Backoff,
    /// When the bucket may be loaded again because of a disagreement.
    reload_from: Instant,
}

/// Why the copy is given up.
enum Disagreement {
    /// The bucket is loaded again. Until then the copy is kept.
    Stale(&'static str),
    /// The bucket is gone, or cannot be read.
    Lost(StoreError),
}

/// The outcome of a look.
enum Verdict {
    Agrees,
    /// Changes are yet to come.
    Behind,
    /// Another look is needed soon.
    Doubtful,
    Disagrees(Disagreement),
}

impl<T: Send + Sync + 'static> CacheTask<T> {
    pub(crate) fn new(shared: Arc<CacheShared<T>>, feed: ChangeFeed) -> Self {
        let now = Instant::now();
        Self {
            comparison: Comparison {
                next_look: backoff::after(now, shared.look_interval()),
                agreed: None,
                subjects: (0, 0),
                doubts: 0,
                behind: None,
                pause: DISAGREEMENT_BACKOFF,
                reload_from: now,
            },
            shared,
            feed,
        }
    }

    /// Runs until it is aborted, or the connection is lost for good.
    pub(crate) async fn run(mut self) {
        loop {
            let error = match self.follow().await {
                Disagreement::Lost(error) => error,
                Disagreement::Stale(reason) => match self.reload(reason).await {
                    Ok(()) => continue,
                    Err(error) => error,
                },
            };
            warn_limited!(
                bucket = self.shared.source.store.bucket(),
                error = chain(&error),
                "a cache has lost its bucket"
            );
            if self.recover(error).await.is_none() {
                return;
            }
        }
    }

    /// Applies changes until the copy disagrees with the bucket.
    async fn follow(&mut self) -> Disagreement {
        let Self {
            shared,
            feed,
            comparison,
        } = self;
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        let mut look: Option<BoxFuture<'static, LookResult>> = None;
        loop {
            let is_looking = look.is_some();
            let looked = async {
                match &mut look {
                    Some(look) => look.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = sweep.tick() => {
                    let expired = shared.write().sweep();
                    shared.send_events(expired);
                }
                looked = looked => {
                    look = None;
                    comparison.next_look = backoff::after(Instant::now(), shared.look_interval());
                    let disagreement = match looked {
                        Ok(Some(look)) => comparison.conclude(shared, feed, look),
                        Ok(None) => None,
                        Err(error) => Some(Disagreement::Lost(error)),
                    };
                    if let Some(disagreement) = disagreement {
                        return disagreement;
                    }
                }
                () = sleep_until(comparison.next_look), if !is_looking => {
                    let subjects = shared.read().subjects();
                    comparison.subjects = (subjects, subjects);
                    look = Some(begin_look(shared, feed, comparison));
                }
                next = feed.events.next() => match next {
                    Some(Ok(ReaderEvent::Message(message))) => shared.apply(&feed.prefix, message),
                    Some(Ok(ReaderEvent::CaughtUp)) => {}
                    Some(Err(error)) => return Disagreement::Lost(error),
                    None => return Disagreement::Lost(StoreError::timed_out()),
                },
            }
            if look.is_some() {
                let subjects = shared.read().subjects();
                let (least, most) = comparison.subjects;
                comparison.subjects = (least.min(subjects), most.max(subjects));
            }
        }
    }

    /// Loads the bucket again, and replaces the copy. If that fails for the moment, the copy is kept.
    async fn reload(&mut self, reason: &'static str) -> Result<(), StoreError> {
        let bucket = self.shared.source.store.bucket();
        tracing::debug!(bucket, reason, "a cache is loaded again");
        match self.shared.source.load().await {
            Ok(loaded) => {
                self.feed = self.shared.replace(loaded);
                self.comparison.forget();
                Ok(())
            }
            Err(error) if is_lasting(&error) => Err(error),
            Err(error) => {
                tracing::debug!(
                    bucket,
                    error = chain(&error),
                    "a cache cannot be loaded again"
                );
                Ok(())
            }
        }
    }

    /// Drops the copy, and loads the bucket once it is there again. `None` if it never will be.
    async fn recover(&mut self, error: StoreError) -> Option<()> {
        let shared = &self.shared;
        let mut backoff = RELOAD_BACKOFF;
        let mut is_over = *error.kind() == StoreErrorKind::ConnectionLost;
        *shared.write() = CacheState::lost(error);
        // Wakes those who wait for a revision, too.
        shared.seen.send_replace(Seen::default());
        shared.send_events([CacheEvent::Cleared]);
        loop {
            if is_over {
                shared.seen.send_modify(|_| {});
                return None;
            }
            backoff.wait().await;
            match shared.source.load().await {
                Ok(loaded) => {
                    self.feed = shared.replace_lost(loaded);
                    self.comparison.forget();
                    return Some(());
                }
                Err(error) => {
                    is_over = *error.kind() == StoreErrorKind::ConnectionLost;
                    shared.write().failure = Some(Arc::new(error));
                }
            }
        }
    }
}

/// What a look has found; nothing if the server has not answered in time, which the age of the cache shows then.
type LookResult = Result<Option<Look>, StoreError>;

/// Begins a look. It fails only if the bucket is lost.
fn begin_look<T: Send + Sync + 'static>(
    shared: &Arc<CacheShared<T>>,
    feed: &ChangeFeed,
    comparison: &Comparison,
) -> BoxFuture<'static, LookResult> {
    let (agreed, is_exact) = (comparison.agreed.clone(), comparison.doubts > 0);
    let shared = Arc::clone(shared);
    let uncovered = shared.read().uncovered();
    let liveness = Arc::clone(&feed.liveness);
    let seen = shared.seen.subscribe();
    let within = shared.look_interval().max(MIN_LOOK_TIMEOUT);
    async move {
        let look = shared
            .source
            .look(agreed, is_exact, uncovered, liveness, seen);
        match timeout(within, look).await {
            Ok(Ok(look)) => Ok(Some(look)),
            Ok(Err(error)) if is_lasting(&error) => Err(error),
            Ok(Err(error)) => {
                let bucket = shared.source.store.bucket();
                tracing::debug!(
                    bucket,
                    error = chain(&error),
                    "a cache cannot look at its bucket"
                );
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }
    .boxed()
}

impl Comparison {
    /// Forgets what was found of the bucket before it was loaded again.
    fn forget(&mut self) {
        self.agreed = None;
        self.behind = None;
    }

    /// Compares the copy with what a look has found; `None` if the copy is kept.
    fn conclude<T: Send + Sync + 'static>(
        &mut self,
        shared: &CacheShared<T>,
        feed: &ChangeFeed,
        look: Look,
    ) -> Option<Disagreement> {
        let (asked_at, stream) = (look.asked_at, look.stream.clone());
        match self.judge(shared, feed, look) {
            Verdict::Agrees => {
                *shared.agreed_at.write() = asked_at;
                self.agreed = Some(stream);
                self.doubts = 0;
                self.pause = DISAGREEMENT_BACKOFF;
                None
            }
            Verdict::Behind => None,
            Verdict::Doubtful => {
                self.next_look = self.next_look.min(Instant::now() + DOUBT_PAUSE);
                None
            }
            Verdict::Disagrees(Disagreement::Stale(_)) if Instant::now() < self.reload_from => None,
            Verdict::Disagrees(disagreement) => {
                self.doubts = 0;
                self.reload_from = Instant::now() + self.pause.next_pause();
                Some(disagreement)
            }
        }
    }

    fn judge<T: Send + Sync + 'static>(
        &mut self,
        shared: &CacheShared<T>,
        feed: &ChangeFeed,
        look: Look,
    ) -> Verdict {
        let mut state = shared.write();
        let Some(basis) = state.basis().cloned() else {
            return Verdict::Behind;
        };
        let (known, found) = (&basis.facts, &look.basis.facts);
        if known.created != found.created {
            let bucket = shared.source.store.bucket();
            return Verdict::Disagrees(Disagreement::Lost(StoreError::new(
                StoreErrorKind::BucketNotFound,
                format!("bucket `{bucket}` was deleted, and another was made under its name"),
            )));
        }
        let settings = |facts: &Facts| (facts.ttl, facts.history, facts.prefix.clone());
        if settings(known) != settings(found) {
            return Verdict::Disagrees(Disagreement::Stale("its settings were changed"));
        }
        state.set_clock(look.basis.clock);
        let codec = shared.source.store.codec();
        let uncovered: Vec<_> = look
            .uncovered
            .into_iter()
            .filter_map(|(key, message)| state.uncover(&codec, &feed.prefix, &key, message))
            .collect();
        let possible = self.possible_subjects(&state, look.stream.first_sequence);
        let has_many_uncovered = state.has_many_uncovered();
        drop(state);
        shared.send_events(uncovered);
        if has_many_uncovered {
            let reason = "many entries have expired over older ones";
            return Verdict::Disagrees(Disagreement::Stale(reason));
        }
        let verdict = self.judge_arrival(&feed.liveness, look.arrival);
        verdict.unwrap_or_else(|| match look.subjects {
            Some(found) => self.judge_subjects(found, &possible),
            None => Verdict::Agrees,
        })
    }

    /// `None` if all that the bucket has has arrived.
    fn judge_arrival(&mut self, liveness: &Liveness, arrival: Arrival) -> Option<Verdict> {
        let reason = match arrival {
            Arrival::Complete => {
                self.behind = None;
                return None;
            }
            Arrival::Paused(pending) => {
                liveness.set_pending(pending);
                "its consumer is paused"
            }
            Arrival::Behind(pending, progress) => {
                liveness.set_pending(pending);
                let is_stuck = !progress.name.is_empty() && self.behind.as_ref() == Some(&progress);
                self.behind = Some(progress);
                if !is_stuck {
                    return Some(Verdict::Behind);
                }
                "its consumer delivers nothing"
            }
        };
        Some(Verdict::Disagrees(Disagreement::Stale(reason)))
    }

    /// How many keys the server may have counted, if the copy is as the bucket.
    fn possible_subjects<T>(
        &self,
        state: &CacheState<T>,
        first_sequence: u64,
    ) -> RangeInclusive<usize> {
        let (least, most) = self.subjects;
        let (subjects, more) = (state.subjects(), state.uncovered_subjects());
        let (fewest_expired, most_expired) = state.expired_subjects(first_sequence);
        let most = most.max(subjects).saturating_sub(fewest_expired) + more;
        least.min(subjects).saturating_sub(most_expired)..=most
    }

    fn judge_subjects(&mut self, found: u64, possible: &RangeInclusive<usize>) -> Verdict {
        if usize::try_from(found).is_ok_and(|found| possible.contains(&found)) {
            return Verdict::Agrees;
        }
        self.doubts += 1;
        if self.doubts < MAX_DOUBTS {
            Verdict::Doubtful
        } else {
            let reason = "keys were removed without a message";
            Verdict::Disagrees(Disagreement::Stale(reason))
        }
    }
}

/// Whether it makes no sense to keep a copy after a load has failed with this error.
fn is_lasting(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::BucketNotFound
            | StoreErrorKind::NotABucket
            | StoreErrorKind::ConnectionLost
    )
}
