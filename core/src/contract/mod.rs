//! What a service says of itself, in the forms that others read.
//!
//! These are plain types that are written and read: they know no connection and no server. They may use `persist` (for its
//! numbers) and what stands above it.

pub(crate) mod discovery;
pub(crate) mod permissions;
pub(crate) mod user_permissions;
