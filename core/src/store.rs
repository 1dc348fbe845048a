//! Key-Value buckets and Object Stores with the service's own message types.

#[cfg(feature = "object-store")]
mod batch;
mod budget;
mod cache;
mod cache_state;
pub(crate) mod clock;
mod consumer;
mod contact;
pub(crate) mod descriptor;
pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod flights;
mod handle;
pub(crate) mod jetstream;
pub(crate) mod key;
mod kv;
pub(crate) mod kv_bucket;
mod kv_entries;
#[cfg(feature = "object-store")]
mod object;
#[cfg(feature = "object-store")]
pub(crate) mod object_bucket;
#[cfg(feature = "object-store")]
mod object_change;
#[cfg(feature = "object-store")]
mod object_info;
#[cfg(feature = "object-store")]
mod object_read;
#[cfg(feature = "object-store")]
mod object_write;
mod ordered;
mod pattern;
pub(crate) mod provision;
mod range;
mod read_through;
pub(crate) mod shelf;
mod status;
mod template;
mod ttl;
mod watch;

pub use self::cache::{CacheBuilder, CacheEvent, CacheStatus, KvCache};
pub use self::descriptor::{Persist, Storage, StoreDescriptor, Write};
pub use self::entry::{Entry, Operation};
pub use self::error::{StoreError, StoreErrorKind, UndecodableValue};
pub use self::key::{InvalidKey, InvalidKeyKind, Key, MAX_KEY_LEN};
pub use self::kv::KvStore;
#[cfg(feature = "object-store")]
pub use self::object::ObjectStore;
#[cfg(feature = "object-store")]
pub use self::object_info::ObjectInfo;
#[cfg(feature = "object-store")]
pub use self::object_read::ObjectReader;
#[cfg(feature = "object-store")]
pub use self::object_write::PutFrom;
pub use self::pattern::{Any, Pattern, PatternToken};
pub use self::provision::BucketPolicy;
pub use self::range::{Entries, Keys};
pub use self::read_through::{Cached, CachedCall, Origin};
pub use self::status::BucketStatus;
pub use self::template::{KeyPart, KeyTemplate, KeyToken, PartialKey, StoreKey};
pub use self::watch::{Watch, WatchBuilder, WatchEvent};
