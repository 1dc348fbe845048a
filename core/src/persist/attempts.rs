//! One write, from the first attempt to its outcome.
//!
//! Invariants: an attempt whose acknowledgement is lost may have been stored, so every later attempt reads the key first or carries the
//! same message id. A repetition, and a first attempt that is late, does not replace a value that was written after the write was queued.
//! No attempt is made while the connection is down, or after the deadline of the call that waits for the write.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::descriptor::usage::Write;
use crate::persist::age::{Age, Place, Trace};
use crate::persist::delete::{DeleteOptions, delete};
use crate::persist::presence::Found;
use crate::persist::target::{Action, Bucket, Failure, Target, WriteOutcome};
use crate::store::error::{StoreError, WriteError};
use crate::store::kv::bucket::{KvBucket, is_marker};
use crate::store::kv::entry::is_expiry;
use crate::store::object::bucket;
use crate::store::object::write;
use crate::transport::gate::Gate;
use crate::transport::random::random_token;

/// The pauses between the attempts of one write.
const ATTEMPT_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
/// How long a put of an object may go on after its deadline to remove its chunks: a little longer than its own timeout for that.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long a late attempt waits for what its key holds. A bucket without a leader does not answer, and soon has another one.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// How long any attempt but a plain put may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an attempt looks whether its connection was lost.
const CONNECTION_CHECK: Duration = Duration::from_millis(250);
/// How often a write that waits for the connection looks for it.
pub(crate) const CONNECTION_POLL: Duration = Duration::from_millis(50);

/// The request for one write, as its attempts need it.
pub(crate) struct WriteRequest {
    pub(crate) key: Arc<str>,
    pub(crate) payload: Bytes,
    /// The revision at the start of the call, for `write = "update"`.
    pub(crate) expected: Option<u64>,
    pub(crate) age: Age,
    /// Whether the first attempt reads the key before it writes.
    pub(crate) is_late: bool,
    /// Whether an attempt in a batch may have been stored.
    pub(crate) is_repeated: bool,
    /// When the call that waits for the write ends.
    pub(crate) due: Option<Instant>,
    /// When the persist timeout ends.
    pub(crate) deadline: Instant,
}

/// A write that has ended.
pub(crate) struct Ended {
    pub(crate) outcome: WriteOutcome,
    pub(crate) trace: Trace,
    /// Whether more than one attempt was made.
    pub(crate) is_repeated: bool,
}

/// What an attempt without an error has found or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It has written this revision.
    At(u64),
    /// The key has what was to be written already, at this revision.
    Found(u64),
    /// The key has a newer value, at this revision, and the older one was not written.
    StoodBack(u64),
    /// The key has a newer value, at this revision, and it was not deleted.
    Kept(u64),
    /// There was nothing to delete.
    Nothing,
    /// It has stored an object with this digest.
    Object(String),
}

impl Target {
    /// Makes attempts until one is stored or refused, or time is over.
    pub(crate) async fn write(&self, request: WriteRequest) -> Ended {
        let end = match &self.bucket {
            Bucket::Kv(_) => request.deadline,
            // The put observes the deadline itself, and removes its chunks afterwards.
            Bucket::Object(_) => request.deadline + CLEAN_UP_TIMEOUT,
        };
        let mut attempts = Attempts {
            target: self,
            may_be_stored: request.is_repeated,
            is_sending: false,
            is_repeated: request.is_repeated,
            request: &request,
            id: self.new_id(),
            trace: Trace::Nowhere,
            last_cause: request
                .is_repeated
                .then(|| "no acknowledgement of a batch came in time".to_owned()),
        };
        let outcome = tokio::time::timeout_at(end, pin!(attempts.run())).await;
        let outcome = outcome.unwrap_or_else(|_| {
            attempts.may_be_stored |= attempts.is_sending;
            let cause = persist_timeout(attempts.last_cause.as_deref());
            let hint = self.missing_permissions();
            Err(Failure::Store(match hint {
                Some(hint) if !cause.contains(&hint) => format!("{cause}; {hint}"),
                _ => cause,
            }))
        });
        let trace = match outcome {
            Ok(_) => attempts.trace,
            Err(_) if attempts.may_be_stored => Trace::Unknown,
            Err(_) => Trace::Nowhere,
        };
        Ended {
            outcome,
            trace,
            is_repeated: attempts.is_repeated,
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

/// Why a write is given up when the persist timeout is over, with the cause of the last attempt that failed.
pub(crate) fn persist_timeout(last_cause: Option<&str>) -> String {
    let cause = last_cause.unwrap_or("no answer from the store");
    format!("given up after the persist timeout: {cause}")
}

/// Why a write is given up when the call that waited for it has ended, with the cause of the last attempt that failed; none if no attempt
/// was made.
pub(crate) fn call_ended(last_cause: Option<&str>) -> Failure {
    Failure::Abandoned(match last_cause {
        Some(cause) => format!("given up at the end of the call that waited for it: {cause}"),
        None => "not attempted before the end of the call that waited for it".to_owned(),
    })
}

/// The attempts at one write.
struct Attempts<'a> {
    target: &'a Target,
    request: &'a WriteRequest,
    id: String,
    /// Whether an earlier attempt may have been stored. Never unset.
    may_be_stored: bool,
    /// Whether the current attempt has sent what changes the key.
    is_sending: bool,
    /// Whether an earlier attempt was made. Never unset.
    is_repeated: bool,
    /// Where a successful attempt was stored.
    trace: Trace,
    /// Why the last attempt failed.
    last_cause: Option<String>,
}

impl Attempts<'_> {
    /// Whether the next attempt reads the key before it writes.
    fn reads_first(&self) -> bool {
        self.request.is_late || self.is_repeated
    }

    async fn run(&mut self) -> WriteOutcome {
        let mut backoff = ATTEMPT_BACKOFF;
        loop {
            if self.reads_first() {
                self.wait_for_connection().await?;
            }
            self.is_sending = false;
            let created = self.target.bucket.facts().known().created;
            match self.attempt().await {
                Ok(stored) => return self.end(stored, created),
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
                Err(error @ WriteError::Uncertain(_)) => {
                    self.may_be_stored |= self.is_sending;
                    self.last_cause = Some(error.chain());
                    backoff.wait().await;
                }
                Err(error @ WriteError::Contended) => {
                    self.last_cause = Some(error.chain());
                    backoff.wait().await;
                }
                Err(error @ WriteError::NotTaken(_)) => {
                    self.last_cause = Some(error.chain());
                    if self.target.queue.shared().presence.look().await == Found::Missing {
                        let cause = format!("bucket `{}` is gone", self.target.name);
                        return Err(self.refused(cause));
                    }
                    backoff.wait().await;
                }
                Err(
                    error
                    @ (WriteError::Refused(_) | WriteError::TooLarge(_) | WriteError::Full(_)),
                ) => return Err(self.refused(error.chain())),
            }
            self.is_repeated = true;
        }
    }

    /// The failure of a write that would be refused each time.
    fn refused(&self, cause: String) -> Failure {
        if self.may_be_stored {
            Failure::Store(cause)
        } else {
            Failure::Refused(cause)
        }
    }

    /// Waits until an attempt can be sent. Fails if the call that waits for the write has ended.
    async fn wait_for_connection(&mut self) -> Result<(), Failure> {
        loop {
            if self.request.due.is_some_and(|due| due <= Instant::now()) {
                return Err(call_ended(self.last_cause.as_deref()));
            }
            if self.target.bucket.gate().connected_epoch().is_some() {
                return Ok(());
            }
            tokio::time::sleep(CONNECTION_POLL).await;
        }
    }

    /// Notes where the write is stored. `created` was known of the bucket before the attempt.
    fn end(&mut self, stored: Stored, created: SystemTime) -> WriteOutcome {
        let shared = self.target.queue.shared();
        let place = |revision| Place { created, revision };
        let (trace, revision) = match stored {
            Stored::At(revision) => (Trace::UpTo(revision), revision),
            Stored::Found(revision) if self.may_be_stored => (Trace::UpTo(revision), revision),
            Stored::StoodBack(revision) => {
                tracing::debug!(
                    bucket = self.target.name,
                    key = &*self.request.key,
                    revision,
                    "a write stood back for one that is newer"
                );
                shared.acknowledged(place(revision));
                return Err(Failure::Superseded);
            }
            // No attempt of this write has put there what it has found. What a deletion is to remove is gone if something newer is there.
            Stored::Found(revision) | Stored::Kept(revision) => (Trace::Nowhere, revision),
            Stored::Nothing => (Trace::Nowhere, 0),
            Stored::Object(digest) => return Ok(Some(digest)),
        };
        self.trace = trace;
        shared.acknowledged(place(revision));
        Ok(None)
    }

    async fn attempt(&mut self) -> Result<Stored, WriteError> {
        match &self.target.bucket {
            Bucket::Kv(bucket) => self.change_entry(bucket).await,
            Bucket::Object(bucket) => {
                self.is_sending = true;
                let WriteRequest {
                    key, payload, due, ..
                } = self.request;
                let (deadline, clean_up) = match *due {
                    // The caller also waits until what is not stored as a whole is removed.
                    Some(due) => {
                        let due = due.min(self.request.deadline);
                        let remaining = due.saturating_duration_since(Instant::now());
                        let clean_up = bucket::clean_up_time(remaining);
                        (due - clean_up, clean_up)
                    }
                    None => (self.request.deadline, bucket::CLEAN_UP_TIMEOUT),
                };
                let put = write::put(bucket, key, payload.clone(), deadline, clean_up);
                Ok(Stored::Object(Box::pin(put).await?.digest))
            }
        }
    }

    /// A worker holds very many of these futures, so all but the common case are boxed.
    async fn change_entry(&mut self, bucket: &KvBucket) -> Result<Stored, WriteError> {
        let WriteRequest {
            key,
            payload,
            expected,
            age,
            ..
        } = self.request;
        let reads_first = self.reads_first();
        let (payload, is_sending) = (payload.clone(), &mut self.is_sending);
        let gate = bucket.gate();
        let revision = match self.target.action {
            Action::Delete { purge } => {
                let options = DeleteOptions {
                    purge,
                    purge_ttl: self.target.purge_ttl,
                };
                let age = reads_first.then_some(age);
                let deletion = delete(bucket, key, options, age, is_sending);
                return Box::pin(on_one_connection(gate, ATTEMPT_TIMEOUT, deletion)).await;
            }
            Action::Store {
                write: Write::Put,
                key_ttl,
                ..
            } if reads_first => {
                let put = put_late(bucket, key, payload, key_ttl, age, is_sending);
                return Box::pin(on_one_connection(gate, ATTEMPT_TIMEOUT, put)).await;
            }
            Action::Store { write, key_ttl, .. } => {
                *is_sending = true;
                match (write, &self.target.plain_put) {
                    (Write::Put, Some(plain_put)) if key_ttl.is_none() => {
                        plain_put.put(bucket, key, payload).await
                    }
                    (Write::Put, _) => {
                        let put = bucket.write(key, payload, None, key_ttl, None);
                        Box::pin(on_one_connection(gate, ATTEMPT_TIMEOUT, put)).await
                    }
                    (Write::Create, _) => {
                        let put = bucket.create(key, payload, key_ttl, Some(&self.id));
                        Box::pin(on_one_connection(gate, ATTEMPT_TIMEOUT, put)).await
                    }
                    (Write::Update, _) => {
                        let put = bucket.update(key, payload, *expected, key_ttl, &self.id);
                        Box::pin(on_one_connection(gate, ATTEMPT_TIMEOUT, put)).await
                    }
                }
            }
        };
        revision.map(Stored::At)
    }
}

/// Makes a put that is late, or repeats one whose acknowledgement was lost, which has most likely been stored.
///
/// This reads the key and writes only over the revision that it has read, so that it cannot replace the value of a later write. The first
/// attempt of a repetition had no such condition, but it was sent before this read on the same connection; only if that connection broke
/// may the server still receive it afterwards.
///
/// A value that was written after the put was queued stays, as if it had replaced the value of this put. `is_sending` is set before the
/// value is sent.
async fn put_late(
    bucket: &KvBucket,
    key: &str,
    payload: Bytes,
    ttl: Option<Duration>,
    age: &Age,
    is_sending: &mut bool,
) -> Result<Stored, WriteError> {
    let newest = read_newest(bucket, key).await?;
    if let Some(newest) = &newest
        // The marker of an expired entry comes from the server, so it is no newer write of a client.
        && !is_expiry(&newest.headers)
    {
        let is_equal = !is_marker(newest) && newest.payload == payload;
        match age.is_before(bucket, newest).await? {
            // An equal value from before this write is written again, since age and history of the entry count from the newest write.
            Some(false) => {}
            None if !is_equal => {}
            Some(true) if !is_equal => return Ok(Stored::StoodBack(newest.sequence)),
            _ => return Ok(Stored::Found(newest.sequence)),
        }
    }
    let expected = Some(newest.map_or(0, |newest| newest.sequence));
    *is_sending = true;
    let revision = bucket.write(key, payload, expected, ttl, None).await?;
    Ok(Stored::At(revision))
}

/// Waits for the outcome of an attempt, at most for `timeout`, and ends it soon after the connection was lost: the answer is most likely
/// lost with it, and what the connection has not taken yet is withdrawn.
pub(crate) async fn on_one_connection<T>(
    gate: &Gate,
    timeout: Duration,
    attempt: impl Future<Output = Result<T, WriteError>>,
) -> Result<T, WriteError> {
    let connection = gate.connection_epoch();
    let now = Instant::now();
    let (mut check, end) = (now + CONNECTION_CHECK, now + timeout);
    let mut attempt = pin!(attempt);
    loop {
        let cause = match tokio::time::timeout_at(check.min(end), &mut attempt).await {
            Ok(outcome) => return outcome,
            Err(_) if gate.connected_epoch() != Some(connection) => {
                "the connection was lost before the acknowledgement came"
            }
            Err(_) if end <= check => "no acknowledgement came in time",
            Err(_) => {
                check += CONNECTION_CHECK;
                continue;
            }
        };
        return Err(WriteError::Uncertain(cause.into()));
    }
}

/// The newest message of a key, in time.
pub(crate) async fn read_newest(
    bucket: &KvBucket,
    key: &str,
) -> Result<Option<StreamMessage>, StoreError> {
    tokio::time::timeout(READ_TIMEOUT, bucket.newest(key))
        .await
        .unwrap_or_else(|_| Err(StoreError::timed_out()))
}
