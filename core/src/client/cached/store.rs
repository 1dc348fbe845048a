//! The store of a method as a cached call uses it: look up a response, and store one.
//!
//! Values stay bytes, so that the code above it is not generic over messages. A response is only stored over the revision that the
//! look-up found, so that a newer write or a deletion is never overwritten (an object is stored in any case).

use std::time::Duration;

use bytes::Bytes;

use crate::client::cached::singleflight::CachedBytes;
use crate::descriptor::key::Key;
use crate::middleware::origin::Origin;
use crate::status::Status;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::handle::KvStore;
use crate::store::object::handle::ObjectStore;
use crate::store::object::info::Stored;

/// The store that holds the responses of a method, in bytes.
#[derive(Clone)]
pub(crate) enum ResponseStore {
    Kv(KvStore<Bytes>),
    Object(ObjectStore<Bytes>),
}

/// The result of a look-up.
pub(crate) struct Lookup {
    /// The newest revision of the key; zero if there is none, and for an object.
    pub(crate) revision: u64,
    /// The value, if there is one that is younger than the maximum age.
    pub(crate) hit: Option<CachedBytes>,
}

impl ResponseStore {
    pub(crate) fn bucket(&self) -> &str {
        match self {
            Self::Kv(store) => store.bucket(),
            Self::Object(store) => store.bucket(),
        }
    }

    /// Whether the client stores the responses, and not the service.
    pub(crate) fn is_client_only(&self) -> bool {
        match self {
            Self::Kv(store) => store.is_client_only(),
            Self::Object(store) => store.is_client_only(),
        }
    }

    /// Fails if the client has no JetStream. Without this check every look-up would fail, and each call would go to the service
    /// unnoticed.
    pub(crate) fn check_configured(&self) -> Result<(), Status> {
        let configured = match self {
            Self::Kv(store) => store.timeout().map(drop),
            Self::Object(store) => store.timeout().map(drop),
        };
        configured.map_err(|error| Status::failed_precondition(error.to_string()))
    }

    pub(crate) async fn look_up(&self, key: &Key, max_age: Duration) -> Result<Lookup, StoreError> {
        match self {
            Self::Kv(store) => {
                let Some(entry) = store.entry(key).await? else {
                    return Ok(Lookup {
                        revision: 0,
                        hit: None,
                    });
                };
                let origin = Origin::store(entry.revision, entry.created);
                let value = entry.value.filter(|_| origin.is_younger_than(max_age));
                Ok(Lookup {
                    revision: entry.revision,
                    hit: value.map(|value| CachedBytes { value, origin }),
                })
            }
            Self::Object(store) => {
                let is_young = |stored: &Stored| {
                    Origin::store(stored.revision, stored.modified).is_younger_than(max_age)
                };
                let object = store.get_if(key, is_young).await?;
                Ok(Lookup {
                    revision: 0,
                    hit: object.map(|(revision, modified, value)| CachedBytes {
                        value,
                        origin: Origin::store(revision, modified),
                    }),
                })
            }
        }
    }

    /// Stores a response over the revision that the look-up found. If the entry has changed since then, it is newer than the
    /// response and stays.
    pub(crate) async fn fill(
        &self,
        key: &Key,
        value: &Bytes,
        revision: u64,
    ) -> Result<(), StoreError> {
        let written = match self {
            Self::Kv(store) => store.update(key, value, revision).await,
            Self::Object(store) => store.put(key, value).await,
        };
        match written {
            Err(error) if *error.kind() == StoreErrorKind::WrongRevision => Ok(()),
            written => written.map(drop),
        }
    }
}
