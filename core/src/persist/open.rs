//! Opens the stores of all services of a server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::descriptor::method::{MethodSettings, MethodStores, Place};
use crate::descriptor::store::{Persist, StoreDescriptor, StoreKind, Write};
use crate::persist::Stores;
use crate::persist::batches::Batches;
use crate::persist::plain_put::Publisher;
use crate::persist::queue::{AllLost, OnLostWrite, Writer};
use crate::persist::target::{Bucket, Target};
use crate::server::router::Route;
use crate::server::service_server::ServiceSettings;
use crate::server::{StartError, StartErrorKind};
use crate::store::bucket::jetstream::JetStream;
use crate::store::bucket::provision::{BucketSettings, provision};
use crate::store::error::{StoreError, StoreErrorKind};

/// How a server persists responses.
pub(crate) struct Persistence {
    pub(crate) jetstream: Option<async_nats::jetstream::Context>,
    pub(crate) buckets: BucketSettings,
    pub(crate) timeout: Duration,
    pub(crate) on_lost: Option<OnLostWrite>,
}

/// The buckets of a server, ready to be written to.
pub(crate) struct OpenStores {
    /// One per bucket, so that a bucket that takes no writes holds up no other.
    pub(crate) writers: Vec<Arc<Writer>>,
    pub(crate) lost: AllLost,
    buckets: HashMap<(StoreKind, &'static str), OpenBucket>,
}

struct OpenBucket {
    bucket: Bucket,
    publisher: Option<Publisher>,
    writer: Arc<Writer>,
    /// The place of the writer among those of the server.
    queue: usize,
    /// A method compares revisions before it writes.
    is_compared: bool,
    /// How long the markers of purges stay, if a method that stores into the bucket says so.
    purge_ttl: Option<Duration>,
}

/// The time that opening one bucket may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

impl OpenStores {
    /// Creates or checks every bucket that one of the methods stores into, and opens those that it deletes from.
    pub(crate) async fn open(
        services: &[(ServiceSettings, Vec<Route>)],
        persistence: Persistence,
    ) -> Result<Self, StartError> {
        let mut open = Self {
            writers: Vec::new(),
            lost: AllLost::default(),
            buckets: HashMap::new(),
        };
        let written = || {
            services.iter().flat_map(|(service, routes)| {
                routes.iter().flat_map(move |route| {
                    let written = written_by(&route.settings);
                    written.map(move |(_, store)| (service, route, store))
                })
            })
        };
        if written().next().is_none() {
            return Ok(open);
        }
        let Some(context) = persistence.jetstream.clone() else {
            let names = |wanted: fn(&StoreDescriptor) -> bool| {
                let mut names: Vec<String> = written()
                    .filter(|(_, _, store)| wanted(store))
                    .map(|(service, route, _)| {
                        format!("`{}.{}`", service.name, route.settings.name)
                    })
                    .collect();
                // A method may have two stores.
                names.dedup();
                names.join(", ")
            };
            let required = names(|store| store.persist == Persist::BeforeResponse);
            if !required.is_empty() {
                return Err(StartError::new(
                    StartErrorKind::JetStreamRequired,
                    format!(
                        "{required} must write to a bucket before the response is sent, and the server has no JetStream: call \
                         `Server::with_jetstream`"
                    ),
                ));
            }
            tracing::warn!(
                methods = names(|_| true),
                "nothing is stored or deleted: the server has no JetStream; call `Server::with_jetstream`"
            );
            return Ok(open);
        };

        let jetstream = JetStream::new(context, OPEN_TIMEOUT);
        let (deletions, stores): (Vec<_>, Vec<_>) =
            written().partition(|(_, _, store)| store.write.deletes());
        let mut declared: Vec<StoreDescriptor> = Vec::new();
        for (_, _, store) in stores {
            let same = |other: &&mut StoreDescriptor| {
                (other.kind, other.bucket) == (store.kind, store.bucket)
            };
            match declared.iter_mut().find(same) {
                Some(other) => join(other, store)?,
                None => declared.push(*store),
            }
        }
        let routes = services.iter().flat_map(|(_, routes)| routes);
        let methods: Vec<MethodStores> = routes.map(|route| route.settings.stores).collect();
        for store in &declared {
            let bucket = store.joined(&methods);
            provision(&jetstream.context, &bucket, persistence.buckets)
                .await
                .map_err(not_provisioned)?;
            let opened = open_bucket(&jetstream, store)
                .await
                .map_err(|error| cannot_open(store, error))?;
            check_reach(&opened, store)?;
            open.add(store, opened, &persistence, &jetstream).await;
        }
        for (service, route, deletion) in deletions {
            if open.buckets.contains_key(&(deletion.kind, deletion.bucket)) {
                continue;
            }
            let opened = open_bucket(&jetstream, deletion)
                .await
                .map_err(|error| match error.kind() {
                    StoreErrorKind::BucketNotFound => StartError::new(
                        StartErrorKind::BucketNotFound,
                        format!(
                            "there is no {} `{}`, from which `{}.{}` deletes, and no method of this server stores into it; \
                             start the service that makes the bucket first",
                            deletion.kind.noun(),
                            deletion.bucket,
                            service.name,
                            route.settings.name,
                        ),
                    ),
                    _ => cannot_open(deletion, error),
                })?;
            open.add(deletion, opened, &persistence, &jetstream).await;
        }
        Ok(open)
    }

    async fn add(
        &mut self,
        store: &StoreDescriptor,
        bucket: Bucket,
        persistence: &Persistence,
        jetstream: &JetStream,
    ) {
        let nats = jetstream.context.client();
        let (publisher, batches) = match &bucket {
            // async-nats does not tell the prefix of a JetStream domain.
            Bucket::Kv(kv) if !kv.store().use_jetstream_prefix && !store.write.deletes() => {
                let kv = kv.store();
                let prefix = kv.put_prefix.as_ref().unwrap_or(&kv.prefix);
                let takes_batches =
                    kv.put_prefix.is_none() && kv.stream.cached_info().config.allow_batch_publish;
                let batches = if takes_batches {
                    // Without its subscription there is the way of one by one.
                    Batches::open(nats.clone(), prefix).await.ok()
                } else {
                    None
                };
                (Some(Publisher::new(nats, prefix)), batches)
            }
            Bucket::Kv(_) | Bucket::Object(_) => (None, None),
        };
        let writer = Arc::new(Writer::start(
            persistence.timeout,
            persistence.on_lost.clone(),
            Arc::clone(&self.lost),
            batches,
        ));
        let bucket = OpenBucket {
            bucket,
            publisher,
            writer: Arc::clone(&writer),
            queue: self.writers.len(),
            is_compared: store.write == Write::Update,
            purge_ttl: store.purge_ttl,
        };
        self.writers.push(writer);
        self.buckets.insert((store.kind, store.bucket), bucket);
    }

    /// What a success of one method does to these buckets.
    pub(crate) fn of(&self, method: &MethodSettings) -> Stores {
        let open = |(place, store): (Place, &StoreDescriptor)| {
            let open = self.buckets.get(&(store.kind, store.bucket))?;
            let target = Target {
                store: StoreDescriptor {
                    purge_ttl: store.purge_ttl.or(open.purge_ttl),
                    ..*store
                },
                bucket: open.bucket.clone(),
                publisher: open.publisher.clone(),
                writer: Arc::clone(&open.writer),
                is_compared: open.is_compared,
            };
            Some((open.queue, place, Arc::new(target)))
        };
        let mut effects: Vec<_> = written_by(method).filter_map(open).collect();
        effects.sort_by_key(|(queue, ..)| *queue);
        Stores::new(
            effects
                .into_iter()
                .map(|(_, place, target)| (place, target)),
        )
    }
}

/// What a success of the method writes, the stores first.
fn written_by(method: &MethodSettings) -> impl Iterator<Item = (Place, &StoreDescriptor)> {
    let stores = method.stores.iter().enumerate();
    let stores = stores.filter_map(|(at, store)| Some((Place::Store(at), store.as_ref()?)));
    let deletions = method.deletions.iter().enumerate();
    let deletions = deletions.map(|(at, deletion)| (Place::Deletion(at), deletion));
    stores
        .filter(|(_, store)| !store.client_only)
        .chain(deletions)
}

fn not_provisioned(error: StoreError) -> StartError {
    error.map_kind(|kind| match kind {
        StoreErrorKind::BucketNotFound => StartErrorKind::BucketNotFound,
        StoreErrorKind::BucketMismatch => StartErrorKind::BucketMismatch,
        StoreErrorKind::Unsupported => StartErrorKind::Unsupported,
        _ => StartErrorKind::Nats,
    })
}

fn cannot_open(store: &StoreDescriptor, error: StoreError) -> StartError {
    StartError::new(
        StartErrorKind::Nats,
        format!("bucket `{}` cannot be opened", store.bucket),
    )
    .with_source(error)
}

async fn open_bucket(jetstream: &JetStream, store: &StoreDescriptor) -> Result<Bucket, StoreError> {
    match store.kind {
        StoreKind::Kv => jetstream.open(store.bucket).await.map(Bucket::Kv),
        StoreKind::Object => jetstream.open(store.bucket).await.map(Bucket::Object),
    }
}

/// async-nats does not tell the prefix of a context, without which an entry with a TTL cannot be written through it.
fn check_reach(bucket: &Bucket, store: &StoreDescriptor) -> Result<(), StartError> {
    match bucket {
        Bucket::Kv(kv) if store.key_ttl.is_some() && kv.store().use_jetstream_prefix => {
            Err(StartError::new(
                StartErrorKind::Unsupported,
                format!(
                    "bucket `{}` has a `key_ttl`, which cannot be written through a JetStream domain or prefix",
                    store.bucket
                ),
            ))
        }
        Bucket::Kv(_) | Bucket::Object(_) => Ok(()),
    }
}

/// Adds to what one method says of a bucket what another method says of it. They must agree on the bucket's own settings;
/// within one trait the macro has seen to that. TTLs of single entries and the comparison of revisions belong to each method, and
/// the bucket must be ready for them if one of them needs it.
fn join(one: &mut StoreDescriptor, other: &StoreDescriptor) -> Result<(), StartError> {
    let same = one.max_history == other.max_history
        && one.ttl == other.ttl
        && one.storage == other.storage
        && one.replicas == other.replicas
        && one.compression == other.compression
        && one.max_bytes == other.max_bytes
        && one.max_value_size == other.max_value_size
        && one.marker_ttl == other.marker_ttl;
    if same {
        one.key_ttl = one.key_ttl.or(other.key_ttl);
        one.purge_ttl = one.purge_ttl.or(other.purge_ttl);
        if other.write == Write::Update {
            one.write = Write::Update;
        }
        return Ok(());
    }
    Err(StartError::new(
        StartErrorKind::BucketMismatch,
        format!(
            "bucket `{}` is declared with different settings by two methods of this server",
            one.bucket
        ),
    ))
}
