//! Opens the buckets that the methods of a server write to.

pub(crate) mod declared;
pub(crate) mod error;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::context::Names;
use crate::descriptor::bucket::{BucketDescriptor, Storage, StoreKind};
use crate::descriptor::declared::{DeclaredBucket, MethodStore};
use crate::descriptor::deletion::Deletion;
use crate::descriptor::method::{MethodSettings, Place};
use crate::descriptor::usage::Persist;
use crate::persist::Stores;
use crate::persist::batches::Batches;
use crate::persist::open::declared::{
    ServedMethod, WrittenBucket, check_without_jetstream, is_written, writes, written_buckets,
};
use crate::persist::open::error::{OpenError, OpenErrorKind, not_provisioned};
use crate::persist::plain_put::PlainPut;
use crate::persist::presence::Presence;
use crate::persist::queue::{AllLost, OnLostWrite, Queue};
use crate::persist::stats::WriteOrigin;
use crate::persist::target::{Action, Bucket, Target};
use crate::store::bucket::facts::Writes;
use crate::store::bucket::jetstream::JetStream;
use crate::store::bucket::provision::{BucketPolicy, ProvisionOptions, provision};
use crate::store::bucket::shape::check_is_writable;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::bucket::KvBucket;
use crate::transport::events::ConnectionEvents;
use crate::transport::gate::Gate;

/// The settings of a server for its stores.
pub(crate) struct Persistence {
    pub(crate) jetstream: Option<async_nats::jetstream::Context>,
    pub(crate) buckets: ProvisionOptions,
    pub(crate) timeout: Duration,
    pub(crate) on_lost: Option<OnLostWrite>,
    /// What NATS refuses to the connection of the context, if it is told.
    pub(crate) events: Option<ConnectionEvents>,
}

/// The buckets of a server, ready to be written to.
pub(crate) struct OpenStores {
    /// The connection of the JetStream context; `None` if nothing is stored.
    pub(crate) gate: Option<Gate>,
    /// One per bucket, so that a bucket that accepts no writes does not delay the others.
    pub(crate) queues: Vec<Arc<Queue>>,
    pub(crate) lost: AllLost,
    buckets: HashMap<(StoreKind, &'static str), OpenBucket>,
}

struct OpenBucket {
    writable: Writable,
    queue: Arc<Queue>,
    /// The index of the queue in [`OpenStores::queues`].
    position: usize,
    /// A method compares revisions before it writes.
    is_compared: bool,
    /// How long the markers of purges stay, if a method that stores into the bucket declares it.
    purge_ttl: Option<Duration>,
}

/// A bucket before it has a queue.
struct OpenedBucket {
    writable: Writable,
    presence: Presence,
    is_compared: bool,
    purge_ttl: Option<Duration>,
}

/// A bucket with the faster ways of writing to it, as far as it allows them.
struct Writable {
    bucket: Bucket,
    plain_put: Option<PlainPut>,
    batches: Option<Batches>,
}

/// The timeout for creating or checking one bucket and opening it.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

impl OpenStores {
    /// Creates or checks every bucket that one of the methods stores into, and opens those that it deletes from.
    pub(crate) async fn open(
        methods: &[ServedMethod<'_>],
        persistence: Persistence,
    ) -> Result<Self, OpenError> {
        let mut open = Self {
            gate: None,
            queues: Vec::new(),
            lost: AllLost::default(),
            buckets: HashMap::new(),
        };
        if !methods.iter().any(writes) {
            return Ok(open);
        }
        let Some(context) = persistence.jetstream.clone() else {
            check_without_jetstream(methods)?;
            return Ok(open);
        };
        let jetstream = JetStream::new(context, OPEN_TIMEOUT, persistence.events.clone());
        let jetstream = Arc::new(jetstream);
        open.gate = Some(jetstream.gate.clone());
        for written in written_buckets(methods)? {
            let bucket = &written.declared.bucket;
            let opening = open_written(&jetstream, &written, persistence.buckets);
            let writable = in_time(&jetstream, bucket.kind, bucket.name, opening).await?;
            let key = (bucket.kind, bucket.name);
            let recreated = is_recreated(&written.declared, persistence.buckets);
            let recreated = recreated.then_some((written.declared, persistence.buckets));
            let presence = Presence::new(Arc::clone(&jetstream), key.0, key.1, recreated);
            let purge_ttl = bucket.settings.purge_ttl;
            let opened = OpenedBucket {
                writable,
                presence,
                is_compared: written.is_compared,
                purge_ttl,
            };
            open.add(key, opened, &persistence);
        }
        for method in methods {
            for deletion in method.settings.deletions {
                let key = (StoreKind::Kv, deletion.bucket);
                if open.buckets.contains_key(&key) {
                    continue;
                }
                let opening = open_deleted_from(&jetstream, *method, deletion);
                let (kind, bucket) = key;
                let writable = in_time(&jetstream, kind, bucket, opening).await?;
                let presence = Presence::new(Arc::clone(&jetstream), kind, bucket, None);
                let opened = OpenedBucket {
                    writable,
                    presence,
                    is_compared: false,
                    purge_ttl: None,
                };
                open.add(key, opened, &persistence);
            }
        }
        Ok(open)
    }

    fn add(
        &mut self,
        key: (StoreKind, &'static str),
        opened: OpenedBucket,
        persistence: &Persistence,
    ) {
        let OpenedBucket {
            mut writable,
            presence,
            is_compared,
            purge_ttl,
        } = opened;
        let queue = Arc::new(Queue::start(
            writable.bucket.gate().clone(),
            presence,
            persistence.timeout,
            persistence.on_lost.clone(),
            Arc::clone(&self.lost),
            writable.batches.take(),
        ));
        let bucket = OpenBucket {
            writable,
            queue: Arc::clone(&queue),
            position: self.queues.len(),
            is_compared,
            purge_ttl,
        };
        self.queues.push(queue);
        self.buckets.insert(key, bucket);
    }

    /// The writes that a success of one method makes to these buckets.
    pub(crate) fn of(&self, method: &MethodSettings, names: &Arc<Names>) -> Stores {
        let stores = method.stores.iter().filter(|store| is_written(store));
        let stores = stores.filter_map(|MethodStore { bucket, usage }| {
            let action = Action::Store {
                write: usage.write,
                key_ttl: usage.key_ttl,
                max_history: bucket.settings.max_history.unwrap_or(1),
            };
            let place = Place::Store(bucket.kind);
            self.effect(place, (bucket.kind, bucket.name), action, usage.persist)
        });
        let deletions = method.deletions.iter().enumerate();
        let deletions = deletions.filter_map(|(at, deletion)| {
            let key = (StoreKind::Kv, deletion.bucket);
            let action = Action::Delete {
                purge: deletion.purge,
            };
            self.effect(Place::Deletion(at), key, action, deletion.persist)
        });
        let mut effects: Vec<_> = stores.chain(deletions).collect();
        effects.sort_by_key(|(position, ..)| *position);
        let origin = WriteOrigin {
            names: Arc::clone(names),
            ..WriteOrigin::default()
        };
        Stores::new(
            effects
                .into_iter()
                .map(|(_, place, target)| (place, target)),
            origin,
        )
    }

    /// One of these writes, with the position of its queue; `None` if the server has no JetStream and so writes nothing.
    fn effect(
        &self,
        place: Place,
        key: (StoreKind, &'static str),
        action: Action,
        persist: Persist,
    ) -> Option<(usize, Place, Arc<Target>)> {
        let open = self.buckets.get(&key)?;
        let target = Target {
            name: key.1,
            action,
            persist,
            purge_ttl: open.purge_ttl,
            bucket: open.writable.bucket.clone(),
            plain_put: open.writable.plain_put.clone(),
            queue: Arc::clone(&open.queue),
            is_compared: open.is_compared,
        };
        Some((open.position, place, Arc::new(target)))
    }
}

/// Whether the server makes a bucket again that a restart of the NATS server has lost: one in memory, if it may make buckets.
fn is_recreated(declared: &DeclaredBucket, options: ProvisionOptions) -> bool {
    options.policy != BucketPolicy::Never
        && declared.bucket.settings.storage == Some(Storage::Memory)
}

/// Bounds opening a bucket by [`OPEN_TIMEOUT`].
async fn in_time<T>(
    jetstream: &JetStream,
    kind: StoreKind,
    bucket: &str,
    opening: impl Future<Output = Result<T, OpenError>>,
) -> Result<T, OpenError> {
    let opened = tokio::time::timeout(OPEN_TIMEOUT, opening).await;
    opened.unwrap_or_else(|_| {
        let error = OpenError::new(
            OpenErrorKind::Nats,
            format!("bucket `{bucket}` was not ready within {OPEN_TIMEOUT:?}"),
        );
        Err(match jetstream.missing_permissions(kind, bucket) {
            Some(hint) => error.with_hint(&hint),
            None => error,
        })
    })
}

/// Provisions a bucket, and opens it for all writes.
async fn open_written(
    jetstream: &JetStream,
    written: &WrittenBucket,
    options: ProvisionOptions,
) -> Result<Writable, OpenError> {
    let BucketDescriptor { kind, name, .. } = written.declared.bucket;
    // Boxed: the future is large and seldom created.
    Box::pin(provision(jetstream, &written.declared, options))
        .await
        .map_err(|error| {
            not_provisioned(error.explained(jetstream.missing_permissions(kind, name)))
        })?;
    let not_opened = |error| cannot_open(jetstream, kind, name, error);
    match kind {
        StoreKind::Kv => {
            let opened = jetstream.open::<KvBucket>(name).await;
            let kv = opened.map_err(not_opened)?;
            let gate = &jetstream.gate;
            let batches = if kv.facts().known().writes == Writes::Batches {
                // If the subscription fails, each value is written by itself.
                Batches::open(Arc::clone(&kv)).await.ok()
            } else {
                None
            };
            Ok(Writable {
                plain_put: Some(PlainPut::new(gate.clone())),
                batches,
                bucket: Bucket::Kv(kv),
            })
        }
        StoreKind::Object => {
            let opened = jetstream.open(name).await;
            let objects = opened.map_err(not_opened)?;
            Ok(Bucket::Object(objects).into())
        }
    }
}

/// Opens a bucket from which a method deletes, and into which none of this server stores.
async fn open_deleted_from(
    jetstream: &JetStream,
    method: ServedMethod<'_>,
    deletion: &Deletion,
) -> Result<Writable, OpenError> {
    let opened = async {
        let info = jetstream.info(StoreKind::Kv, deletion.bucket).await?;
        check_is_writable(StoreKind::Kv, deletion.bucket, &info.config)?;
        jetstream.open(deletion.bucket).await
    };
    let kv = opened.await.map_err(|error| match error.kind() {
        StoreErrorKind::BucketNotFound => OpenError::new(
            OpenErrorKind::BucketNotFound,
            format!(
                "there is no {} `{}`, from which {} deletes, and no method of this server stores into it; start the service \
                 that makes the bucket first",
                StoreKind::Kv.noun(),
                deletion.bucket,
                method.text(),
            ),
        ),
        _ => cannot_open(jetstream, StoreKind::Kv, deletion.bucket, error),
    })?;
    Ok(Bucket::Kv(kv).into())
}

impl From<Bucket> for Writable {
    /// A bucket that is written to message by message, with conditions.
    fn from(bucket: Bucket) -> Self {
        Self {
            bucket,
            plain_put: None,
            batches: None,
        }
    }
}

fn cannot_open(
    jetstream: &JetStream,
    kind: StoreKind,
    bucket: &str,
    error: StoreError,
) -> OpenError {
    if matches!(
        error.kind(),
        StoreErrorKind::PermissionDenied
            | StoreErrorKind::BucketMismatch
            | StoreErrorKind::NotABucket
    ) {
        return not_provisioned(error);
    }
    let text = format!("bucket `{bucket}` cannot be opened");
    let error = StoreError::new(StoreErrorKind::Nats, text).with_source(error);
    not_provisioned(error.explained(jetstream.missing_permissions(kind, bucket)))
}
