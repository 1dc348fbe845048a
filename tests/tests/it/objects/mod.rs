//! Object Stores.

mod batch;
mod changes;
mod leftovers;
mod raw;
mod store;
