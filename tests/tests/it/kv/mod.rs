//! Key-Value buckets.

mod cache;
mod create_bucket;
mod delete;
mod delete_order;
mod delete_repeats;
mod delete_start;
mod panicking_codec;
mod patterns;
mod read;
mod store;
mod ttl;
mod watch;
mod watch_options;
