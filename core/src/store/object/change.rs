//! Puts and deletes of objects, and the removal of the chunks that they leave without an object.
//!
//! A put stores chunks and then metadata that refers to them; a delete stores metadata alone. If the acknowledgement of the metadata is
//! lost, it is unknown which chunks an object still refers to. A [`Change`] resolves this and removes the others.

use std::time::Duration;

use async_nats::client::FlushErrorKind;
use async_nats::connection::State;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::backoff::Backoff;
use crate::error::chain;
use crate::log::warn_limited;
use crate::store::error::{StoreError, StoreErrorKind, WriteError, is_no_stream};
use crate::store::object::bucket::{Contention, ObjectBucket};
use crate::store::object::info::{Current, Meta, Stored};
use crate::transport::random::random_token;

/// How long a task in the background tries to remove chunks.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The timeout of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses between its attempts.
const CLEAN_UP_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));

/// Deletes an object. Waits up to `clean_up_timeout` for the removal of its chunks, which then continues in the background. Deleting an
/// object that does not exist is no error. Others that keep changing it are given way to until `deadline`.
pub(crate) async fn delete(
    bucket: &ObjectBucket,
    name: &str,
    deadline: Instant,
    clean_up_timeout: Duration,
) -> Result<(), WriteError> {
    let mut change = Change::delete(bucket, name);
    let mut contention = Contention::until(deadline);
    loop {
        let Some(current) = bucket.current(name).await? else {
            return Ok(());
        };
        let meta = match &current.meta {
            Some(meta) if meta.deleted => {
                change.record_earlier_change(&current);
                break;
            }
            Some(meta) => Meta {
                deleted: true,
                size: 0,
                chunks: 0,
                digest: None,
                ..meta.clone()
            },
            None => Meta::deleted(
                bucket.name(),
                name,
                current.nuid.clone().unwrap_or_default(),
            ),
        };
        let published = match change.publish(&meta, Some(&current)).await {
            Err(WriteError::Full(_)) => Box::pin(change.publish_in_place(&meta, current)).await,
            published => published,
        };
        match published {
            Err(WriteError::Conflict(_)) => contention.pause().await?,
            published => {
                published?;
                break;
            }
        }
    }
    change.settle(clean_up_timeout).await;
    Ok(())
}

/// A put or a delete. [`settle`](Self::settle) removes the orphaned chunks: those that no object refers to. If the change is dropped
/// before that is done, a task in the background does it.
///
/// Invariant: no chunks are removed that an object refers to. The new chunks are removed only after it is certain that the metadata was
/// not stored and will not be, the old ones only after it is certain that it was. A delete in a full bucket is the exception.
pub(crate) struct Change {
    clean_up: CleanUp,
    is_settled: bool,
    /// Taken when the change begins, since it may be dropped outside of a runtime.
    runtime: Option<Handle>,
}

/// Which chunks a change may leave without an object, and the outcome that decides it.
#[derive(Clone)]
struct CleanUp {
    bucket: ObjectBucket,
    name: String,
    /// The id of the chunks that a put writes.
    new: Option<String>,
    /// The id of the chunks of the version that is replaced.
    old: Option<String>,
    outcome: ChangeOutcome,
    /// The message id of the last metadata. The server stores at most one message with it.
    message: String,
    /// Whether a fence, an empty message under that id, may be stored.
    is_fenced: bool,
    /// The epoch of the connection on which the change began.
    connection: u64,
}

#[derive(Clone, Copy)]
enum ChangeOutcome {
    Unknown,
    /// The metadata is stored, at this revision.
    Stored(u64),
    /// The metadata is not stored, and never will be.
    NotStored,
}

impl Change {
    /// A put, which writes chunks with an id of its own.
    pub(crate) fn put(bucket: &ObjectBucket, name: &str) -> Self {
        Self::new(bucket, name, Some(random_token()), ChangeOutcome::Unknown)
    }

    pub(crate) fn delete(bucket: &ObjectBucket, name: &str) -> Self {
        Self::new(bucket, name, None, ChangeOutcome::NotStored)
    }

    fn new(bucket: &ObjectBucket, name: &str, new: Option<String>, outcome: ChangeOutcome) -> Self {
        let clean_up = CleanUp {
            bucket: bucket.clone(),
            name: name.to_owned(),
            new,
            old: None,
            outcome,
            message: random_token(),
            is_fenced: false,
            connection: bucket.gate().connection_epoch(),
        };
        Self {
            clean_up,
            is_settled: false,
            runtime: Handle::try_current().ok(),
        }
    }

    /// Stores metadata in place of the `current` version. A change may do so again after a conflict.
    pub(crate) async fn publish(
        &mut self,
        meta: &Meta,
        current: Option<&Current>,
    ) -> Result<u64, WriteError> {
        let clean_up = &mut self.clean_up;
        clean_up.old = current.and_then(|current| current.nuid.clone());
        clean_up.message = random_token();
        clean_up.outcome = ChangeOutcome::Unknown;
        let revision = current.map_or(0, |current| current.revision);
        let published = clean_up
            .bucket
            .publish_meta(meta, revision, &clean_up.message)
            .await;
        match &published {
            Ok(revision) => clean_up.outcome = ChangeOutcome::Stored(*revision),
            Err(WriteError::Uncertain(_)) => {}
            Err(_) => clean_up.outcome = ChangeOutcome::NotStored,
        }
        published
    }

    /// Stores that an object is deleted in a bucket that is full. This makes room by removing what is deleted: the chunks, and the metadata
    /// if they were not enough.
    async fn publish_in_place(
        &mut self,
        meta: &Meta,
        mut current: Current,
    ) -> Result<u64, WriteError> {
        if let Some(nuid) = &current.nuid {
            self.bucket().purge(nuid).await?;
        }
        match self.publish(meta, Some(&current)).await {
            Err(WriteError::Full(_)) => {}
            published => return published,
        }
        self.bucket()
            .purge_meta(&meta.name, current.revision)
            .await?;
        current.revision = 0;
        self.publish(meta, Some(&current)).await
    }

    /// Records that an earlier change had the same effect. That one may not have removed the chunks.
    fn record_earlier_change(&mut self, current: &Current) {
        self.clean_up.old.clone_from(&current.nuid);
        self.clean_up.outcome = ChangeOutcome::Stored(current.revision);
    }

    /// Records that no chunk of this put is stored, and none is on its way.
    pub(crate) fn has_no_chunks(&mut self) {
        self.clean_up.new = None;
        self.clean_up.outcome = ChangeOutcome::NotStored;
    }

    /// Removes the orphaned chunks, and returns the revision if the change is known to be stored by then.
    pub(crate) async fn settle(mut self, clean_up_timeout: Duration) -> Option<u64> {
        let settled = timeout(clean_up_timeout, self.clean_up.settle()).await;
        self.is_settled = matches!(settled, Ok(Ok(()))) && !self.clean_up.may_receive_chunks();
        match self.clean_up.outcome {
            ChangeOutcome::Stored(revision) => Some(revision),
            ChangeOutcome::Unknown | ChangeOutcome::NotStored => None,
        }
    }

    pub(crate) fn bucket(&self) -> &ObjectBucket {
        &self.clean_up.bucket
    }

    pub(crate) fn name(&self) -> &str {
        &self.clean_up.name
    }

    /// The id of the chunks that a put writes.
    pub(crate) fn new_chunks(&self) -> &str {
        self.clean_up.new.as_deref().unwrap_or_default()
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if self.is_settled || self.clean_up.is_clean() {
            return;
        }
        let clean_up = self.clean_up.clone();
        match (&self.runtime, clean_up.bucket.clean_up_permit()) {
            (Some(runtime), Ok(permit)) => {
                runtime.spawn(async move {
                    clean_up.settle_in_background().await;
                    drop(permit);
                });
            }
            (None, _) => clean_up.give_up("there is no runtime"),
            (_, Err(_)) => {
                clean_up.give_up("too many other objects wait for the removal of chunks");
            }
        }
    }
}

impl CleanUp {
    /// The id of the orphaned chunks. With an unknown outcome, that of a put which was not stored.
    fn orphaned(&self) -> Option<&str> {
        match self.outcome {
            ChangeOutcome::Stored(_) => self.old.as_deref(),
            ChangeOutcome::Unknown | ChangeOutcome::NotStored => self.new.as_deref(),
        }
    }

    /// Whether there is nothing to resolve or to remove.
    fn is_clean(&self) -> bool {
        !matches!(self.outcome, ChangeOutcome::Unknown)
            && self.orphaned().is_none()
            && !self.is_fenced
    }

    async fn settle(&mut self) -> Result<(), StoreError> {
        if matches!(self.outcome, ChangeOutcome::Unknown) {
            self.outcome = self.resolve_outcome().await?;
        }
        if let Some(nuid) = self.orphaned() {
            self.bucket.purge(nuid).await?;
        }
        if self.is_fenced {
            self.bucket.purge(&self.message).await?;
            self.is_fenced = false;
        }
        Ok(())
    }

    /// Determines whether the metadata was stored. The result is final.
    ///
    /// The metadata may still be in flight. So this sends a fence, an empty message with the same message id. The server processes messages
    /// that were sent on this connection before the fence. Metadata that arrives later from a broken connection is a duplicate of the fence
    /// and is not stored.
    async fn resolve_outcome(&mut self) -> Result<ChangeOutcome, StoreError> {
        let is_first = !std::mem::replace(&mut self.is_fenced, true);
        let stored_before = match self.bucket.publish_fence(&self.message).await {
            Ok(Some(ack)) if is_first && ack.duplicate => Some(ack.sequence),
            Ok(_) => None,
            Err(error) => {
                // If the bucket was deleted, this read reports it.
                self.bucket.newest(&self.name).await?;
                return Err(error);
            }
        };
        if stored_before.is_some() {
            self.is_fenced = false;
        }
        let newest = match self.bucket.newest(&self.name).await {
            // Metadata that cannot be decoded was written by another client.
            Err(error) if *error.kind() == StoreErrorKind::Decode => None,
            newest => newest?.filter(|stored| self.is_own(stored)),
        };
        let revision = newest.map(|stored| stored.revision).or(stored_before);
        Ok(revision.map_or(ChangeOutcome::NotStored, ChangeOutcome::Stored))
    }

    fn is_own(&self, stored: &Stored) -> bool {
        let nuid = Some(&stored.meta.nuid);
        match &self.new {
            Some(new) => nuid == Some(new),
            None => stored.meta.deleted && nuid == self.old.as_ref(),
        }
    }

    /// Whether the server may still receive chunks from a broken connection, which would have to be removed too.
    fn may_receive_chunks(&self) -> bool {
        matches!(self.outcome, ChangeOutcome::NotStored)
            && self.new.is_some()
            && self.connection != self.bucket.gate().connection_epoch()
    }

    /// Retries until the chunks are removed, the connection is closed, or [`CLEAN_UP_TIMEOUT`] has passed.
    async fn settle_in_background(mut self) {
        let gate = self.bucket.gate().clone();
        // A failed flush is the only sign that the connection was closed for good. A flush waits while the connection is down and
        // occupies a slot in the queue of async-nats, so there is only one at a time.
        let mut flush = Box::pin(gate.flush());
        let end = Instant::now() + CLEAN_UP_TIMEOUT;
        let mut backoff = CLEAN_UP_BACKOFF;
        let mut cause = "there is no connection".to_owned();
        while Instant::now() < end {
            if gate.connection_state() == State::Connected {
                match timeout(ATTEMPT_TIMEOUT, self.settle()).await {
                    Ok(Ok(())) if self.may_receive_chunks() => {
                        self.connection = gate.connection_epoch();
                    }
                    Ok(Ok(())) => return,
                    Ok(Err(error)) if is_no_stream(&error) => return,
                    Ok(Err(error)) => {
                        cause = chain(&error);
                        if *error.kind() == StoreErrorKind::PermissionDenied {
                            break;
                        }
                    }
                    Err(_) => cause = self.bucket.timed_out().to_string(),
                }
            }
            let paused = Instant::now() + backoff.next_pause();
            match timeout_at(paused, &mut flush).await {
                Ok(Err(FlushErrorKind::SendError)) => {
                    "the connection is closed".clone_into(&mut cause);
                    break;
                }
                Ok(_) => {
                    flush = Box::pin(gate.flush());
                    sleep_until(paused).await;
                }
                Err(_) => {}
            }
        }
        self.give_up(&cause);
    }

    /// Logs that the orphaned chunks stay in the bucket.
    fn give_up(&self, cause: &str) {
        warn_limited!(
            bucket = self.bucket.name(),
            object = self.name,
            chunks = self.orphaned(),
            cause,
            "chunks that no object refers to stay in the bucket"
        );
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use async_nats::jetstream::stream::Config;

    use super::*;
    use crate::store::bucket::jetstream::JetStream;
    use crate::testing::NatsServer;

    #[tokio::test]
    async fn chunks_are_removed_in_the_background_for_five_minutes() {
        let server = NatsServer::start().await.unwrap();
        let context = async_nats::jetstream::new(server.connect().await.unwrap());
        let config = Config {
            name: "OBJ_b".to_owned(),
            subjects: vec!["$O.b.C.>".to_owned(), "$O.b.M.>".to_owned()],
            allow_rollup: true,
            ..Config::default()
        };
        context.create_stream(config).await.unwrap();
        let jetstream = JetStream::new(context, Duration::from_secs(1), None);
        let bucket = jetstream.open::<ObjectBucket>("b").await.unwrap();
        let change = Change::put(&bucket, "a");
        server.kill().unwrap();
        while bucket.gate().connected_epoch().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The clock goes on by itself whenever nothing else is to be done.
        tokio::time::pause();
        let begun = Instant::now();
        change.clean_up.clone().settle_in_background().await;
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        // A pause may be the last one.
        assert!((5.0..5.2).contains(&minutes), "{minutes}");
    }
}
