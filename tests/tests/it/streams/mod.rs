//! Streams.

mod blobs;
mod extension;
mod faults;
mod json;
mod kinds;
mod plain_caller;
mod plain_service;
mod response_headers;
mod slow;
