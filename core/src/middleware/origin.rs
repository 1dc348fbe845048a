//! Where a response came from: the service, or the store of the method.

use std::time::{Duration, SystemTime};

/// Where a [`Cached`](crate::Cached) response came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The store of the method.
    #[non_exhaustive]
    Store {
        /// The revision of the entry.
        revision: u64,
        /// When the entry was written, by the clock of the server.
        created: SystemTime,
        /// How long ago that was, by the clock of this machine; zero if that clock is behind the clock of the server.
        age: Duration,
    },
    /// A call of the service.
    Service,
}

impl Origin {
    pub(crate) fn store(revision: u64, created: SystemTime) -> Self {
        Self::Store {
            revision,
            created,
            age: SystemTime::now()
                .duration_since(created)
                .unwrap_or_default(),
        }
    }

    pub(crate) fn is_younger_than(&self, max_age: Duration) -> bool {
        match self {
            Self::Store { age, .. } => *age < max_age,
            Self::Service => true,
        }
    }
}
