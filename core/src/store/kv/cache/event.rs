//! The events of a cache, and its status.

use std::sync::Arc;
use std::time::Duration;

use crate::store::kv::entry::Entry;

/// What happens to a [`KvCache`](crate::store::kv::cache::KvCache).
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
    /// The bucket is gone, and so is all that the cache held.
    Cleared,
    /// The cache was loaded anew.
    Loaded,
    /// So many events were not yielded, because they were not read in time.
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
    /// How long ago the server was heard of. It says something every five seconds at least, so that more than ten mean an
    /// interruption.
    pub age: Duration,
    /// The newest revision that was seen.
    pub revision: u64,
    /// How many changes the server had yet to send when it was last heard of.
    pub behind: u64,
    /// How many keys are held.
    pub entries: usize,
    /// Whether these are all keys that match. They are not while the bucket is gone, and once one was left out for lack of room
    /// the cache no longer knows: that one may have been deleted since.
    pub is_complete: bool,
}
