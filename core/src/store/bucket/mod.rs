//! A bucket as a whole, whatever it holds: opened, created, compared with its declaration, described, deleted.

pub(crate) mod handle;
pub(crate) mod jetstream;
pub(crate) mod provision;
pub(crate) mod status;
