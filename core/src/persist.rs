//! How responses get into the stores of a service.
//!
//! A call passes three points. Before its handler runs, the key is made and room in the queue is reserved ([`Stores::bind`],
//! [`Stores::reserve`]). When it has finished, the write is queued without waiting ([`Stores::submit`]), so that the writes to
//! one key are queued in the order in which the handlers finished. What must be acknowledged before the reply is waited for
//! at the end ([`Pending::acknowledged`]).

mod bucket;
mod open;
mod write;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use self::bucket::BucketPolicy;
pub(crate) use self::open::{OpenStores, Persistence};
pub(crate) use self::write::{Bucket, Failure, Target};
pub(crate) use self::writer::{AllLost, Lost, Slot, Writer};
use crate::Status;
use crate::discovery::PersistenceStats;
use crate::endpoint::Endpoint;
use crate::service::OBJECT;
use crate::store::{PartialKey, Persist, StoreKey};

/// A response that could not be stored: what [`Server::on_lost_write`](crate::Server::on_lost_write) is called with, and what
/// a [`StopError`](crate::StopError) lists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostWrite {
    /// The name of the service.
    pub service: String,
    /// The name of the endpoint whose response it was.
    pub endpoint: String,
    /// The bucket it belongs into.
    pub bucket: String,
    /// Its key there; empty if the response did not make a valid key.
    pub key: String,
    /// Why it was given up.
    pub cause: String,
}

impl fmt::Display for LostWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "response of `{}.{}` to key `{}` of bucket `{}`: {}",
            self.service, self.endpoint, self.key, self.bucket, self.cause
        )
    }
}

/// The stores of one endpoint: one place per kind, empty where the method has none, where only clients write, or where the
/// server has no JetStream.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    pub(crate) targets: [Option<Arc<Target>>; 2],
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    persisted: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
    pending: AtomicU64,
}

/// Room in the queue for one write, and its key as far as the request tells.
pub(crate) struct Reserved {
    key: PartialKey,
    slot: Slot,
    /// The revision that the key had when the call began, for `write = "update"`.
    seen: Option<u64>,
}

/// One write in the queue.
pub(crate) struct QueuedWrite {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) target: Arc<Target>,
    pub(crate) key: String,
    pub(crate) payload: Bytes,
    pub(crate) seen: Option<u64>,
    pub(crate) slot: Slot,
    pub(crate) queued: Instant,
    pub(crate) done: Option<oneshot::Sender<Result<(), Failure>>>,
}

/// The writes that a reply waits for.
#[derive(Default)]
pub(crate) struct Pending {
    acknowledgements: Vec<Acknowledgement>,
    /// What the caller gets in place of a response that is too large for a message.
    too_large: Option<Status>,
}

type PerStore<T> = [Option<T>; 2];
/// Where a write will be heard of, and which store it goes to.
type Acknowledgement = (Arc<Target>, oneshot::Receiver<Result<(), Failure>>);

impl Stores {
    /// What became of the writes; `None` if there are none.
    pub(crate) fn stats(&self) -> Option<PersistenceStats> {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.targets
            .iter()
            .any(Option::is_some)
            .then(|| PersistenceStats {
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

    /// Makes the keys from the request, and so refuses a request whose response could not be stored.
    pub(crate) fn bind<Req, Resp>(
        &self,
        keys: &PerStore<StoreKey<Req, Resp>>,
        request: &Req,
    ) -> Result<PerStore<PartialKey>, Status> {
        let mut bound = [None, None];
        for ((bound, key), target) in bound.iter_mut().zip(keys).zip(&self.targets) {
            if let (Some(key), Some(_)) = (key, target) {
                *bound = Some(key.bind(request)?);
            }
        }
        Ok(bound)
    }

    /// Waits for room in the queues, the Key-Value bucket's before the Object Store's: calls that take them in one order cannot
    /// wait for each other.
    pub(crate) async fn reserve(
        &self,
        keys: PerStore<PartialKey>,
    ) -> Result<PerStore<Reserved>, Status> {
        let mut reserved = [None, None];
        for ((reserved, key), target) in reserved.iter_mut().zip(keys).zip(&self.targets) {
            if let (Some(key), Some(target)) = (key, target) {
                let slot = target.writer.reserve().await;
                let seen = target.seen(&key).await?;
                *reserved = Some(Reserved { key, slot, seen });
            }
        }
        Ok(reserved)
    }

    /// Queues the response for its stores: `reply`, or nothing if the handler does not want it stored.
    pub(crate) fn submit<Req, Resp>(
        &self,
        endpoint: &Arc<Endpoint>,
        reserved: PerStore<Reserved>,
        keys: &PerStore<StoreKey<Req, Resp>>,
        reply: Option<&Bytes>,
        response: &Resp,
    ) -> Pending {
        let mut pending = Pending::default();
        let Some(reply) = reply else {
            let skipped = self.targets.iter().flatten().count() as u64;
            self.counters.skipped.fetch_add(skipped, Ordering::Relaxed);
            return pending;
        };
        let oversized = reply.len() > endpoint.nats.max_payload();
        for (at, ((reserved, key), target)) in reserved
            .into_iter()
            .zip(keys)
            .zip(&self.targets)
            .enumerate()
        {
            let (Some(reserved), Some(key), Some(target)) = (reserved, key, target) else {
                continue;
            };
            let is_object = at == OBJECT;
            if oversized && !is_object {
                // The caller gets an error, and for an error nothing is stored.
                continue;
            }
            let must_wait =
                target.store.persist == Persist::BeforeResponse || (is_object && oversized);
            let (done, acknowledgement) = oneshot::channel();
            if must_wait {
                pending
                    .acknowledgements
                    .push((Arc::clone(target), acknowledgement));
            }
            let done = must_wait.then_some(done);
            let key = match key.complete(response, reserved.key) {
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
            if is_object && oversized {
                pending.too_large = Some(Status::resource_exhausted(format!(
                    "the response has {} bytes, and the NATS server takes messages of up to {} bytes; it is stored as object \
                     `{key}` in bucket `{}`",
                    reply.len(),
                    endpoint.nats.max_payload(),
                    target.store.bucket,
                )));
            }
            self.counters.pending.fetch_add(1, Ordering::Relaxed);
            target.writer.submit(QueuedWrite {
                endpoint: Arc::clone(endpoint),
                target: Arc::clone(target),
                key: key.into(),
                payload: reply.clone(),
                seen: reserved.seen,
                slot: reserved.slot,
                queued: Instant::now(),
                done,
            });
        }
        pending
    }
}

impl Pending {
    /// Waits for the acknowledgements. A write that fails fails the call.
    pub(crate) async fn acknowledged(self) -> Result<(), Status> {
        for (target, acknowledgement) in self.acknowledgements {
            match acknowledgement.await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => return Err(failure.status(target.store.bucket)),
                Err(_) => {
                    return Err(Status::unavailable(
                        "the service stopped before the response was stored",
                    ));
                }
            }
        }
        self.too_large.map_or(Ok(()), Err)
    }
}
