//! The write that a success of one method makes to one bucket, and the failures that it may end with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::descriptor::key::InvalidKey;
use crate::descriptor::operation::Operation;
use crate::descriptor::template::PartialKey;
use crate::descriptor::usage::{Persist, Write};
use crate::error::chain;
use crate::log::warn_limited;
use crate::persist::plain_put::PlainPut;
use crate::persist::queue::Queue;
use crate::status::Status;
use crate::store::bucket::facts::BucketFacts;
use crate::store::kv::bucket::KvBucket;
use crate::store::object::bucket::ObjectBucket;
use crate::transport::gate::Gate;

/// The write that a success of one method makes to one bucket.
#[derive(Debug)]
pub(crate) struct Target {
    /// The name of the bucket.
    pub(crate) name: &'static str,
    pub(crate) action: Action,
    pub(crate) persist: Persist,
    /// How long the markers of purges stay; `None` for ever.
    pub(crate) purge_ttl: Option<Duration>,
    pub(crate) bucket: Bucket,
    /// For writes without conditions; `None` where a plain message cannot make them.
    pub(crate) plain_put: Option<PlainPut>,
    /// Shared by all methods that write to this bucket: the writes to one of its keys are ordered.
    pub(crate) queue: Arc<Queue>,
    /// Whether one of these methods has `write = "update"`.
    pub(crate) is_compared: bool,
}

/// The operation on a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// The response is stored.
    Store {
        write: Write,
        key_ttl: Option<Duration>,
        max_history: u8,
    },
    /// The entry is deleted, or purged with its older revisions.
    Delete { purge: bool },
}

impl Action {
    pub(crate) fn operation(self) -> Operation {
        match self {
            Self::Store { .. } => Operation::Put,
            Self::Delete { purge: false } => Operation::Delete,
            Self::Delete { purge: true } => Operation::Purge,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Bucket {
    Kv(Arc<KvBucket>),
    Object(Arc<ObjectBucket>),
}

impl Bucket {
    /// The connection to the bucket.
    pub(crate) fn gate(&self) -> &Gate {
        match self {
            Self::Kv(bucket) => bucket.gate(),
            Self::Object(bucket) => bucket.gate(),
        }
    }

    pub(crate) fn facts(&self) -> &BucketFacts {
        match self {
            Self::Kv(bucket) => bucket.facts(),
            Self::Object(bucket) => bucket.facts(),
        }
    }
}

/// The outcome of a write: the digest of the stored object, or `None` for an entry.
pub(crate) type WriteOutcome = Result<Option<String>, Failure>;

/// Why a write was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The response makes no valid key.
    Key(InvalidKey),
    /// `write = "create"`, and the key has an entry.
    Exists,
    /// `write = "update"`, and the entry has changed since the call began.
    Changed,
    /// It was late or repeated, and the key has a value that was written after this one was queued. It may have been stored before that.
    /// Only the caller that waits for it takes this as a failure.
    Superseded,
    /// The store refused it at the first attempt, so nothing of it is stored.
    Refused(String),
    /// The store refused it, or time ran out.
    Store(String),
    /// The call whose reply waited for it has ended without it.
    Abandoned(String),
}

impl Failure {
    /// The status for a caller whose reply waited for the write. It does not contain the cause, which is logged.
    pub(crate) fn status(&self, target: &Target) -> Status {
        let bucket = target.name;
        match self {
            Self::Exists => Status::already_exists(format!(
                "bucket `{bucket}` has an entry under this key already"
            )),
            Self::Changed => Status::aborted(format!(
                "the entry in bucket `{bucket}` has changed during the call; read it again and retry"
            )),
            Self::Superseded => Status::aborted(format!(
                "the entry in bucket `{bucket}` was replaced by a newer one during the call"
            )),
            _ if target.deletes() => Status::unavailable(format!(
                "the entry that the call made stale could not be deleted from bucket `{bucket}`"
            )),
            Self::Key(_) | Self::Refused(_) | Self::Store(_) | Self::Abandoned(_) => {
                Status::unavailable(format!(
                    "the response could not be stored in bucket `{bucket}`"
                ))
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => error.fmt(f),
            Self::Exists => f.write_str("there is an entry under this key already"),
            Self::Changed => f.write_str("the entry has changed during the call"),
            Self::Superseded => {
                f.write_str("the entry was replaced by a newer one during the call")
            }
            Self::Refused(cause) | Self::Store(cause) | Self::Abandoned(cause) => {
                f.write_str(cause)
            }
        }
    }
}

impl Target {
    pub(crate) fn deletes(&self) -> bool {
        matches!(self.action, Action::Delete { .. })
    }

    /// Whether the bucket keeps only the newest value of a key, and no method compares revisions.
    pub(crate) fn keeps_newest(&self) -> bool {
        let is_replaced = matches!(
            self.action,
            Action::Store {
                write: Write::Put,
                max_history: 1,
                ..
            }
        );
        is_replaced && !self.is_compared && matches!(self.bucket, Bucket::Kv(_))
    }

    /// Whether a write is a put without conditions and TTL.
    pub(crate) fn puts_plainly(&self) -> bool {
        let is_plain = matches!(
            self.action,
            Action::Store {
                write: Write::Put,
                key_ttl: None,
                ..
            }
        );
        is_plain && self.plain_put.is_some()
    }

    /// Whether a write compares the revision of its key with the revision at the start of the call.
    pub(crate) fn compares(&self) -> bool {
        matches!(
            self.action,
            Action::Store {
                write: Write::Update,
                ..
            }
        )
    }

    /// The revision of the key at the start of a call; 0 for none.
    pub(crate) async fn newest_revision(&self, key: &PartialKey) -> Result<u64, Status> {
        match &self.bucket {
            Bucket::Kv(bucket) => self.newest_entry_revision(bucket, key).await,
            // An object is replaced without a condition.
            Bucket::Object(_) => Ok(0),
        }
    }

    async fn newest_entry_revision(
        &self,
        bucket: &KvBucket,
        key: &PartialKey,
    ) -> Result<u64, Status> {
        self.queue.wait_for_key(key.as_str()).await;
        let newest = bucket.newest(key.as_str()).await.map_err(|error| {
            warn_limited!(
                bucket = self.name,
                key = key.as_str(),
                error = chain(&error),
                "cannot read the revision to update"
            );
            Status::unavailable(format!("bucket `{}` cannot be read", self.name))
        })?;
        Ok(newest.map_or(0, |message| message.sequence))
    }

    /// Which permissions may be missing, if it is not known that none is.
    pub(crate) fn missing_permissions(&self) -> Option<String> {
        self.bucket.facts().missing_permissions()
    }
}
