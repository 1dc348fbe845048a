//! Calls that look into the bucket first, and share the call of a service among all who miss the same entry.

pub(crate) mod call;
pub(crate) mod shelf;
pub(crate) mod singleflight;
