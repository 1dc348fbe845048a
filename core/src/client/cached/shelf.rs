//! The store of a method as a cached call sees it.

use std::time::Duration;

use bytes::Bytes;

use crate::client::cached::call::Origin;
use crate::client::cached::singleflight::Landed;
use crate::descriptor::key::Key;
use crate::status::Status;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::handle::KvStore;
use crate::store::object::handle::ObjectStore;
use crate::store::object::info::Stored;

/// The store of a method, in bytes.
#[derive(Clone)]
pub(crate) enum Shelf {
    Kv(KvStore<Bytes>),
    Object(ObjectStore<Bytes>),
}

/// What was seen of an entry.
pub(crate) struct Seen {
    /// Zero if there was never one.
    pub(crate) revision: u64,
    /// The entry, if it is young enough.
    pub(crate) fresh: Option<Landed>,
}

impl Shelf {
    pub(crate) fn bucket(&self) -> &str {
        match self {
            Self::Kv(store) => store.bucket(),
            Self::Object(store) => store.bucket(),
        }
    }

    /// Whether the client has to store what the service answers.
    pub(crate) fn is_client_only(&self) -> bool {
        match self {
            Self::Kv(store) => store.is_client_only(),
            Self::Object(store) => store.is_client_only(),
        }
    }

    /// A client that has forgotten its JetStream should learn it, not pay for every call.
    pub(crate) fn check(&self) -> Result<(), Status> {
        let configured = match self {
            Self::Kv(store) => store.timeout().map(drop),
            Self::Object(store) => store.timeout().map(drop),
        };
        configured.map_err(|error| Status::failed_precondition(error.to_string()))
    }

    pub(crate) async fn look(&self, key: &Key, max_age: Duration) -> Result<Seen, StoreError> {
        match self {
            Self::Kv(store) => {
                let Some(entry) = store.entry(key).await? else {
                    return Ok(Seen {
                        revision: 0,
                        fresh: None,
                    });
                };
                let origin = Origin::store(entry.revision, entry.created);
                let fresh = entry.value.filter(|_| origin.is_younger_than(max_age));
                Ok(Seen {
                    revision: entry.revision,
                    fresh: fresh.map(|value| Landed { value, origin }),
                })
            }
            Self::Object(store) => {
                let is_young = |stored: &Stored| {
                    Origin::store(stored.revision, stored.modified).is_younger_than(max_age)
                };
                let found = store.get_if(key, is_young).await?;
                Ok(Seen {
                    revision: 0,
                    fresh: found.map(|(revision, modified, value)| Landed {
                        value,
                        origin: Origin::store(revision, modified),
                    }),
                })
            }
        }
    }

    /// Stores a response over what was seen. What somebody else has written meanwhile is newer, and stays; so does a deletion.
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
