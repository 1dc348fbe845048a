//! How responses get into the stores of a service, and how entries that a call has made stale get out of them.
//!
//! A call passes three points. Before its handler runs, the keys are made and room in the queues is reserved
//! ([`Stores::bind`], [`Stores::reserve`]). When it has finished, the writes are queued without waiting ([`Stores::submit`]),
//! so that the writes to one key are queued in the order in which the handlers finished. What must be acknowledged before the
//! reply is waited for at the end ([`Pending::acknowledged`]). A deletion is one of these writes.

pub(crate) mod batches;
pub(crate) mod delete;
pub(crate) mod open;
pub(crate) mod plain_put;
pub(crate) mod queue;
pub(crate) mod stats;
pub(crate) mod target;
pub(crate) mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::context::Context;
use crate::descriptor::key::Key;
use crate::descriptor::method::{Keys, OBJECT, Place};
use crate::descriptor::store::Persist;
use crate::descriptor::template::PartialKey;
use crate::persist::queue::Slot;
use crate::persist::stats::PersistenceStats;
use crate::persist::target::{Failure, Outcome, Target};
use crate::server::endpoint::Endpoint;
use crate::status::Status;
use crate::store::kv::entry::Operation;
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
    /// The key there; empty if the response did not make a valid key.
    pub key: String,
    /// What should have been done to the key.
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

/// What a success of one endpoint does to buckets. Nothing for stores that only clients write, or without JetStream.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    /// Those that go through one queue stand together, a store before deletions.
    effects: Vec<Effect>,
    counters: Counters,
}

/// One write that a success brings about.
#[derive(Debug)]
struct Effect {
    place: Place,
    target: Arc<Target>,
    /// How many follow through the same queue, itself included; 0 for all but the first of them.
    in_queue: u32,
}

#[derive(Debug, Default)]
struct Counters {
    persisted: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
    pending: AtomicU64,
}

/// The writes of one call, in the order of the effects.
#[derive(Default)]
pub(crate) struct Writes {
    /// Most methods with a store have one.
    first: Option<Reserved>,
    others: Vec<Reserved>,
}

/// One of them before there is something to write: its key as far as the request tells, and room in the queue.
struct Reserved {
    key: PartialKey,
    slot: Slot,
    /// The revision that the key had when the call began, for `write = "update"`.
    seen: Option<u64>,
}

/// One write in the queue.
pub(crate) struct QueuedWrite {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) target: Arc<Target>,
    pub(crate) key: Arc<str>,
    pub(crate) payload: Bytes,
    pub(crate) seen: Option<u64>,
    pub(crate) slot: Slot,
    pub(crate) queued: Instant,
    pub(crate) done: Option<oneshot::Sender<Outcome>>,
}

impl QueuedWrite {
    /// Whether a newer write to the same key may be made in place of this one: where the bucket keeps one value per key,
    /// this one would be gone at once.
    fn gives_way_to(&self, newer: &Self) -> bool {
        Arc::ptr_eq(&self.target, &newer.target) && self.target.keeps_newest()
    }
}

/// The writes that a reply waits for.
#[derive(Default)]
pub(crate) struct Pending {
    acknowledgements: Vec<Acknowledgement>,
    /// The object that stands in for a response that is too large for a reply; its digest comes with the acknowledgement.
    claim: Option<Box<Claim>>,
}

/// Where a write will be heard of, and which store it goes to.
type Acknowledgement = (Arc<Target>, oneshot::Receiver<Outcome>);

impl Stores {
    /// The effects of an endpoint in the order in which calls take room in the queues, which is the same for all endpoints of
    /// a server: calls that take room in one order cannot wait for each other.
    pub(crate) fn new(ordered: impl IntoIterator<Item = (Place, Arc<Target>)>) -> Self {
        let mut effects: Vec<Effect> = Vec::new();
        let mut first = 0;
        for (place, target) in ordered {
            let same_queue = effects
                .get_mut(first)
                .filter(|first| Arc::ptr_eq(&first.target.writer, &target.writer));
            let in_queue = if let Some(first) = same_queue {
                first.in_queue += 1;
                0
            } else {
                first = effects.len();
                1
            };
            effects.push(Effect {
                place,
                target,
                in_queue,
            });
        }
        Self {
            effects,
            counters: Counters::default(),
        }
    }

    /// What became of the writes; `None` if there are none.
    pub(crate) fn stats(&self) -> Option<PersistenceStats> {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (!self.effects.is_empty()).then(|| PersistenceStats {
            persisted: load(&self.counters.persisted),
            skipped: load(&self.counters.skipped),
            persist_failed: load(&self.counters.failed),
            persist_pending: load(&self.counters.pending),
        })
    }

    /// Back to zero, except for the writes that are still pending.
    pub(crate) fn reset_stats(&self) {
        let counters = &self.counters;
        for counter in [&counters.persisted, &counters.skipped, &counters.failed] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Makes the keys from the request, and so refuses a request whose success could not be written.
    pub(crate) fn bind<Req, Resp>(
        &self,
        keys: &Keys<Req, Resp>,
        request: &Req,
    ) -> Result<Writes, Status> {
        let mut writes = self.effects.iter().map(|effect| {
            keys.at(effect.place).bind(request).map(|key| Reserved {
                key,
                slot: Slot::default(),
                seen: None,
            })
        });
        Ok(Writes {
            first: writes.next().transpose()?,
            others: writes.collect::<Result<_, _>>()?,
        })
    }

    /// Whether the write of one more call can be queued. Calls with several find that out by themselves, each in its turn:
    /// those with one would be faster again and again.
    pub(crate) fn have_room(&self) -> bool {
        match &self.effects[..] {
            [effect] => effect.target.writer.has_room(),
            _ => true,
        }
    }

    /// Waits until it may be.
    pub(crate) async fn room(&self) {
        if let [effect] = &self.effects[..] {
            effect.target.writer.room().await;
        }
    }

    /// Takes room in the queues, and waits for it if need be.
    pub(crate) async fn reserve(&self, writes: &mut Writes) -> Result<(), Status> {
        // What few calls need is no part of the others.
        if self.reserve_at_once(writes) {
            return Ok(());
        }
        Box::pin(self.reserve_some(writes)).await
    }

    /// Takes it if nothing has to be waited for.
    fn reserve_at_once(&self, writes: &mut Writes) -> bool {
        let Some(first) = &mut writes.first else {
            return true;
        };
        let [effect] = &self.effects[..] else {
            return false;
        };
        if effect.target.compares() {
            return false;
        }
        let Some(slot) = effect.target.writer.try_reserve() else {
            return false;
        };
        first.slot = slot;
        true
    }

    async fn reserve_some(&self, writes: &mut Writes) -> Result<(), Status> {
        let mut room = Slot::default();
        let writes = writes.first.iter_mut().chain(&mut writes.others);
        for (effect, write) in self.effects.iter().zip(writes) {
            let target = &effect.target;
            // All at once: calls that each have a part of what they need could wait for each other.
            if effect.in_queue > 0 {
                room = target.writer.reserve(effect.in_queue).await;
            }
            write.slot = room.split();
            if target.compares() {
                write.seen = Some(target.seen(&write.key).await?);
            }
        }
        Ok(())
    }

    /// Queues the writes of a success. `reply` is what is stored, unless the handler does not want it.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a success comes to, in the order of a call"
    )]
    pub(crate) fn submit<Req, Resp>(
        &self,
        endpoint: &Arc<Endpoint>,
        max_payload: usize,
        writes: Writes,
        keys: &Keys<Req, Resp>,
        cx: &Context,
        reply: &Bytes,
        response: &Resp,
    ) -> Pending {
        let mut pending = Pending::default();
        if self.effects.is_empty() {
            return pending;
        }
        let is_object = |effect: &Effect| effect.place == Place::Store(OBJECT);
        let oversized = reply.len() + cx.response_headers_len() > max_payload;
        // In place of a success that cannot be sent, the caller gets an error, and for an error nothing is stored.
        let is_success = !oversized || self.effects.iter().any(is_object);
        let is_stored = cx.stores_response();
        let mut stored: Option<Key> = None;
        let writes = writes.first.into_iter().chain(writes.others);
        for (effect, Reserved { key, slot, seen }) in self.effects.iter().zip(writes) {
            if effect.in_queue > 0 {
                stored = None;
            }
            let target = &effect.target;
            let stands_in = oversized && is_object(effect);
            let payload = if target.store.write.deletes() {
                Bytes::new()
            } else if !is_stored {
                self.counters.skipped.fetch_add(1, Ordering::Relaxed);
                continue;
            } else if is_success {
                reply.clone()
            } else {
                continue;
            };
            let key = keys.at(effect.place).complete(response, key);
            if target.store.write.deletes() {
                // What was just stored is not stale.
                if stored.is_some() && stored.as_ref() == key.as_ref().ok() {
                    continue;
                }
            } else if effect.in_queue > 1 {
                stored = key.as_ref().ok().cloned();
            }
            let must_wait = target.store.persist == Persist::BeforeResponse || stands_in;
            let done = must_wait.then(|| {
                let (done, acknowledgement) = oneshot::channel();
                let acknowledgement = (Arc::clone(target), acknowledgement);
                pending.acknowledgements.push(acknowledgement);
                done
            });
            let key = match key {
                Ok(key) => key,
                Err(error) => {
                    let failure = Failure::Key(error);
                    target.writer.lose(endpoint, target, "", &failure);
                    if let Some(done) = done {
                        // The receiver is in `pending`.
                        let _ = done.send(Err(failure));
                    }
                    continue;
                }
            };
            if stands_in {
                pending.claim = Some(Box::new(Claim {
                    bucket: target.store.bucket.to_owned(),
                    name: key.to_string(),
                    size: payload.len(),
                    digest: String::new(),
                }));
            }
            self.counters.pending.fetch_add(1, Ordering::Relaxed);
            target.writer.submit(QueuedWrite {
                endpoint: Arc::clone(endpoint),
                target: Arc::clone(target),
                key: key.as_ref().into(),
                payload,
                seen,
                slot,
                queued: Instant::now(),
                done,
            });
        }
        pending
    }
}

impl Pending {
    /// Whether there is anything to wait for.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.acknowledgements.is_empty()
    }

    /// Waits for the acknowledgements. A write that fails fails the call. Gives the object that stands in for the response, if
    /// one does.
    pub(crate) async fn acknowledged(mut self) -> Result<Option<Box<Claim>>, Status> {
        for (target, acknowledgement) in self.acknowledgements {
            match acknowledgement.await {
                Ok(Ok(digest)) => {
                    if let (Some(claim), Some(digest)) = (&mut self.claim, digest) {
                        claim.digest = digest;
                    }
                }
                Ok(Err(failure)) => return Err(failure.status(&target.store)),
                Err(_) => {
                    return Err(Status::unavailable(
                        "the service stopped before its writes were acknowledged",
                    ));
                }
            }
        }
        Ok(self.claim)
    }
}
