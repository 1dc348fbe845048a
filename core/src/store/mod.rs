//! Key-Value buckets and Object Stores with the service's own message types.
//!
//! A service makes the buckets that its methods declare when it starts; a generated client gives a typed handle on each,
//! [`KvStore`] and [`ObjectStore`].

pub(crate) mod bucket;
pub(crate) mod error;
pub(crate) mod kv;
pub(crate) mod object;
pub(crate) mod reader;

pub use self::bucket::provision::BucketPolicy;
pub use self::bucket::status::BucketStatus;
pub use self::error::{StoreError, StoreErrorKind, UndecodableValue};
pub use self::kv::cache::{CacheBuilder, CacheEvent, CacheStatus, KvCache};
pub use self::kv::entry::Entry;
pub use self::kv::handle::KvStore;
pub use self::kv::listing::{Entries, Keys};
pub use self::kv::watch::{Watch, WatchBuilder, WatchEvent};
pub use self::object::handle::ObjectStore;
pub use self::object::info::ObjectInfo;
pub use self::object::read::ObjectReader;
pub use self::object::write::PutFrom;
pub use crate::descriptor::bucket::Storage;
pub use crate::descriptor::key::{InvalidKey, InvalidKeyKind, Key, MAX_KEY_LEN};
pub use crate::descriptor::operation::Operation;
pub use crate::descriptor::pattern::{Any, Pattern, PatternToken};
pub use crate::descriptor::template::KeyToken;
