//! The settings of a service.

use std::time::Duration;

use crate::descriptor::declared::MethodStores;

/// How long a call waits for its answer where neither the method, the service nor the caller says how long.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) type Pairs = &'static [(&'static str, &'static str)];

/// The settings of `#[service]`.
#[derive(Clone, Copy, Debug)]
pub struct ServiceDescriptor {
    pub(crate) name: &'static str,
    pub(crate) subject_prefix: &'static str,
    pub(crate) methods: usize,
    pub(crate) version: &'static str,
    pub(crate) description: &'static str,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: Pairs,
    pub(crate) queue_group: Option<&'static str>,
    pub(crate) stores: &'static [MethodStores],
}

impl ServiceDescriptor {
    /// A service of this name, on this subject prefix, whose trait declares this number of methods.
    #[must_use]
    pub const fn new(name: &'static str, subject_prefix: &'static str, methods: usize) -> Self {
        Self {
            name,
            subject_prefix,
            methods,
            version: "1.0.0",
            description: "",
            timeout: None,
            metadata: &[],
            queue_group: Some("q"),
            stores: &[],
        }
    }

    /// Sets `version`.
    #[must_use]
    pub const fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Sets `description`.
    #[must_use]
    pub const fn description(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Sets the `timeout` of methods that have none of their own.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets `metadata`.
    #[must_use]
    pub const fn metadata(mut self, metadata: Pairs) -> Self {
        self.metadata = metadata;
        self
    }

    /// Sets the `queue_group`; `None` for none at all.
    #[must_use]
    pub const fn queue_group(mut self, queue_group: Option<&'static str>) -> Self {
        self.queue_group = queue_group;
        self
    }

    /// Tells what the methods declare, where they may share a bucket.
    #[must_use]
    pub const fn stores(mut self, stores: &'static [MethodStores]) -> Self {
        self.stores = stores;
        self
    }
}

/// A service as a type.
pub trait Describe: 'static {
    /// Its settings.
    #[doc(hidden)]
    const SERVICE: ServiceDescriptor;
}
