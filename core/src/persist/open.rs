//! Opens the stores of all services of a server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::bucket::{BucketPolicy, provision};
use super::writer::{OnLostWrite, Writer};
use super::{Bucket, Stores, Target};
use crate::server::{StartError, StartErrorKind};
use crate::service::{MethodSettings, Route};
use crate::service_server::ServiceSettings;
use crate::store::descriptor::{Persist, StoreDescriptor, StoreKind};
use crate::store::jetstream::JetStream;

/// How a server persists responses.
pub(crate) struct Persistence {
    pub(crate) jetstream: Option<async_nats::jetstream::Context>,
    pub(crate) policy: BucketPolicy,
    pub(crate) timeout: Duration,
    pub(crate) on_lost: Option<OnLostWrite>,
}

/// The buckets of a server, ready to be written to.
pub(crate) struct OpenStores {
    pub(crate) writer: Option<Arc<Writer>>,
    buckets: HashMap<(StoreKind, &'static str), (usize, Bucket)>,
}

/// The time that opening one bucket may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

impl OpenStores {
    /// Creates or checks every bucket that one of the methods writes to.
    pub(crate) async fn open(
        services: &[(ServiceSettings, Vec<Route>)],
        persistence: Persistence,
    ) -> Result<Self, StartError> {
        let mut open = Self {
            writer: None,
            buckets: HashMap::new(),
        };
        let written = || {
            services.iter().flat_map(|(service, routes)| {
                routes.iter().flat_map(move |route| {
                    written_by(&route.settings).map(move |store| (service, route, store))
                })
            })
        };
        if written().next().is_none() {
            return Ok(open);
        }
        let Some(context) = persistence.jetstream else {
            let names: Vec<String> = written()
                .map(|(service, route, _)| format!("`{}.{}`", service.name, route.settings.name))
                .collect();
            if written().any(|(_, _, store)| store.persist == Persist::BeforeResponse) {
                return Err(StartError::new(
                    StartErrorKind::JetStreamRequired,
                    format!(
                        "{} must store responses before they are sent, and the server has no JetStream: call \
                         `Server::with_jetstream`",
                        names.join(", ")
                    ),
                ));
            }
            tracing::warn!(
                methods = names.join(", "),
                "responses are not persisted: the server has no JetStream; call `Server::with_jetstream`"
            );
            return Ok(open);
        };

        let jetstream = JetStream::new(context, OPEN_TIMEOUT);
        let mut declared: HashMap<(StoreKind, &str), &StoreDescriptor> = HashMap::new();
        for (_, _, store) in written() {
            let bucket = (store.kind, store.bucket);
            if let Some(other) = declared.insert(bucket, store) {
                agree(other, store)?;
                continue;
            }
            provision(&jetstream.context, store, persistence.policy).await?;
            let group = open.buckets.len();
            let opened = open_bucket(&jetstream, store).await.map_err(|error| {
                StartError::new(
                    StartErrorKind::Nats,
                    format!("bucket `{}` cannot be opened", store.bucket),
                )
                .with_source(error)
            })?;
            open.buckets.insert(bucket, (group, opened));
        }
        open.writer = Some(Arc::new(Writer::start(
            persistence.timeout,
            persistence.on_lost,
        )));
        Ok(open)
    }

    /// The stores of one method.
    pub(crate) fn of(&self, method: &MethodSettings) -> Stores {
        let mut stores = Stores {
            writer: self.writer.clone(),
            ..Stores::default()
        };
        for (target, store) in stores.targets.iter_mut().zip(&method.stores) {
            let Some(store) = store.as_ref().filter(|store| !store.client_only) else {
                continue;
            };
            *target = self
                .buckets
                .get(&(store.kind, store.bucket))
                .map(|(group, bucket)| {
                    Arc::new(Target {
                        store: *store,
                        bucket: bucket.clone(),
                        group: *group,
                    })
                });
        }
        stores
    }
}

fn written_by(method: &MethodSettings) -> impl Iterator<Item = &StoreDescriptor> {
    method
        .stores
        .iter()
        .flatten()
        .filter(|store| !store.client_only)
}

async fn open_bucket(
    jetstream: &JetStream,
    store: &StoreDescriptor,
) -> Result<Bucket, crate::store::StoreError> {
    match store.kind {
        StoreKind::Kv => jetstream.kv(store.bucket).await.map(Bucket::Kv),
        #[cfg(feature = "object-store")]
        StoreKind::Object => jetstream.objects(store.bucket).await.map(Bucket::Object),
        // The macro has refused such a method.
        #[cfg(not(feature = "object-store"))]
        StoreKind::Object => Err(crate::store::StoreError::not_configured()),
    }
}

/// Two services may share a bucket, and must then say the same of it. Within one trait the macro has seen to that.
fn agree(one: &StoreDescriptor, other: &StoreDescriptor) -> Result<(), StartError> {
    let same = one.max_history == other.max_history
        && one.ttl == other.ttl
        && one.storage == other.storage
        && one.replicas == other.replicas
        && one.compression == other.compression
        && one.max_bytes == other.max_bytes
        && one.max_value_size == other.max_value_size
        && one.marker_ttl == other.marker_ttl;
    if same {
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
