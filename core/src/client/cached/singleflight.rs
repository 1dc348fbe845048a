//! Single flight: one look-up and at most one call for all callers that ask for the same entry at the same time.
//!
//! No task runs a shared call: its callers poll it, so it ends when the last of them drops it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};

use crate::descriptor::key::Key;
use crate::middleware::origin::Origin;
use crate::status::Status;
use crate::sync::Mutex;
use crate::transport::headers;

/// The longest time that a look-up in a store may take.
const MAX_LOOKUP_TIME: Duration = Duration::from_secs(1);

/// The calls in flight through the stores of one client and its clones.
#[derive(Default)]
pub(crate) struct SingleFlight(Mutex<State>);

/// Invariants: no list in `in_flight` is empty, and a call is in its list from its start until it has ended or its last caller has
/// dropped it. The lock is never held across an `await`.
#[derive(Default)]
struct State {
    in_flight: HashMap<CacheKey, Vec<InFlight>>,
    last_id: u64,
    /// The operations, by method and failure message, whose last attempt failed.
    failing: HashSet<(usize, &'static str)>,
}

/// Identifies an entry: the index of a method of the service, and a key in the store of the method.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    pub(crate) method: usize,
    pub(crate) key: Key,
}

/// The options of a cached call that decide whether it may share a call in flight.
#[derive(Clone, Debug)]
pub(crate) struct CallOptions {
    pub(crate) max_age: Duration,
    pub(crate) timeout: Duration,
    pub(crate) headers: HeaderMap,
}

impl CallOptions {
    /// Whether a call with these options gives what a call with the `other` ones would give, and as soon.
    fn satisfy(&self, other: &Self) -> bool {
        self.max_age <= other.max_age
            && self.timeout >= other.timeout
            && self.lookup_timeout() <= other.lookup_timeout()
            && headers::equal_but_trace(&self.headers, &other.headers)
    }

    /// The timeout of the look-up. At least half of the timeout remains for the call of the service.
    pub(crate) fn lookup_timeout(&self) -> Duration {
        MAX_LOOKUP_TIME.min(self.timeout / 2)
    }
}

/// A response in bytes, and its origin. Each caller decodes it again, so that messages need not be `Clone` or `Sync`.
#[derive(Clone)]
pub(crate) struct CachedBytes {
    pub(crate) value: Bytes,
    pub(crate) origin: Origin,
}

/// The result of a shared call; `None` if its timeout has passed.
pub(crate) type Outcome = Option<Result<CachedBytes, Status>>;

/// A look-up and call that all of its callers poll. Dropped with the last of them.
pub(crate) type SharedCall = Shared<BoxFuture<'static, Outcome>>;

struct InFlight {
    id: u64,
    options: CallOptions,
    call: WeakShared<BoxFuture<'static, Outcome>>,
}

impl SingleFlight {
    /// Joins a call in flight whose options satisfy these, or starts one.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &CacheKey,
        options: &CallOptions,
        start: impl FnOnce() -> BoxFuture<'static, Outcome>,
    ) -> SharedCall {
        let mut state = self.lock();
        let in_flight = state.in_flight.get(key).into_iter().flatten();
        let joined = in_flight
            .filter(|in_flight| in_flight.options.satisfy(options))
            .find_map(|in_flight| in_flight.call.upgrade());
        if let Some(joined) = joined {
            return joined;
        }
        state.last_id += 1;
        let id = state.last_id;
        let registration = Registration {
            single_flight: Arc::clone(self),
            key: key.clone(),
            id,
        };
        let started = start();
        let call = async move {
            let _registration = registration;
            started.await
        };
        let call = call.boxed().shared();
        if let Some(weak) = call.downgrade() {
            let in_flight = InFlight {
                id,
                options: options.clone(),
                call: weak,
            };
            state
                .in_flight
                .entry(key.clone())
                .or_default()
                .push(in_flight);
        }
        call
    }

    /// Records whether an operation on the store of a method failed, and returns whether this is the first failure after a success.
    pub(crate) fn is_first_failure(
        &self,
        method: usize,
        failure: &'static str,
        failed: bool,
    ) -> bool {
        let mut state = self.lock();
        if failed {
            state.failing.insert((method, failure))
        } else {
            state.failing.remove(&(method, failure));
            false
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl fmt::Debug for SingleFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").finish_non_exhaustive()
    }
}

/// Owned by a call in flight. Dropping it, at the end of the call or with its last caller, removes the call from the list; at the
/// end this happens before a caller sees the outcome.
struct Registration {
    single_flight: Arc<SingleFlight>,
    key: CacheKey,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = self.single_flight.lock();
        if let Some(in_flight) = state.in_flight.get_mut(&self.key) {
            in_flight.retain(|call| call.id != self.id);
            if in_flight.is_empty() {
                state.in_flight.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_takes_half_of_the_time_or_a_second() {
        let second = Duration::from_secs(1);
        for (timeout, lookup) in [
            (60 * second, second),
            (2 * second, second),
            (second, second / 2),
        ] {
            let options = CallOptions {
                max_age: Duration::MAX,
                timeout,
                headers: HeaderMap::new(),
            };
            assert_eq!(options.lookup_timeout(), lookup);
        }
    }

    #[tokio::test]
    async fn no_call_stays_registered_after_its_end() {
        let single_flight = Arc::new(SingleFlight::default());
        let options = CallOptions {
            max_age: Duration::MAX,
            timeout: Duration::MAX,
            headers: HeaderMap::new(),
        };
        let entry = |key: &str| CacheKey {
            method: 0,
            key: key.parse().unwrap(),
        };
        let never = || futures::future::pending().boxed();
        let ended = single_flight.join(&entry("a"), &options, || {
            futures::future::ready(None).boxed()
        });
        let dropped = single_flight.join(&entry("b"), &options, never);
        let joined = single_flight.join(&entry("b"), &options, never);
        assert!(dropped.ptr_eq(&joined));
        assert_eq!(single_flight.lock().in_flight.len(), 2);
        assert!(ended.clone().await.is_none());
        assert_eq!(single_flight.lock().in_flight.len(), 1);
        drop((dropped, joined));
        assert!(single_flight.lock().in_flight.is_empty());
    }
}
