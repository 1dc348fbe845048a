//! What a change of an object may leave behind, and its removal.

use std::time::Duration;

use async_nats::client::FlushErrorKind;
use async_nats::connection::State;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::error::chain;
use crate::store::bucket::jetstream::is_no_stream;
use crate::store::error::{StoreError, StoreErrorKind, WriteError};
use crate::store::object::bucket::ObjectBucket;
use crate::store::object::info::{Meta, Stored};
use crate::transport::subject::connection;

/// How long what is left behind is looked after.
const GIVE_UP: Duration = Duration::from_secs(5 * 60);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The pause between two attempts; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// A put or a delete. Once it has ended, one way or the other, it removes the chunks that nobody needs; if it is dropped, or the
/// server is away, in a task of its own.
pub(crate) struct Change {
    leftovers: Leftovers,
    is_settled: bool,
    /// It may be dropped anywhere.
    runtime: Option<Handle>,
}

#[derive(Clone)]
struct Leftovers {
    bucket: ObjectBucket,
    name: String,
    /// The id of the chunks that a put writes.
    new: Option<String>,
    /// The id of those that were the object's before.
    old: Option<String>,
    outcome: Outcome,
    /// The id of the last message with metadata. There is only one message with it.
    message: String,
    /// A message that is no metadata may be there under that id.
    is_fenced: bool,
    /// The one on which it began.
    connection: u64,
}

#[derive(Clone, Copy)]
enum Outcome {
    Unknown,
    /// At this revision.
    Stored(u64),
    NotStored,
}

impl Change {
    /// A put, which writes chunks with an id of its own.
    pub(crate) fn put(bucket: &ObjectBucket, name: &str) -> Self {
        Self::new(bucket, name, Some(bucket.new_id()), Outcome::Unknown)
    }

    pub(crate) fn delete(bucket: &ObjectBucket, name: &str) -> Self {
        Self::new(bucket, name, None, Outcome::NotStored)
    }

    fn new(bucket: &ObjectBucket, name: &str, new: Option<String>, outcome: Outcome) -> Self {
        let leftovers = Leftovers {
            bucket: bucket.clone(),
            name: name.to_owned(),
            new,
            old: None,
            outcome,
            message: bucket.new_id(),
            is_fenced: false,
            connection: connection(&bucket.client()),
        };
        Self {
            leftovers,
            is_settled: false,
            runtime: Handle::try_current().ok(),
        }
    }

    /// Writes metadata in place of what is there.
    pub(crate) async fn publish(
        &mut self,
        meta: &Meta,
        there: Option<&Stored>,
    ) -> Result<u64, WriteError> {
        let leftovers = &mut self.leftovers;
        leftovers.old = there.map(|stored| stored.meta.nuid.clone());
        leftovers.message = leftovers.bucket.new_id();
        leftovers.outcome = Outcome::Unknown;
        let revision = there.map_or(0, |stored| stored.revision);
        let published = leftovers
            .bucket
            .publish_meta(meta, revision, &leftovers.message)
            .await;
        match &published {
            Ok(revision) => leftovers.outcome = Outcome::Stored(*revision),
            Err(WriteError::Uncertain(_)) => {}
            Err(_) => leftovers.outcome = Outcome::NotStored,
        }
        published
    }

    /// Finds that somebody has made this change before, who may not have heard of it.
    pub(crate) fn was_made(&mut self, stored: &Stored) {
        self.leftovers.old = Some(stored.meta.nuid.clone());
        self.leftovers.outcome = Outcome::Stored(stored.revision);
    }

    /// Removes what nobody needs, and gives the revision if the change was stored, as far as that is known by then.
    pub(crate) async fn settle(mut self, patience: Duration) -> Option<u64> {
        let settled = timeout(patience, self.leftovers.settle()).await;
        self.is_settled = matches!(settled, Ok(Ok(()))) && !self.leftovers.may_grow();
        match self.leftovers.outcome {
            Outcome::Stored(revision) => Some(revision),
            Outcome::Unknown | Outcome::NotStored => None,
        }
    }

    pub(crate) fn bucket(&self) -> &ObjectBucket {
        &self.leftovers.bucket
    }

    pub(crate) fn name(&self) -> &str {
        &self.leftovers.name
    }

    /// The id of the chunks that a put writes.
    pub(crate) fn new_chunks(&self) -> &str {
        self.leftovers.new.as_deref().unwrap_or_default()
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if self.is_settled || self.leftovers.is_nothing() {
            return;
        }
        let leftovers = self.leftovers.clone();
        match (&self.runtime, leftovers.bucket.cleaner()) {
            (Some(runtime), Ok(permit)) => {
                runtime.spawn(async move {
                    leftovers.settle_later().await;
                    drop(permit);
                });
            }
            (None, _) => leftovers.give_up("there is no runtime"),
            (_, Err(_)) => leftovers.give_up("too many other objects have left some"),
        }
    }
}

impl Leftovers {
    /// What nobody needs, as far as is known.
    fn unneeded(&self) -> Option<&str> {
        match self.outcome {
            Outcome::Stored(_) => self.old.as_deref(),
            Outcome::Unknown | Outcome::NotStored => self.new.as_deref(),
        }
    }

    fn is_nothing(&self) -> bool {
        !matches!(self.outcome, Outcome::Unknown) && self.unneeded().is_none() && !self.is_fenced
    }

    async fn settle(&mut self) -> Result<(), StoreError> {
        if matches!(self.outcome, Outcome::Unknown) {
            self.outcome = self.find_out().await?;
        }
        if let Some(nuid) = self.unneeded() {
            self.bucket.purge(nuid).await?;
        }
        if self.is_fenced {
            self.bucket.purge(&self.message).await?;
            self.is_fenced = false;
        }
        Ok(())
    }

    /// Whether the metadata was stored, for good.
    ///
    /// All that was sent before may still be on its way. So this sends one more message, with the id of the metadata: what came
    /// on this connection is stored or refused before it, and what still comes on a broken one is a duplicate of it.
    async fn find_out(&mut self) -> Result<Outcome, StoreError> {
        let is_first = !std::mem::replace(&mut self.is_fenced, true);
        let stored_before = match self.bucket.publish_fence(&self.message).await {
            Ok(Some(ack)) if is_first && ack.duplicate => Some(ack.sequence),
            Ok(_) => None,
            Err(error) => {
                // If the bucket is gone, this is what says so.
                self.bucket.newest(&self.name).await?;
                return Err(error);
            }
        };
        if stored_before.is_some() {
            self.is_fenced = false;
        }
        let newest = match self.bucket.newest(&self.name).await {
            // What cannot be read is not ours.
            Err(error) if *error.kind() == StoreErrorKind::Decode => None,
            newest => newest?.filter(|stored| self.is_ours(stored)),
        };
        let revision = newest.map(|stored| stored.revision).or(stored_before);
        Ok(revision.map_or(Outcome::NotStored, Outcome::Stored))
    }

    fn is_ours(&self, stored: &Stored) -> bool {
        let nuid = Some(&stored.meta.nuid);
        match &self.new {
            Some(new) => nuid == Some(new),
            None => stored.meta.deleted && nuid == self.old.as_ref(),
        }
    }

    /// Whether chunks may come that a broken connection still delivers.
    fn may_grow(&self) -> bool {
        matches!(self.outcome, Outcome::NotStored)
            && self.new.is_some()
            && self.connection != connection(&self.bucket.client())
    }

    /// Goes on until it is done, the connection is closed, or it has taken too long.
    async fn settle_later(mut self) {
        let client = self.bucket.client();
        // Its failure is the only sign that the connection was closed for good. It waits as long as there is none, and takes a
        // place in async-nats' queue meanwhile: so there is one of them.
        let mut round_trip = Box::pin(client.flush());
        let end = Instant::now() + GIVE_UP;
        let mut pause = FIRST_PAUSE;
        let mut cause = "there is no connection".to_owned();
        while Instant::now() < end {
            if client.connection_state() == State::Connected {
                match timeout(ATTEMPT, self.settle()).await {
                    Ok(Ok(())) if self.may_grow() => self.connection = connection(&client),
                    Ok(Ok(())) => return,
                    Ok(Err(error)) if is_no_stream(&error) => return,
                    Ok(Err(error)) => cause = chain(&error),
                    Err(_) => cause = StoreError::timed_out().to_string(),
                }
            }
            let paused = Instant::now() + pause;
            match timeout_at(paused, &mut round_trip).await {
                Ok(Err(error)) if error.kind() == FlushErrorKind::SendError => {
                    "the connection is closed".clone_into(&mut cause);
                    break;
                }
                Ok(_) => {
                    round_trip = Box::pin(client.flush());
                    sleep_until(paused).await;
                }
                Err(_) => {}
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
        self.give_up(&cause);
    }

    fn give_up(&self, cause: &str) {
        tracing::warn!(
            bucket = self.bucket.name(),
            object = self.name,
            chunks = self.unneeded(),
            cause,
            "chunks that no object refers to stay in the bucket"
        );
    }
}
