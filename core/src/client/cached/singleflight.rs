//! One look at a store, and one call, for all who ask for the same entry at the same time.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};

use crate::client::cached::call::Origin;
use crate::descriptor::key::Key;
use crate::status::Status;
use crate::sync::Mutex;

/// How long a look at a store may take at most.
const MAX_LOOK: Duration = Duration::from_secs(1);

/// What the calls through the stores of one client share.
#[derive(Default)]
pub(crate) struct Flights(Mutex<State>);

#[derive(Default)]
struct State {
    flying: HashMap<Destination, Vec<Flying>>,
    last_id: u64,
    /// What failed when it was last tried with the store of a method.
    failing: HashSet<(usize, &'static str)>,
}

/// An entry: a method of the service, and the key in its store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Destination {
    pub(crate) method: usize,
    pub(crate) key: Key,
}

/// What a caller asks for besides the entry.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) max_age: Duration,
    pub(crate) timeout: Duration,
    pub(crate) headers: HeaderMap,
}

impl Terms {
    /// Whether what is found on these terms is what somebody with `other` ones would find, and as soon.
    fn meet(&self, other: &Self) -> bool {
        self.max_age <= other.max_age
            && self.timeout >= other.timeout
            && self.look() <= other.look()
            && self.headers == other.headers
    }

    /// How long the store may take: there has to be time left for the service.
    pub(crate) fn look(&self) -> Duration {
        MAX_LOOK.min(self.timeout / 2)
    }
}

/// What was found, as bytes: every caller decodes them anew, so that messages need not be `Clone` or `Sync`.
#[derive(Clone)]
pub(crate) struct Landed {
    pub(crate) value: Bytes,
    pub(crate) origin: Origin,
}

/// `None` if the time of the flight was over.
pub(crate) type Outcome = Option<Result<Landed, Status>>;

/// Driven by all who wait for it, and dropped with the last of them.
pub(crate) type Flight = Shared<BoxFuture<'static, Outcome>>;

struct Flying {
    id: u64,
    terms: Terms,
    flight: WeakShared<BoxFuture<'static, Outcome>>,
}

impl Flights {
    /// Joins a flight that meets the terms, or starts one.
    pub(crate) fn join(
        self: &Arc<Self>,
        to: &Destination,
        terms: &Terms,
        start: impl FnOnce() -> BoxFuture<'static, Outcome>,
    ) -> Flight {
        let mut state = self.lock();
        let flying = state.flying.get(to).into_iter().flatten();
        let joined = flying
            .filter(|flying| flying.terms.meet(terms))
            .find_map(|flying| flying.flight.upgrade());
        if let Some(joined) = joined {
            return joined;
        }
        state.last_id += 1;
        let id = state.last_id;
        let landing = Landing {
            flights: Arc::clone(self),
            from: to.clone(),
            id,
        };
        let route = start();
        let flight = async move {
            let _landing = landing;
            route.await
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            state.flying.entry(to.clone()).or_default().push(Flying {
                id,
                terms: terms.clone(),
                flight: weak,
            });
        }
        flight
    }

    /// Notes whether something has failed with the store of a method, and tells if that is news.
    pub(crate) fn note(&self, method: usize, what: &'static str, failed: bool) -> bool {
        let mut state = self.lock();
        if failed {
            state.failing.insert((method, what))
        } else {
            state.failing.remove(&(method, what))
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

/// Takes a flight off the list before its outcome is seen, and when nobody waits for it any more.
struct Landing {
    flights: Arc<Flights>,
    from: Destination,
    id: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut state = self.flights.lock();
        if let Some(flying) = state.flying.get_mut(&self.from) {
            flying.retain(|flying| flying.id != self.id);
            if flying.is_empty() {
                state.flying.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_kept_of_flights_that_are_over() {
        let flights = Arc::new(Flights::default());
        let terms = Terms {
            max_age: Duration::MAX,
            timeout: Duration::MAX,
            headers: HeaderMap::new(),
        };
        let to = |key: &str| Destination {
            method: 0,
            key: key.parse().unwrap(),
        };
        let never = || futures::future::pending().boxed();
        let ended = flights.join(&to("a"), &terms, || futures::future::ready(None).boxed());
        let dropped = flights.join(&to("b"), &terms, never);
        let joined = flights.join(&to("b"), &terms, never);
        assert!(dropped.ptr_eq(&joined));
        assert_eq!(flights.lock().flying.len(), 2);
        assert!(ended.clone().await.is_none());
        assert_eq!(flights.lock().flying.len(), 1);
        drop((dropped, joined));
        assert!(flights.lock().flying.is_empty());
    }
}
