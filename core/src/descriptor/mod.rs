//! What the macro writes down about a service: its settings, its methods, their stores and the keys there.
//!
//! Values that are known at compile time, and the rules for them. Uses `transport` and the leaves; sends and receives nothing.

pub(crate) mod bucket;
pub(crate) mod declared;
pub(crate) mod deletion;
pub(crate) mod key;
pub(crate) mod method;
pub(crate) mod operation;
pub(crate) mod pattern;
pub(crate) mod service;
pub(crate) mod template;
pub(crate) mod usage;
pub(crate) mod validation;
