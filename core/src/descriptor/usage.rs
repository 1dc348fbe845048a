//! What one method does with the bucket of its `#[kv_store]` or `#[object_store]`.

use std::time::Duration;

/// When a response is stored, relative to the reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persist {
    /// The reply does not wait for the write.
    #[default]
    AfterResponse,
    /// The reply waits until the write is acknowledged, and a failed write fails the call. After the deadline of the call, no attempt at
    /// the write is begun; what was sent before may still be stored.
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
}

/// How one method uses its bucket. Two methods may use one bucket in different ways.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub(crate) client_only: bool,
    pub(crate) persist: Persist,
    pub(crate) write: Write,
    pub(crate) key_ttl: Option<Duration>,
}

impl Usage {
    /// The service writes every response over what the key has, and the reply does not wait for it.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "used in constants alone")]
    pub const fn new() -> Self {
        Self {
            client_only: false,
            persist: Persist::AfterResponse,
            write: Write::Put,
            key_ttl: None,
        }
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

    /// Sets `key_ttl`.
    #[must_use]
    pub const fn key_ttl(mut self, key_ttl: Duration) -> Self {
        self.key_ttl = Some(key_ttl);
        self
    }
}
