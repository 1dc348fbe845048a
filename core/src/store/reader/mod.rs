//! Reads of many messages of a stream: an ordered consumer that survives reconnects, and what its requests may take together.

pub(crate) mod budget;
pub(crate) mod contact;
pub(crate) mod direct;
pub(crate) mod ordered;
pub(crate) mod range;
