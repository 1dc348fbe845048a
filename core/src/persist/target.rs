//! One write, from the first attempt to its outcome.
//!
//! Invariant: an attempt whose acknowledgement is lost may have been stored, so every later attempt reads the key first or carries the
//! same message id. A repetition does not replace a value that was written after the first attempt.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::descriptor::bucket::StoreKind;
use crate::descriptor::key::InvalidKey;
use crate::descriptor::operation::Operation;
use crate::descriptor::template::PartialKey;
use crate::descriptor::usage::{Persist, Write};
use crate::error::chain;
use crate::log::warn_limited;
use crate::persist::delete::{DeleteOptions, delete};
use crate::persist::plain_put::PlainPut;
use crate::persist::queue::{Queue, WriteStart};
use crate::status::Status;
use crate::store::error::{StoreError, WriteError, missing_permissions};
use crate::store::kv::bucket::{KvBucket, is_marker};
use crate::store::kv::entry::is_expiry;
use crate::store::object::bucket::{self, ObjectBucket};
use crate::store::object::write;
use crate::transport::random::random_token;

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
    /// The store refused it at the first attempt, so nothing of it is stored.
    Refused(String),
    /// The store refused it, or time ran out.
    Store(String),
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
            _ if target.deletes() => Status::unavailable(format!(
                "the entry that the call made stale could not be deleted from bucket `{bucket}`"
            )),
            Self::Key(_) | Self::Refused(_) | Self::Store(_) => Status::unavailable(format!(
                "the response could not be stored in bucket `{bucket}`"
            )),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => error.fmt(f),
            Self::Exists => f.write_str("there is an entry under this key already"),
            Self::Changed => f.write_str("the entry has changed during the call"),
            Self::Refused(cause) | Self::Store(cause) => f.write_str(cause),
        }
    }
}

/// The pauses between the attempts of one write.
const ATTEMPT_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
/// How long a put of an object may go on after its deadline to remove its chunks: a little longer than its own timeout for that.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_millis(1_500);

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

    /// Makes attempts until one is stored or refused, or the deadline passes. With `since`, an attempt outside of this may have been stored
    /// since then.
    pub(crate) async fn write(
        &self,
        key: &str,
        payload: &Bytes,
        expected: Option<u64>,
        since: Option<WriteStart>,
        deadline: Instant,
    ) -> WriteOutcome {
        let mut attempts = Attempts {
            target: self,
            key,
            payload,
            expected,
            deadline,
            id: self.new_id(),
            start: since.unwrap_or_else(|| self.queue.shared().start_write()),
            is_repeated: since.is_some(),
            last_cause: None,
        };
        let end = match &self.bucket {
            Bucket::Kv(_) => deadline,
            // The put observes the deadline itself, and removes its chunks afterwards.
            Bucket::Object(_) => deadline + CLEAN_UP_TIMEOUT,
        };
        if let Ok(outcome) = tokio::time::timeout_at(end, pin!(attempts.run())).await {
            return outcome;
        }
        let cause = attempts.last_cause.as_deref();
        let cause = cause.unwrap_or("no answer from the store");
        let hint = self
            .missing_permissions()
            .filter(|hint| !cause.contains(hint));
        let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
        Err(Failure::Store(format!(
            "given up after the persist timeout: {cause}{hint}"
        )))
    }

    /// Which permissions may be missing, if it is not known that none is.
    fn missing_permissions(&self) -> Option<String> {
        match &self.bucket {
            Bucket::Kv(bucket) => missing_permissions(bucket.gate(), StoreKind::Kv, self.name),
            Bucket::Object(bucket) => {
                missing_permissions(bucket.gate(), StoreKind::Object, self.name)
            }
        }
    }

    /// The message id of a conditional write. All attempts send the same one, so that a later attempt recognises the entry of an earlier
    /// one. Empty for other writes.
    fn new_id(&self) -> String {
        match (&self.bucket, self.action) {
            (
                Bucket::Kv(_),
                Action::Store {
                    write: Write::Create | Write::Update,
                    ..
                },
            ) => random_token(),
            _ => String::new(),
        }
    }
}

/// The attempts at one write.
struct Attempts<'a> {
    target: &'a Target,
    key: &'a str,
    payload: &'a Bytes,
    /// The revision at the start of the call, for `write = "update"`.
    expected: Option<u64>,
    deadline: Instant,
    id: String,
    /// When the first attempt was made.
    start: WriteStart,
    /// An earlier attempt may have been stored. Never unset.
    is_repeated: bool,
    /// Why the last attempt failed.
    last_cause: Option<String>,
}

impl Attempts<'_> {
    async fn run(&mut self) -> WriteOutcome {
        let mut backoff = ATTEMPT_BACKOFF;
        loop {
            match self.attempt().await {
                Ok(digest) => return Ok(digest),
                Err(WriteError::Conflict(_)) => match self.target.action {
                    Action::Store {
                        write: Write::Create,
                        ..
                    } => return Err(Failure::Exists),
                    Action::Store {
                        write: Write::Update,
                        ..
                    } => return Err(Failure::Changed),
                    // The key was written between the read and the write of this attempt.
                    Action::Store {
                        write: Write::Put, ..
                    }
                    | Action::Delete { .. } => {}
                },
                Err(WriteError::Uncertain(source)) => {
                    self.last_cause = Some(chain(source.as_ref()));
                    backoff.wait().await;
                }
                Err(error @ (WriteError::Refused(_) | WriteError::TooLarge(_))) => {
                    let cause = chain(error.source());
                    return Err(if self.is_repeated {
                        Failure::Store(cause)
                    } else {
                        Failure::Refused(cause)
                    });
                }
            }
            self.is_repeated = true;
        }
    }

    /// Returns the digest of the stored object; `None` for an entry.
    async fn attempt(&self) -> Result<Option<String>, WriteError> {
        match &self.target.bucket {
            Bucket::Kv(bucket) => {
                let revision = self.change_entry(bucket).await?;
                self.target.queue.shared().acknowledged(revision);
                Ok(None)
            }
            Bucket::Object(bucket) => {
                let (payload, clean_up) = (self.payload.clone(), bucket::CLEAN_UP_TIMEOUT);
                let put = write::put(bucket, self.key, payload, self.deadline, clean_up);
                Ok(Some(Box::pin(put).await?.digest))
            }
        }
    }

    /// Returns the revision of the change. A worker holds very many of these futures, so all but the common case are boxed.
    async fn change_entry(&self, bucket: &KvBucket) -> Result<u64, WriteError> {
        let (key, payload) = (self.key, self.payload.clone());
        match self.target.action {
            Action::Store { write, key_ttl, .. } => match (write, &self.target.plain_put) {
                (Write::Put, _) if self.is_repeated => {
                    Box::pin(put_again(bucket, key, payload, key_ttl, self.start)).await
                }
                (Write::Put, Some(plain_put)) if key_ttl.is_none() => {
                    plain_put.put(key, payload).await
                }
                (Write::Put, _) => Box::pin(bucket.write(key, payload, None, key_ttl, None)).await,
                (Write::Create, _) => {
                    Box::pin(bucket.create(key, payload, key_ttl, Some(&self.id))).await
                }
                (Write::Update, _) => {
                    Box::pin(bucket.update(key, payload, self.expected, key_ttl, &self.id)).await
                }
            },
            Action::Delete { purge } => {
                let options = DeleteOptions {
                    purge,
                    purge_ttl: self.target.purge_ttl,
                };
                let repeats = self.is_repeated.then_some(self.start);
                Box::pin(delete(bucket, key, options, repeats)).await
            }
        }
    }
}

/// Repeats a put whose acknowledgement was lost, which has most likely been stored.
///
/// This reads the key and writes only over the revision that it has read, so that a late repetition cannot replace the value of a later
/// one. The first attempt has no such condition, but it was sent before this read on the same connection; only if that connection broke
/// may the server still receive it afterwards.
///
/// A value that was written after the first attempt stays, as if it had replaced the value of this put.
async fn put_again(
    bucket: &KvBucket,
    key: &str,
    payload: Bytes,
    ttl: Option<Duration>,
    start: WriteStart,
) -> Result<u64, WriteError> {
    let Some(newest) = bucket.newest(key).await? else {
        return bucket.write(key, payload, Some(0), ttl, None).await;
    };
    let is_equal = !is_marker(&newest) && newest.payload == payload;
    // The marker of an expired entry comes from the server, so it is no newer write of a client.
    let is_done = !is_expiry(&newest.headers)
        && match is_after(bucket, &newest, start).await? {
            Some(is_after) => is_after,
            None => is_equal,
        };
    if is_done {
        return Ok(newest.sequence);
    }
    // An equal value from before this write is written again, since age and history of the entry count from the newest write.
    let expected = Some(newest.sequence);
    bucket.write(key, payload, expected, ttl, None).await
}

/// Whether a message was stored after the start of a write; `None` if the two times are too close to decide.
pub(crate) async fn is_after(
    bucket: &KvBucket,
    message: &StreamMessage,
    start: WriteStart,
) -> Result<Option<bool>, StoreError> {
    // A revision that was acknowledged before the start is older, whatever the clocks show.
    if message.sequence <= start.newest {
        return Ok(Some(false));
    }
    let clock = bucket.clock().await?;
    Ok(clock.is_after(message.time.into(), start.at))
}
