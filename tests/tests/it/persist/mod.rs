//! Responses that are stored.

mod batches;
mod buckets;
mod do_not_store;
mod faults;
mod hot_keys;
mod keys;
mod late;
mod limits;
mod open_timeout;
mod ordering;
mod overload;
mod repeats;
mod responses;
mod write;
