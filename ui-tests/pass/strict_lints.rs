//! Documented services in a crate that denies what there is to deny.
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    missing_copy_implementations,
    unreachable_pub,
    unused,
    unused_qualifications,
    unused_results,
    unused_lifetimes,
    single_use_lifetimes,
    elided_lifetimes_in_paths,
    explicit_outlives_requirements,
    trivial_casts,
    trivial_numeric_casts,
    let_underscore_drop,
    redundant_lifetimes,
    unit_bindings,
    variant_size_differences,
    rust_2018_idioms,
    rust_2021_compatibility,
    rust_2024_compatibility,
    future_incompatible,
    nonstandard_style,
    clippy::all,
    clippy::pedantic
)]
#![forbid(unsafe_code)]
// Every method of every service returns a `Result`, and its errors are the service's.
#![allow(clippy::missing_errors_doc)]

use natsmicro::{Context, ServiceError, Status, Streaming};
use natsmicro_ui_tests::{SaveUser, User};

/// Stores users.
#[natsmicro::service(timeout = "30s", metadata(team = "platform"))]
pub trait Users {
    /// Saves a user.
    #[kv_store(bucket = "users", key = "user.<id>.<response.version>", ttl = "1h")]
    #[object_store(bucket = "users", key = "user.<id>")]
    async fn save(&self, cx: &Context, request: SaveUser) -> Result<User, UserError>;

    /// Counts the users.
    #[deprecated = "use `save`"]
    #[endpoint(max_in_flight = 1, queue_group = false)]
    #[kv_store(bucket = "counts", key = "count.<id>")]
    async fn count(&self, request: SaveUser) -> natsmicro::Result<User>;

    /// Has parameters that look unused.
    async fn touch(&self, _cx: &Context, _request: SaveUser) -> Result<(), Status>;

    /// Lists the users.
    async fn list(&self, request: SaveUser) -> Result<Streaming<User>, UserError>;

    /// Saves many users.
    #[stream(window = 64)]
    async fn sync(
        &self,
        cx: &Context,
        users: Streaming<SaveUser>,
    ) -> natsmicro::Result<Streaming<User>>;

    /// Is not on NATS.
    #[endpoint(skip)]
    async fn local(&self, count: u32) -> Result<u32, Status>;
}

/// What can go wrong.
#[derive(Debug, thiserror::Error, ServiceError)]
pub enum UserError {
    /// The user is gone.
    #[error("user {id} is gone")]
    #[code("GONE")]
    Gone {
        /// Which user.
        id: String,
    },
    /// Everything else.
    #[error(transparent)]
    Other(#[from] Status),
}
