//! Key-Value buckets and Object Stores with the service's own message types.

pub(crate) mod descriptor;
mod error;
pub(crate) mod jetstream;
pub mod key;
#[cfg(feature = "kv")]
mod kv;
#[cfg(feature = "kv")]
pub(crate) mod kv_bucket;
#[cfg(feature = "object-store")]
mod object;
#[cfg(feature = "object-store")]
pub(crate) mod object_bucket;
#[cfg(feature = "kv")]
mod watch;

pub use self::descriptor::{Persist, Storage, StoreDescriptor, Write};
pub use self::error::{StoreError, StoreErrorKind};
pub use self::key::{InvalidKey, InvalidKeyKind, Key, KeyPart, KeyTemplate, KeyToken, MAX_KEY_LEN, PartialKey, StoreKey};
#[cfg(feature = "kv")]
pub use self::kv::{Entry, KvStore, Operation};
#[cfg(feature = "object-store")]
pub use self::object::ObjectStore;
#[cfg(feature = "kv")]
pub use self::watch::{Watch, WatchEvent};
