//! Key-Value buckets: typed entries, their revisions, lists, watches and caches.

pub(crate) mod bucket;
pub(crate) mod cache;
pub(crate) mod clock;
pub(crate) mod entries;
pub(crate) mod entry;
pub(crate) mod handle;
pub(crate) mod listing;
pub(crate) mod ttl;
pub(crate) mod watch;
