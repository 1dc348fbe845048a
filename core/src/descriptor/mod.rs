//! What the macro writes down about a service: its settings, its methods, their stores and the keys there.
//!
//! Values that are known at compile time, and the rules for them. Uses `transport` and the leaves; sends and receives nothing.

pub(crate) mod key;
pub(crate) mod method;
pub(crate) mod pattern;
pub(crate) mod service;
pub(crate) mod store;
pub(crate) mod template;
