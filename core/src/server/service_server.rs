//! An implementation of a service with its settings, before it is added to a server.
//!
//! The settings are those of the attribute with the overrides of run time; `server::settings` checks them when the server starts.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::middleware::layer::CallLayer;
use crate::middleware::layers::Layers;
use crate::server::router::{Dispatch, Route, Router};

/// An implementation of a service, ready for [`Server::add_service`](crate::server::Server::add_service).
///
/// `#[natsmicro::service]` on a trait `Users` makes `UsersServer<S>` an alias of this type. The `with_` functions override the settings
/// of the attribute at run time; the values are checked when the server starts.
///
/// ```no_run
/// # use natsmicro::Status;
/// # #[natsmicro::service]
/// # pub trait Users { async fn ping(&self) -> Result<(), Status>; }
/// # struct Impl;
/// # impl Users for Impl { async fn ping(&self) -> Result<(), Status> { Ok(()) } }
/// let staging = UsersServer::new(Impl)
///     .with_subject_prefix("staging.users")
///     .with_additional_metadata([("env", "staging")]);
/// ```
#[must_use = "a service does nothing until it is added to a `Server` and that is started"]
pub struct ServiceServer<S, D> {
    service: Arc<S>,
    pub(crate) settings: ServiceSettings,
    layers: Layers,
    descriptor: PhantomData<fn() -> D>,
}

/// A service that was added to a server.
pub(crate) struct AddedService {
    pub(crate) settings: ServiceSettings,
    pub(crate) routes: Vec<Route>,
    pub(crate) layers: Layers,
}

/// The settings of a service after the overrides.
#[derive(Clone, Debug)]
pub(crate) struct ServiceSettings {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) subject_prefix: String,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) queue_group: Option<&'static str>,
}

impl<S, D: Dispatch<S>> ServiceServer<S, D> {
    /// Serves this value.
    pub fn new(service: S) -> Self {
        Self::from_arc(Arc::new(service))
    }

    /// Serves a value that is also used elsewhere.
    pub fn from_arc(service: Arc<S>) -> Self {
        let descriptor = &D::SERVICE;
        Self {
            service,
            settings: ServiceSettings {
                name: descriptor.name.to_owned(),
                version: descriptor.version.to_owned(),
                description: descriptor.description.to_owned(),
                subject_prefix: descriptor.subject_prefix.to_owned(),
                timeout: descriptor.timeout,
                metadata: owned(descriptor.metadata.iter().copied()),
                queue_group: descriptor.queue_group,
            },
            layers: Layers::default(),
            descriptor: PhantomData,
        }
    }

    /// Puts a [layer](crate::middleware) around the calls of this service, inside those that were added before and those of the server.
    ///
    /// ```no_run
    /// # use natsmicro::Status;
    /// use natsmicro::middleware::{Next, Reply, Request, from_fn};
    ///
    /// # #[natsmicro::service]
    /// # pub trait Users { async fn ping(&self) -> Result<(), Status>; }
    /// # struct Impl;
    /// # impl Users for Impl { async fn ping(&self) -> Result<(), Status> { Ok(()) } }
    /// async fn only_with_token(request: Request, next: Next) -> Result<Reply, Status> {
    ///     match request.header("authorization") {
    ///         Some("Bearer s3cret") => next.run(request).await,
    ///         _ => Err(Status::unauthenticated("a token is needed")),
    ///     }
    /// }
    ///
    /// let users = UsersServer::new(Impl).layer(from_fn(only_with_token));
    /// ```
    pub fn layer(mut self, layer: impl CallLayer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Overrides the name in discovery.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Overrides the version in discovery, a semantic version such as `1.2.0`.
    pub fn with_version(mut self, version: impl Into<String>) -> Self {
        self.settings.version = version.into();
        self
    }

    /// Overrides the description in discovery.
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.settings.description = description.into();
        self
    }

    /// Overrides the subject prefix. Clients need the same one.
    pub fn with_subject_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.subject_prefix = prefix.into();
        self
    }

    /// Overrides the timeout of methods that declare none of their own.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Replaces the metadata.
    pub fn with_metadata<K, V>(mut self, metadata: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        self.settings.metadata = owned(metadata);
        self
    }

    /// Adds to the metadata; an existing key gets the new value.
    pub fn with_additional_metadata<K, V>(
        mut self,
        metadata: impl IntoIterator<Item = (K, V)>,
    ) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        self.settings.metadata.extend(owned(metadata));
        self
    }
}

impl<S: Send + Sync + 'static, D: Dispatch<S>> ServiceServer<S, D> {
    pub(crate) fn into_added(self) -> AddedService {
        AddedService {
            settings: self.settings,
            routes: Router::routes::<D>(self.service),
            layers: self.layers,
        }
    }
}

impl<S, D> fmt::Debug for ServiceServer<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceServer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn owned<K: Into<String>, V: Into<String>>(
    pairs: impl IntoIterator<Item = (K, V)>,
) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}
