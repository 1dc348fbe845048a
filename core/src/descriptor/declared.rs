//! A bucket as all methods that share it declare it together.

use async_nats::jetstream::stream::Config;

use crate::descriptor::bucket::{BucketDescriptor, Difference, Disagreement, Effect};
use crate::descriptor::usage::Usage;

/// A `#[kv_store]` or an `#[object_store]` of one method.
#[derive(Clone, Copy, Debug)]
pub struct MethodStore {
    pub(crate) bucket: BucketDescriptor,
    pub(crate) usage: Usage,
}

/// The stores of one method, at most one of each kind.
#[derive(Clone, Copy, Debug)]
pub struct MethodStores {
    pub(crate) kv: Option<MethodStore>,
    pub(crate) object: Option<MethodStore>,
}

/// What the methods that share a bucket declare together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeclaredBucket {
    pub(crate) bucket: BucketDescriptor,
    /// Single entries are written or purged with a TTL of their own.
    pub(crate) has_entry_ttls: bool,
    /// No service writes to it.
    pub(crate) is_client_only: bool,
}

/// What an error calls the setting `allow_msg_ttl` of a stream, which several settings of methods need.
const ENTRY_TTLS: &str = "TTLs of single entries";

impl MethodStore {
    /// Whether this declaration says how the bucket is to be. One of which only clients write need not repeat the settings.
    fn describes_bucket(&self) -> bool {
        !self.usage.client_only || self.bucket.has_settings()
    }

    /// The settings in which two declarations of one bucket contradict each other.
    pub(crate) fn disagreements(&self, other: &Self) -> Vec<Disagreement> {
        if self.describes_bucket() && other.describes_bucket() {
            self.bucket.disagreements(&other.bucket)
        } else {
            Vec::new()
        }
    }
}

impl MethodStores {
    pub(crate) const NONE: Self = Self {
        kv: None,
        object: None,
    };

    pub(crate) fn iter(&self) -> impl Iterator<Item = &MethodStore> + Clone {
        self.kv.iter().chain(&self.object)
    }
}

impl DeclaredBucket {
    /// The bucket of `store` as this declaration and those of the other methods say. They agree on the settings of the bucket.
    pub(crate) fn new<'a>(
        store: &'a MethodStore,
        others: impl Iterator<Item = &'a MethodStore>,
    ) -> Self {
        let others = others.filter(|other| other.bucket.is_same_bucket(&store.bucket));
        let mut described = None;
        let mut has_entry_ttls = false;
        let mut is_client_only = true;
        for declaration in std::iter::once(store).chain(others) {
            if described.is_none() && declaration.describes_bucket() {
                described = Some(declaration.bucket);
            }
            has_entry_ttls |= declaration.usage.key_ttl.is_some();
            is_client_only &= declaration.usage.client_only;
        }
        Self {
            bucket: described.unwrap_or(store.bucket),
            has_entry_ttls,
            is_client_only,
        }
    }

    /// Puts what is declared into the configuration of a stream, and leaves the rest as it is.
    pub(crate) fn apply(&self, config: &mut Config) {
        self.bucket.apply(config);
        // Never switched off: nats-server does not allow it.
        config.allow_message_ttl |= self.has_entry_ttls;
    }

    /// What [`apply`](Self::apply) would change in the configuration of a real bucket.
    pub(crate) fn differences(&self, found: &Config) -> Vec<Difference> {
        let mut wanted = found.clone();
        self.apply(&mut wanted);
        let mut differences = self.bucket.differences(found, &wanted);
        if wanted.allow_message_ttl != found.allow_message_ttl {
            differences.push(Difference {
                setting: ENTRY_TTLS,
                found: found.allow_message_ttl.to_string(),
                declared: wanted.allow_message_ttl.to_string(),
                effect: Effect::Refused,
            });
        }
        differences
    }

    /// Whether entries, or markers of what was purged or has expired, have TTLs of their own.
    pub(crate) fn needs_entry_ttls(&self) -> bool {
        let mut config = Config::default();
        self.apply(&mut config);
        config.allow_message_ttl
    }
}
