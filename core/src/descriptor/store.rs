//! The settings of a store as the macro writes them down.

use std::time::Duration;

use crate::descriptor::method::MethodStores;
use crate::store::kv::entry::Operation;

/// When a response is stored, relative to the reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persist {
    /// The reply does not wait for the write.
    #[default]
    AfterResponse,
    /// The reply waits until the write is acknowledged, and a failed write fails the call.
    BeforeResponse,
}

/// What a success does to what the key holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Write {
    /// The newest response wins.
    #[default]
    Put,
    /// An entry that exists is never overwritten.
    Create,
    /// Only if the entry has not changed since the call began.
    Update,
    /// The value is deleted; older revisions stay as far as the history goes.
    Delete,
    /// The entry is deleted with all its revisions.
    Purge,
}

impl Write {
    pub(crate) fn operation(self) -> Operation {
        match self {
            Self::Put | Self::Create | Self::Update => Operation::Put,
            Self::Delete => Operation::Delete,
            Self::Purge => Operation::Purge,
        }
    }

    pub(crate) fn deletes(self) -> bool {
        self.operation() != Operation::Put
    }
}

/// Where nats-server keeps a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// On disk.
    File,
    /// In memory; gone when the server restarts.
    Memory,
}

/// Which of the two stores a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StoreKind {
    Kv,
    Object,
}

impl StoreKind {
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Kv => "Key-Value bucket",
            Self::Object => "Object Store",
        }
    }

    /// The JetStream stream behind a bucket.
    pub(crate) fn stream_name(self, bucket: &str) -> String {
        match self {
            Self::Kv => format!("KV_{bucket}"),
            Self::Object => format!("OBJ_{bucket}"),
        }
    }
}

/// One `#[kv_store]`, `#[object_store]` or `#[kv_delete]`: the bucket and what the user set. What is `None` was not set.
#[derive(Clone, Copy, Debug)]
pub struct StoreDescriptor {
    pub(crate) kind: StoreKind,
    pub(crate) bucket: &'static str,
    pub(crate) description: Option<&'static str>,
    pub(crate) max_history: Option<u8>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) key_ttl: Option<Duration>,
    pub(crate) purge_ttl: Option<Duration>,
    pub(crate) marker_ttl: Option<Duration>,
    pub(crate) client_only: bool,
    pub(crate) persist: Persist,
    pub(crate) write: Write,
    pub(crate) compression: Option<bool>,
    pub(crate) storage: Option<Storage>,
    pub(crate) replicas: Option<usize>,
    pub(crate) max_bytes: Option<i64>,
    pub(crate) max_value_size: Option<i32>,
    pub(crate) metadata: &'static [(&'static str, &'static str)],
}

macro_rules! setters {
    ($($name:ident: $type:ty;)*) => {$(
        #[doc = concat!("Sets `", stringify!($name), "`.")]
        #[must_use]
        pub const fn $name(mut self, $name: $type) -> Self {
            self.$name = Some($name);
            self
        }
    )*};
}

impl StoreDescriptor {
    /// A `#[kv_store]` on this bucket.
    #[must_use]
    pub const fn kv(bucket: &'static str) -> Self {
        Self::new(StoreKind::Kv, bucket)
    }

    /// An `#[object_store]` on this bucket.
    #[must_use]
    pub const fn object(bucket: &'static str) -> Self {
        Self::new(StoreKind::Object, bucket)
    }

    /// A `#[kv_delete]` on this bucket.
    #[must_use]
    pub const fn kv_delete(bucket: &'static str) -> Self {
        Self::new(StoreKind::Kv, bucket).write(Write::Delete)
    }

    /// Deletes the older revisions too.
    #[must_use]
    pub const fn purge(self) -> Self {
        self.write(Write::Purge)
    }

    const fn new(kind: StoreKind, bucket: &'static str) -> Self {
        Self {
            kind,
            bucket,
            description: None,
            max_history: None,
            ttl: None,
            key_ttl: None,
            purge_ttl: None,
            marker_ttl: None,
            client_only: false,
            persist: Persist::AfterResponse,
            write: Write::Put,
            compression: None,
            storage: None,
            replicas: None,
            max_bytes: None,
            max_value_size: None,
            metadata: &[],
        }
    }

    /// The bucket as all these methods declare it together. They agree on its settings, but those of which only clients write need
    /// not repeat them, and it must be ready for the TTLs of each.
    pub(crate) fn joined(self, methods: &[MethodStores]) -> Self {
        let same = |other: &&Self| (other.kind, other.bucket) == (self.kind, self.bucket);
        let others = methods.iter().flatten().flatten().filter(same);
        let all = std::iter::once(&self).chain(others);
        let settings = all.clone().find(|store| store.describes_bucket());
        Self {
            key_ttl: all.clone().find_map(|store| store.key_ttl),
            purge_ttl: all.clone().find_map(|store| store.purge_ttl),
            ..*settings.unwrap_or(&self)
        }
    }

    fn describes_bucket(&self) -> bool {
        !self.client_only
            || self.description.is_some()
            || self.max_history.is_some()
            || self.ttl.is_some()
            || self.marker_ttl.is_some()
            || self.compression.is_some()
            || self.storage.is_some()
            || self.replicas.is_some()
            || self.max_bytes.is_some()
            || self.max_value_size.is_some()
            || !self.metadata.is_empty()
    }

    setters! {
        description: &'static str;
        max_history: u8;
        ttl: Duration;
        key_ttl: Duration;
        purge_ttl: Duration;
        marker_ttl: Duration;
        compression: bool;
        storage: Storage;
        replicas: usize;
        max_bytes: i64;
        max_value_size: i32;
    }

    /// The service does not write; only clients do.
    #[must_use]
    pub const fn client_only(mut self) -> Self {
        self.client_only = true;
        self
    }

    /// Sets `persist`.
    #[must_use]
    pub const fn persist(mut self, persist: Persist) -> Self {
        self.persist = persist;
        self
    }

    /// Sets `write`.
    #[must_use]
    pub const fn write(mut self, write: Write) -> Self {
        self.write = write;
        self
    }

    /// Sets the bucket's `metadata`.
    #[must_use]
    pub const fn metadata(mut self, metadata: &'static [(&'static str, &'static str)]) -> Self {
        self.metadata = metadata;
        self
    }
}
