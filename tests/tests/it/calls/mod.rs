//! Calls with one request and one response.

mod client;
mod context;
mod default_bodies;
mod lifetime;
mod limits;
mod peer_errors;
mod replies;
mod retries;
mod service_error;
mod validate;
