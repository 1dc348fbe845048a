//! The events of a cache, and its status.

use std::sync::Arc;
use std::time::Duration;

use crate::store::kv::entry::Entry;

/// A change of a [`KvCache`](crate::store::kv::cache::KvCache).
#[derive(Debug)]
#[non_exhaustive]
pub enum CacheEvent<T> {
    /// A key was written, deleted or purged, or has expired.
    Changed(Entry<Arc<T>>),
    /// A key got a value that is no `T`; reading it fails with [`Decode`](crate::store::error::StoreErrorKind::Decode).
    Undecodable {
        /// The key.
        key: String,
        /// The revision of the value.
        revision: u64,
    },
    /// The bucket was lost or deleted, and the cache has dropped all entries.
    Cleared,
    /// The cache was loaded again after it was cleared.
    Loaded,
    /// This many events were dropped, because they were not read in time.
    Missed(u64),
}

impl<T> Clone for CacheEvent<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Changed(entry) => Self::Changed(entry.clone()),
            Self::Undecodable { key, revision } => Self::Undecodable {
                key: key.clone(),
                revision: *revision,
            },
            Self::Cleared => Self::Cleared,
            Self::Loaded => Self::Loaded,
            Self::Missed(count) => Self::Missed(*count),
        }
    }
}

/// How up to date a [`KvCache`](crate::store::kv::cache::KvCache) is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStatus {
    /// How long ago the copy was last found to agree with the bucket: no change that is older is missing. At most about half of
    /// [`max_age`](Self::max_age) while all is well; more than that if the connection is interrupted, the server does not answer, or the
    /// cache is behind.
    pub age: Duration,
    /// The time within which a change shows that no message announces, as an operator's purge; see
    /// [`with_max_age`](crate::store::CacheBuilder::with_max_age). Changes that the bucket announces show at once.
    pub max_age: Duration,
    /// The newest revision that was seen; 0 while the bucket is lost.
    pub revision: u64,
    /// How many changes the server had yet to send when it was last heard of.
    pub behind: u64,
    /// How many keys are held.
    pub entries: usize,
    /// Whether the cache holds all keys that match. False while the bucket is lost, and after the cache has left out a key to stay within
    /// its maximum: it does not see whether that key is deleted later.
    pub is_complete: bool,
}
