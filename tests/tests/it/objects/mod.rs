//! Object Stores.

mod batch;
mod changes;
mod leftovers;
mod many_readers;
mod raw;
mod store;
