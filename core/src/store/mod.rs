//! Key-Value buckets and Object Stores whose values are the messages of a service.
//!
//! A service creates the buckets that its methods declare when it starts; a generated client has a typed handle for each,
//! [`KvStore`] and [`ObjectStore`]. This module has the types that they use: keys and patterns, entries, watches, caches, objects,
//! and the errors.
//
// The folders are layers in the order `error`, `reader`, `bucket`, `kv`, `object`: each may use those before it, and besides them
// `transport`, `descriptor` and the leaves. Nothing here knows a server, a client or a method call.

pub(crate) mod bucket;
pub(crate) mod error;
pub(crate) mod kv;
pub(crate) mod object;
pub(crate) mod reader;

pub use self::bucket::provision::BucketPolicy;
pub use self::bucket::status::BucketStatus;
pub use self::error::{StoreError, StoreErrorKind, UndecodableValue};
pub use self::kv::cache::event::{CacheEvent, CacheStatus};
pub use self::kv::cache::subscription::CacheEvents;
pub use self::kv::cache::{CacheBuilder, KvCache};
pub use self::kv::entry::Entry;
pub use self::kv::handle::KvStore;
pub use self::kv::listing::{Entries, Keys};
pub use self::kv::watch::{Watch, WatchBuilder, WatchEvent};
pub use self::object::handle::ObjectStore;
pub use self::object::info::ObjectInfo;
pub use self::object::put_from::PutFromBuilder;
pub use self::object::stream::ObjectReader;
pub use crate::descriptor::bucket::Storage;
pub use crate::descriptor::key::{InvalidKey, InvalidKeyKind, Key, MAX_KEY_LEN};
pub use crate::descriptor::operation::Operation;
pub use crate::descriptor::pattern::{Any, Pattern, PatternToken};
pub use crate::descriptor::template::KeyToken;
