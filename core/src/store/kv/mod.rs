//! Key-Value buckets: typed entries, their revisions, lists, watches and caches.
//!
//! [`bucket`](self::bucket) has the operations in bytes, [`handle`](self::handle) and [`entries`](self::entries) the typed public
//! interface.
//!
//! May use `store::error`, `store::reader` and `store::bucket`; knows no objects. Guarantees that a watch or a cache
//! misses no revision that the bucket still keeps, and that a retried conditional write with a message id recognises its own earlier
//! attempt.

pub(crate) mod bucket;
pub(crate) mod cache;
pub(crate) mod clock;
pub(crate) mod entries;
pub(crate) mod entry;
pub(crate) mod handle;
pub(crate) mod listing;
pub(crate) mod ttl;
pub(crate) mod watch;
