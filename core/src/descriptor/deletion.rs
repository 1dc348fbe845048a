//! An entry that a method's success deletes.

use crate::descriptor::usage::Persist;

/// A `#[kv_delete]`.
#[derive(Clone, Copy, Debug)]
pub struct Deletion {
    pub(crate) bucket: &'static str,
    pub(crate) purge: bool,
    pub(crate) persist: Persist,
}

impl Deletion {
    /// Deletes from this bucket, after the reply, and leaves the older revisions.
    #[must_use]
    pub const fn new(bucket: &'static str) -> Self {
        Self {
            bucket,
            purge: false,
            persist: Persist::AfterResponse,
        }
    }

    /// Deletes the older revisions too.
    #[must_use]
    pub const fn purge(mut self) -> Self {
        self.purge = true;
        self
    }

    /// Sets `persist`.
    #[must_use]
    pub const fn persist(mut self, persist: Persist) -> Self {
        self.persist = persist;
        self
    }
}
