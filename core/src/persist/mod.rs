//! Stores the responses of a service, and deletes the entries that a call has made stale.
//!
//! A call passes three points. Before its handler runs, the keys are made and capacity in the queues is reserved
//! ([`Stores::bind`], [`Stores::reserve`]). When it has finished, the writes are queued without waiting ([`Stores::submit`]),
//! so that the writes to one key are queued in the order in which the handlers finished. What must be acknowledged before the
//! reply is waited for at the end ([`Pending::acknowledged`]). A deletion is one of these writes.
//!
//! May use `store` and the layers above it in the map. Knows of servers and endpoints only their names and counters
//! ([`stats::WriteOrigin`]).

pub(crate) mod age;
pub(crate) mod attempts;
pub(crate) mod batches;
pub(crate) mod delete;
pub(crate) mod open;
pub(crate) mod pending;
pub(crate) mod plain_put;
pub(crate) mod presence;
pub(crate) mod queue;
pub(crate) mod stats;
pub(crate) mod target;
pub(crate) mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::context::Context;
use crate::descriptor::bucket::StoreKind;
use crate::descriptor::key::{InvalidKey, Key};
use crate::descriptor::method::{Keys, Place};
use crate::descriptor::operation::Operation;
use crate::descriptor::template::PartialKey;
use crate::descriptor::usage::Persist;
use crate::persist::age::WriteStart;
use crate::persist::pending::{Pending, reply_deadline, write_deadline};
use crate::persist::queue::Permit;
use crate::persist::stats::{PersistenceStats, WriteOrigin};
use crate::persist::target::{Failure, Target, WriteOutcome};
use crate::status::Status;
use crate::transport::claim::Claim;

/// A response that could not be stored, or an entry that could not be deleted: what
/// [`Server::on_lost_write`](crate::server::Server::on_lost_write) is called with, and what a [`StopError`](crate::StopError) lists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostWrite {
    /// The name of the service.
    pub service: String,
    /// The name of the endpoint that was called.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// The key in the bucket; empty if the response did not make a valid key.
    pub key: String,
    /// The operation that was given up.
    pub operation: Operation,
    /// Why it was given up.
    pub cause: String,
}

impl fmt::Display for LostWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service,
            endpoint,
            bucket,
            key,
            operation,
            cause,
        } = self;
        match operation {
            Operation::Put => write!(
                f,
                "response of `{service}.{endpoint}` to key `{key}` of bucket `{bucket}`: {cause}"
            ),
            Operation::Delete | Operation::Purge => write!(
                f,
                "deletion of key `{key}` of bucket `{bucket}` by `{service}.{endpoint}`: {cause}"
            ),
        }
    }
}

/// The writes that a success of one endpoint makes. None for stores that only clients write, or without JetStream.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    /// Invariant: the effects of one queue are adjacent, a store before deletions.
    effects: Vec<Effect>,
    origin: Arc<WriteOrigin>,
}

/// One write that a success brings about.
#[derive(Debug)]
struct Effect {
    place: Place,
    target: Arc<Target>,
    /// For the first effect of a queue, the number of effects of this queue; 0 for the others.
    writes_to_queue: u32,
}

/// The writes of one call, in the order of the effects.
#[derive(Default)]
pub(crate) struct Writes {
    /// Most methods with a store have one.
    first: Option<Reserved>,
    others: Vec<Reserved>,
}

/// One write before the response is known: its key as far as the request determines it, and its reservation.
struct Reserved {
    key: PartialKey,
    reservation: Reservation,
}

#[derive(Default)]
struct Reservation {
    permit: Permit,
    /// The revision that the key had when the call began, for `write = "update"`.
    expected: Option<u64>,
}

/// One write in the queue.
pub(crate) struct QueuedWrite {
    pub(crate) origin: Arc<WriteOrigin>,
    pub(crate) target: Arc<Target>,
    pub(crate) key: Arc<str>,
    pub(crate) payload: Bytes,
    /// The revision that the key must still have, for `write = "update"`.
    pub(crate) expected: Option<u64>,
    pub(crate) permit: Permit,
    pub(crate) start: WriteStart,
    /// Receives the outcome of the write, if a reply waits for it.
    pub(crate) done: Option<oneshot::Sender<WriteOutcome>>,
    /// Until when a reply waits for it: no attempt is made afterwards.
    pub(crate) due: Option<Instant>,
}

impl QueuedWrite {
    /// Whether the call whose reply waited for the write has ended without it.
    fn is_abandoned(&self) -> bool {
        self.done.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    /// Whether a newer write to the same key may be made in place of this one: the bucket keeps one value per key, so it would
    /// discard this one at once.
    fn is_replaced_by(&self, newer: &Self) -> bool {
        Arc::ptr_eq(&self.target, &newer.target) && self.target.keeps_newest()
    }
}

impl Effect {
    fn stores_object(&self) -> bool {
        self.place == Place::Store(StoreKind::Object)
    }
}

impl Stores {
    /// The effects of an endpoint in the order in which calls reserve capacity in the queues, which is the same for all endpoints
    /// of a server: calls that reserve in one order cannot wait for each other.
    pub(crate) fn new(
        ordered: impl IntoIterator<Item = (Place, Arc<Target>)>,
        origin: WriteOrigin,
    ) -> Self {
        let mut effects: Vec<Effect> = Vec::new();
        let mut first = 0;
        for (place, target) in ordered {
            let same_queue = effects
                .get_mut(first)
                .filter(|first| Arc::ptr_eq(&first.target.queue, &target.queue));
            let writes_to_queue = if let Some(first) = same_queue {
                first.writes_to_queue += 1;
                0
            } else {
                first = effects.len();
                1
            };
            effects.push(Effect {
                place,
                target,
                writes_to_queue,
            });
        }
        Self {
            effects,
            origin: Arc::new(origin),
        }
    }

    /// The counts of the writes; `None` if the endpoint makes none.
    pub(crate) fn stats(&self) -> Option<PersistenceStats> {
        if self.effects.is_empty() {
            return None;
        }
        let queues = self.effects.iter().filter(|it| it.writes_to_queue > 0);
        let recreated = queues.map(|it| it.target.queue.shared().presence.recreated());
        Some(PersistenceStats {
            buckets_recreated: recreated.sum(),
            ..self.origin.counters.stats()
        })
    }

    /// Back to zero, except for the writes that are still pending.
    pub(crate) fn reset_stats(&self) {
        self.origin.counters.reset();
    }

    /// Makes the keys from the request. Fails for a request that makes no valid key, so that its handler does not run in vain.
    pub(crate) fn bind<Req, Resp>(
        &self,
        keys: &Keys<Req, Resp>,
        request: &Req,
    ) -> Result<Writes, Status> {
        let mut writes = self.effects.iter().map(|effect| {
            keys.at(effect.place).bind(request).map(|key| Reserved {
                key,
                reservation: Reservation::default(),
            })
        });
        Ok(Writes {
            first: writes.next().transpose()?,
            others: writes.collect::<Result<_, _>>()?,
        })
    }

    /// Whether the writes of one more call can be queued. Always true for calls with several writes, which wait in
    /// [`reserve`](Self::reserve): if they waited here, calls with one write would overtake them again and again.
    pub(crate) fn have_room(&self) -> bool {
        match &self.effects[..] {
            [effect] => effect.target.queue.has_capacity(),
            _ => true,
        }
    }

    /// Waits until [`have_room`](Self::have_room) is true, without reserving capacity; another call may take it first.
    pub(crate) async fn room(&self) {
        if let [effect] = &self.effects[..] {
            effect.target.queue.wait_for_capacity().await;
        }
    }

    /// Reserves capacity in the queues, and waits for it if necessary.
    pub(crate) async fn reserve(&self, writes: &mut Writes) -> Result<(), Status> {
        if self.try_reserve(writes) {
            return Ok(());
        }
        // Boxed, so that the future of a call that does not wait is small.
        Box::pin(self.reserve_all(writes)).await
    }

    /// Reserves capacity without waiting. Returns false if the call has several writes, compares a revision, or must wait.
    fn try_reserve(&self, writes: &mut Writes) -> bool {
        let Some(first) = &mut writes.first else {
            return true;
        };
        let [effect] = &self.effects[..] else {
            return false;
        };
        if effect.target.compares() {
            return false;
        }
        let Some(permit) = effect.target.queue.try_reserve() else {
            return false;
        };
        first.reservation.permit = permit;
        true
    }

    async fn reserve_all(&self, writes: &mut Writes) -> Result<(), Status> {
        let mut permit = Permit::default();
        let writes = writes.first.iter_mut().chain(&mut writes.others);
        for (effect, write) in self.effects.iter().zip(writes) {
            let target = &effect.target;
            // All of one queue at once: calls that each hold a part of what they need could wait for each other.
            if effect.writes_to_queue > 0 {
                permit = target.queue.reserve(effect.writes_to_queue).await;
            }
            write.reservation.permit = permit.split();
            if target.compares() {
                write.reservation.expected = Some(target.newest_revision(&write.key).await?);
            }
        }
        Ok(())
    }

    /// Queues the writes of a success. `reply` is the value to store, unless the handler has called `do_not_store`. A reply that exceeds
    /// `max_payload` with its headers becomes a claim on the stored object.
    pub(crate) fn submit<Req, Resp>(
        &self,
        writes: Writes,
        keys: &Keys<Req, Resp>,
        cx: &Context,
        reply: &Bytes,
        response: &Resp,
        max_payload: usize,
    ) -> Pending {
        let mut pending = Pending::default();
        if self.effects.is_empty() {
            return pending;
        }
        let is_oversized = reply.len() + cx.response_headers_len() > max_payload;
        // An oversized reply without an object becomes an error, and for an error nothing is stored.
        let is_success = !is_oversized || self.effects.iter().any(Effect::stores_object);
        let is_stored = cx.stores_response();
        // The key under which this call stores the response through the current queue.
        let mut stored: Option<Key> = None;
        let writes = writes.first.into_iter().chain(writes.others);
        for (effect, Reserved { key, reservation }) in self.effects.iter().zip(writes) {
            if effect.writes_to_queue > 0 {
                stored = None;
            }
            let target = &effect.target;
            if target.deletes() {
                let key = keys.at(effect.place).complete(response, key);
                // The response that was just stored is not stale.
                if stored.is_none() || stored.as_ref() != key.as_ref().ok() {
                    let payload = Bytes::new();
                    self.queue(target, key, payload, reservation, cx, false, &mut pending);
                }
            } else if !is_stored {
                self.origin.counters.skipped.fetch_add(1, Ordering::Relaxed);
            } else if is_success {
                let key = keys.at(effect.place).complete(response, key);
                if effect.writes_to_queue > 1 {
                    stored = key.as_ref().ok().cloned();
                }
                let is_claim = is_oversized && effect.stores_object();
                let payload = reply.clone();
                self.queue(
                    target,
                    key,
                    payload,
                    reservation,
                    cx,
                    is_claim,
                    &mut pending,
                );
            }
        }
        pending
    }

    /// Queues one write, and adds it to `pending` if the reply waits for it. A write without a valid key is lost.
    #[allow(clippy::too_many_arguments, reason = "the parts of one write")]
    fn queue(
        &self,
        target: &Arc<Target>,
        key: Result<Key, InvalidKey>,
        payload: Bytes,
        Reservation { permit, expected }: Reservation,
        cx: &Context,
        is_claim: bool,
        pending: &mut Pending,
    ) {
        let is_awaited = target.persist == Persist::BeforeResponse || is_claim;
        let done = is_awaited.then(|| pending.add(target));
        let key = match key {
            Ok(key) => key,
            Err(error) => {
                let failure = Failure::Key(error);
                target.queue.lose(&self.origin, target, "", &failure);
                if let Some(done) = done {
                    // The receiver is in `pending`.
                    let _ = done.send(Err(failure));
                }
                return;
            }
        };
        if is_claim {
            pending.claim = Some(Box::new(Claim {
                bucket: target.name.to_owned(),
                name: key.to_string(),
                size: payload.len(),
                digest: String::new(),
            }));
        }
        self.origin.counters.pending.fetch_add(1, Ordering::Relaxed);
        let deadline = is_awaited.then(|| reply_deadline(cx)).flatten();
        let due = deadline.map(write_deadline);
        pending.due = due.or(pending.due);
        target.queue.submit(QueuedWrite {
            origin: Arc::clone(&self.origin),
            target: Arc::clone(target),
            key: key.as_ref().into(),
            payload,
            expected,
            permit,
            start: target.queue.shared().start_write(deadline),
            done,
            due,
        });
    }
}
