//! Budgets: bounds on the memory that peers can make a server hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;

/// How many bytes may be held at the same time, by all who share the budget.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: usize,
    held: AtomicUsize,
}

/// Bytes that are held; given back on drop.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl MemoryBudget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            held: AtomicUsize::new(0),
        })
    }

    /// Takes `bytes` out of the budget, if they are there. While nothing is held, a single item of any size is admitted: otherwise one
    /// that is larger than the budget would never be.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let admitted = |held: usize| {
            let total = held.checked_add(bytes)?;
            (held == 0 || total <= self.limit).then_some(total)
        };
        self.held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, admitted)
            .ok()?;
        Some(Charge {
            budget: Arc::clone(self),
            bytes,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A payload that holds its own bytes and no others. One that arrived is a part of the buffer that it was read into, and keeps all of
/// that in memory: a message of 30 bytes may hold the one of 1 MiB that came beside it.
pub(crate) fn detached(payload: &Bytes) -> Bytes {
    Bytes::copy_from_slice(payload)
}

/// What a header takes in memory besides its text: an entry of the map, and the allocations of name, values and value.
const HEADER_OVERHEAD: usize = 192;

/// How many bytes of memory the headers of a message hold, as an upper estimate.
pub(crate) fn held_by_headers(headers: Option<&HeaderMap>) -> usize {
    let lines = headers.into_iter().flat_map(HeaderMap::iter);
    lines
        .map(|(name, values)| {
            let name: &str = name.as_ref();
            let values: usize = values
                .iter()
                .map(|value: &HeaderValue| HEADER_OVERHEAD + value.as_str().len())
                .sum();
            name.len() + values
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_given_back() {
        let budget = MemoryBudget::new(10);
        let first = budget.charge(6).unwrap();
        assert!(budget.charge(5).is_none());
        let second = budget.charge(4).unwrap();
        assert!(budget.charge(1).is_none());
        drop(first);
        assert!(budget.charge(6).is_some());
        drop(second);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_item_of_any_size_is_admitted() {
        let budget = MemoryBudget::new(10);
        let large = budget.charge(100).unwrap();
        assert!(budget.charge(1).is_none());
        drop(large);
        assert!(budget.charge(usize::MAX).is_some());
    }

    #[test]
    fn a_detached_payload_shares_nothing() {
        let buffer = Bytes::from(vec![1; 1024]);
        let payload = detached(&buffer.slice(10..20));
        assert!(buffer.is_unique());
        assert_eq!(payload, buffer.slice(10..20));
    }
}
