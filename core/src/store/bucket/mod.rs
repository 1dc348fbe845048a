//! A bucket as a whole, of either kind: opened, created, compared with its declaration, described, deleted.
//!
//! May use `store::error`, `store::reader` and the declarations in `descriptor`; knows neither keys nor objects. Guarantees that a
//! bucket is never changed against the policy, and that a bucket which was deleted is reported as such.

pub(crate) mod handle;
pub(crate) mod jetstream;
pub(crate) mod provision;
pub(crate) mod publish;
pub(crate) mod status;
