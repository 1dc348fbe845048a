//! A bucket as a whole, of either kind: opened, created, compared with its declaration, described, deleted.
//!
//! May use `store::error`, `store::reader` and the declarations in `descriptor`; knows neither keys nor objects. Guarantees that a
//! bucket is never changed against the policy, that a bucket which was deleted is reported as such, and that a stream which is no bucket is
//! neither used nor changed.

pub(crate) mod api;
pub(crate) mod facts;
pub(crate) mod handle;
pub(crate) mod jetstream;
pub(crate) mod provision;
pub(crate) mod publish;
pub(crate) mod shape;
pub(crate) mod status;
