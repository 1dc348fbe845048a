//! What the clones of a cache share with its task.

use std::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::cache::event::CacheEvent;
use crate::store::kv::cache::source::{ChangeFeed, Loaded, Seen, Source};
use crate::store::kv::cache::state::CacheState;
use crate::store::reader::delivery::BucketMessage;
use crate::store::reader::liveness::Liveness;
use crate::sync::RwLock;
use crate::transport::subject;

/// How many events a subscriber may lag behind.
const EVENT_CAPACITY: usize = 1024;

/// What the clones of a cache share with its task. Only the task writes; no lock is held across an `await`.
///
/// Invariant: `state` contains all changes up to `seen`, and an event is sent after the state has its change.
pub(crate) struct CacheShared<T> {
    pub(crate) source: Source<T>,
    pub(crate) max_age: Duration,
    state: RwLock<CacheState<T>>,
    liveness: RwLock<Arc<Liveness>>,
    /// No change before this moment is missing.
    pub(crate) agreed_at: RwLock<Instant>,
    pub(crate) seen: watch::Sender<Seen>,
    pub(crate) events: broadcast::Sender<CacheEvent<T>>,
}

impl<T: Send + Sync + 'static> CacheShared<T> {
    pub(crate) fn new(
        source: Source<T>,
        max_age: Duration,
        loaded: Loaded<T>,
    ) -> (Self, ChangeFeed) {
        let Loaded {
            state,
            seen,
            feed,
            agreed_at,
        } = loaded;
        let shared = Self {
            source,
            max_age,
            state: RwLock::new(state),
            liveness: RwLock::new(Arc::clone(&feed.liveness)),
            agreed_at: RwLock::new(agreed_at),
            seen: watch::Sender::new(seen),
            events: broadcast::Sender::new(EVENT_CAPACITY),
        };
        (shared, feed)
    }

    /// Succeeds if a key that is not held has no value. Fails if the cache does not know.
    pub(crate) fn check_absent(&self, state: &CacheState<T>, key: &str) -> Result<(), StoreError> {
        if let Some(failure) = &state.failure {
            return Err(not_up_to_date(failure));
        }
        if subject::matches(&self.source.pattern, key) && state.is_complete {
            return Ok(());
        }
        Err(StoreError::new(
            StoreErrorKind::NotCached,
            format!("`{key}` is not cached"),
        ))
    }

    /// Why there is no copy at the moment, if there is none.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.read().failure.as_ref().map(not_up_to_date)
    }

    /// Whether the connection is lost, so that nothing changes any more.
    pub(crate) fn is_lost(&self) -> bool {
        let state = self.read();
        let failure = state.failure.as_ref();
        failure.is_some_and(|failure| *failure.kind() == StoreErrorKind::ConnectionLost)
    }

    pub(crate) fn look_interval(&self) -> Duration {
        look_interval(self.max_age)
    }

    /// Replaces the state, and tells of each difference.
    pub(crate) fn replace(&self, loaded: Loaded<T>) -> ChangeFeed {
        self.adopt(loaded, CacheState::replace)
    }

    /// Replaces the state of a lost bucket.
    pub(crate) fn replace_lost(&self, loaded: Loaded<T>) -> ChangeFeed {
        self.adopt(loaded, |lost, state| {
            *lost = state;
            vec![CacheEvent::Loaded]
        })
    }

    fn adopt(
        &self,
        loaded: Loaded<T>,
        replace: impl FnOnce(&mut CacheState<T>, CacheState<T>) -> Vec<CacheEvent<T>>,
    ) -> ChangeFeed {
        let Loaded {
            state,
            seen,
            feed,
            agreed_at,
        } = loaded;
        *self.liveness.write() = Arc::clone(&feed.liveness);
        let events = replace(&mut self.write(), state);
        self.seen.send_replace(seen);
        *self.agreed_at.write() = agreed_at;
        self.send_events(events);
        feed
    }

    pub(crate) fn apply(&self, prefix: &str, message: BucketMessage) {
        let revision = message.sequence;
        let codec = self.source.store.codec();
        let event = self.write().apply(&codec, prefix, message);
        self.seen
            .send_modify(|seen| seen.revision = seen.revision.max(revision));
        self.send_events(event);
    }

    /// Sends events; without subscribers they are dropped.
    pub(crate) fn send_events(&self, events: impl IntoIterator<Item = CacheEvent<T>>) {
        for event in events {
            let _ = self.events.send(event);
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, CacheState<T>> {
        self.state.read()
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, CacheState<T>> {
        self.state.write()
    }

    pub(crate) fn liveness(&self) -> Arc<Liveness> {
        Arc::clone(&self.liveness.read())
    }
}

fn not_up_to_date(failure: &Arc<StoreError>) -> StoreError {
    StoreError::new(*failure.kind(), "the cache is not up to date").with_source(Arc::clone(failure))
}

/// Half of the maximum age, so that a change shows in time that follows a look.
fn look_interval(max_age: Duration) -> Duration {
    max_age / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_is_looked_at_twice_within_the_maximum_age() {
        let interval = look_interval(Duration::from_secs(5));
        assert_eq!(interval, Duration::from_millis(2_500));
    }
}
