//! Key-Value buckets and Object Stores with the service's own message types.

pub(crate) mod descriptor;
pub(crate) mod error;
mod handle;
pub(crate) mod jetstream;
pub(crate) mod key;
mod kv;
pub(crate) mod kv_bucket;
#[cfg(feature = "object-store")]
mod object;
#[cfg(feature = "object-store")]
pub(crate) mod object_bucket;
mod template;
mod watch;

pub use self::descriptor::{Persist, Storage, StoreDescriptor, Write};
pub use self::error::{StoreError, StoreErrorKind};
pub use self::key::{InvalidKey, InvalidKeyKind, Key, MAX_KEY_LEN};
pub use self::kv::{Entry, KvStore, Operation};
#[cfg(feature = "object-store")]
pub use self::object::ObjectStore;
pub use self::template::{KeyTemplate, KeyToken, PartialKey, StoreKey};
pub use self::watch::{Watch, WatchEvent};
