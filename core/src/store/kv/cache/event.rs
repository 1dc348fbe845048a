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
    /// The cache was loaded again.
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
    /// The time since the last message from the server. It sends one at least every five seconds, so that more than ten seconds mean an
    /// interruption.
    pub age: Duration,
    /// The newest revision that was seen.
    pub revision: u64,
    /// How many changes the server had yet to send at that message.
    pub behind: u64,
    /// How many keys are held.
    pub entries: usize,
    /// Whether the cache holds all keys that match. False while the bucket is lost, and after the cache has left out a key to stay within
    /// its maximum: it does not see whether that key is deleted later.
    pub is_complete: bool,
}
