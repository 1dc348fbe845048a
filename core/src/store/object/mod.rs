//! Object Stores: values in chunks, their metadata, and what is left of a write that fails.

pub(crate) mod bucket;
pub(crate) mod change;
pub(crate) mod handle;
pub(crate) mod info;
pub(crate) mod put_from;
pub(crate) mod read;
pub(crate) mod stream;
pub(crate) mod write;
