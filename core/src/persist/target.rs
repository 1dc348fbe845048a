//! One write, from the first try to its end.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use tokio::time::Instant;

use crate::descriptor::key::InvalidKey;
use crate::descriptor::store::{StoreDescriptor, Write};
use crate::descriptor::template::PartialKey;
use crate::error::chain;
use crate::persist::delete::delete;
use crate::persist::plain_put::Publisher;
use crate::persist::queue::{Begun, Writer};
use crate::status::Status;
use crate::store::error::{StoreError, WriteError};
use crate::store::kv::bucket::{KvBucket, is_marker};
use crate::store::kv::entry::is_expiry;
use crate::store::object::bucket::{self, ObjectBucket};
use crate::store::object::write;

/// A bucket that a service writes to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) store: StoreDescriptor,
    pub(crate) bucket: Bucket,
    /// For writes without conditions; none where they cannot be made by a plain message.
    pub(crate) publisher: Option<Publisher>,
    /// The same for all methods that write to this bucket: the writes to one of its keys are ordered.
    pub(crate) writer: Arc<Writer>,
    /// One of these methods has `write = "update"`.
    pub(crate) is_compared: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Bucket {
    Kv(Arc<KvBucket>),
    Object(Arc<ObjectBucket>),
}

/// What became of a write: the digest of what is stored, if that is an object.
pub(crate) type Outcome = Result<Option<String>, Failure>;

/// Why a write was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The response does not make a key.
    Key(InvalidKey),
    /// `write = "create"`, and there is an entry.
    Exists,
    /// `write = "update"`, and the entry has changed since the call began.
    Changed,
    /// The store refused it at the first try: nothing of it is there.
    Refused(String),
    /// The store refused it, or time ran out.
    Store(String),
}

impl Failure {
    /// What a caller is told whose reply waited for the write. The cause is for the log.
    pub(crate) fn status(&self, store: &StoreDescriptor) -> Status {
        let bucket = store.bucket;
        match self {
            Self::Exists => Status::already_exists(format!(
                "bucket `{bucket}` has an entry under this key already"
            )),
            Self::Changed => Status::aborted(format!(
                "the entry in bucket `{bucket}` has changed during the call; read it again and retry"
            )),
            _ if store.write.deletes() => Status::unavailable(format!(
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

/// The pause before the second try; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// How long a write that is out of time may clean up after itself: a little more than a put of an object takes for it.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_millis(1_500);

impl Target {
    /// Whether of several values of a key only the newest stays, and nobody compares their revisions.
    pub(crate) fn keeps_newest(&self) -> bool {
        matches!(self.bucket, Bucket::Kv(_))
            && self.store.write == Write::Put
            && !self.is_compared
            && self.store.max_history.is_none_or(|history| history == 1)
    }

    /// Whether a write is a put of a value and nothing else.
    pub(crate) fn puts_plainly(&self) -> bool {
        self.publisher.is_some() && self.store.write == Write::Put && self.store.key_ttl.is_none()
    }

    /// Whether a write compares the revision of its key with the one that the call began with.
    pub(crate) fn compares(&self) -> bool {
        self.store.write == Write::Update
    }

    /// The revision of the key at the beginning of a call; 0 for none.
    pub(crate) async fn seen(&self, key: &PartialKey) -> Result<u64, Status> {
        match &self.bucket {
            Bucket::Kv(bucket) => self.seen_in(bucket, key).await,
            // An object is written over whatever is there.
            Bucket::Object(_) => Ok(0),
        }
    }

    async fn seen_in(&self, bucket: &KvBucket, key: &PartialKey) -> Result<u64, Status> {
        self.writer.up_to_date(key.as_str()).await;
        let newest = bucket.newest(key.as_str()).await.map_err(|error| {
            tracing::warn!(
                bucket = self.store.bucket,
                key = key.as_str(),
                error = chain(&error),
                "cannot read the revision to update"
            );
            Status::unavailable(format!("bucket `{}` cannot be read", self.store.bucket))
        })?;
        Ok(newest.map_or(0, |message| message.sequence))
    }

    /// Writes until it is done, is refused, or the deadline passes. With `since`, it may have been done from that time on.
    pub(crate) async fn write(
        &self,
        key: &str,
        payload: &Bytes,
        seen: Option<u64>,
        since: Option<Begun>,
        deadline: Instant,
    ) -> Outcome {
        let shared = self.writer.shared();
        let mut pause = FIRST_PAUSE;
        let mut last_cause = "no answer from the store".to_owned();
        let begun = since.unwrap_or_else(|| shared.begin());
        // The same for all tries, so that a later one finds out that an earlier one was stored. The others carry none.
        let id = match &self.bucket {
            Bucket::Kv(bucket) if matches!(self.store.write, Write::Create | Write::Update) => {
                bucket.new_id()
            }
            Bucket::Kv(_) | Bucket::Object(_) => String::new(),
        };
        let mut retry = since.is_some();
        let end = match &self.bucket {
            Bucket::Kv(_) => deadline,
            // It sees the deadline itself, and then removes what it has written.
            Bucket::Object(_) => deadline + CLEAN_UP_TIMEOUT,
        };
        let tried = {
            // The window has one of these per write: what few writes need has a place of its own.
            let tries = pin!(async {
                loop {
                    let result = match &self.bucket {
                        Bucket::Kv(bucket) => {
                            let (payload, ttl) = (payload.clone(), self.store.key_ttl);
                            let written = match self.store.write {
                                Write::Put if retry => {
                                    let again = put_again(bucket, key, payload, ttl, begun);
                                    Box::pin(again).await
                                }
                                Write::Put => match &self.publisher {
                                    Some(publisher) if ttl.is_none() => {
                                        publisher.put(key, payload).await
                                    }
                                    _ => {
                                        Box::pin(bucket.write(key, payload, None, ttl, None)).await
                                    }
                                },
                                Write::Create => {
                                    Box::pin(bucket.create(key, payload, ttl, Some(&id))).await
                                }
                                Write::Update => {
                                    Box::pin(bucket.update(key, payload, seen, ttl, &id)).await
                                }
                                Write::Delete | Write::Purge => {
                                    Box::pin(delete(
                                        bucket,
                                        key,
                                        &self.store,
                                        retry.then_some(begun),
                                    ))
                                    .await
                                }
                            };
                            written.map(|revision| {
                                shared.acknowledged(revision);
                                None
                            })
                        }
                        Bucket::Object(bucket) => {
                            let patience = bucket::CLEAN_UP_TIMEOUT;
                            let put = write::put(bucket, key, payload.clone(), deadline, patience);
                            let put = Box::pin(put).await;
                            put.map(|put| Some(put.digest))
                        }
                    };
                    match result {
                        Ok(digest) => return Ok(digest),
                        Err(WriteError::Conflict(_)) => match self.store.write {
                            Write::Create => return Err(Failure::Exists),
                            Write::Update => return Err(Failure::Changed),
                            // Somebody wrote between our look at the key and our write: look again.
                            Write::Put | Write::Delete | Write::Purge => {}
                        },
                        Err(WriteError::Uncertain(source)) => {
                            last_cause = chain(source.as_ref());
                            tokio::time::sleep(pause).await;
                            pause = (pause * 2).min(MAX_PAUSE);
                        }
                        Err(error @ (WriteError::Refused(_) | WriteError::TooLarge(_))) => {
                            let refused = if retry {
                                Failure::Store
                            } else {
                                Failure::Refused
                            };
                            return Err(refused(chain(error.source())));
                        }
                    }
                    retry = true;
                }
            });
            tokio::time::timeout_at(end, tries).await
        };
        match tried {
            Ok(result) => result,
            Err(_) => Err(Failure::Store(format!(
                "given up after the persist timeout: {last_cause}"
            ))),
        }
    }
}

/// A put whose acknowledgement did not come has most likely been stored. This looks, and writes only over what it saw, so that
/// of two repetitions a late one cannot follow the other. What keeps the first try from doing so is that it went ahead on the
/// same connection; only what a broken one still delivers after this comes too late.
///
/// What somebody else has put there since the write was begun stays: it came after a write that nobody may see any more.
async fn put_again(
    bucket: &KvBucket,
    key: &str,
    payload: Bytes,
    ttl: Option<Duration>,
    begun: Begun,
) -> Result<u64, WriteError> {
    let Some(newest) = bucket.newest(key).await? else {
        return bucket.write(key, payload, Some(0), ttl, None).await;
    };
    let is_equal = !is_marker(&newest) && newest.payload == payload;
    // What expires does so by itself.
    let is_done = !is_expiry(&newest.headers)
        && match is_after(bucket, &newest, begun).await? {
            Some(is_after) => is_after,
            None => is_equal,
        };
    if is_done {
        return Ok(newest.sequence);
    }
    // An equal value from before this write is another one: it has its own age and history.
    let seen = Some(newest.sequence);
    bucket.write(key, payload, seen, ttl, None).await
}

/// Whether a message came after a write was begun; `None` if that is too close to tell.
pub(crate) async fn is_after(
    bucket: &KvBucket,
    message: &StreamMessage,
    begun: Begun,
) -> Result<Option<bool>, StoreError> {
    // What was acknowledged before surely did not, whatever the clocks say.
    if message.sequence <= begun.newest {
        return Ok(Some(false));
    }
    let clock = bucket.clock().await?;
    Ok(clock.is_after(message.time.into(), begun.at))
}
