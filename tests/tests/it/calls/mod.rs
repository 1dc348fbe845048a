//! Calls with one request and one response.

mod client;
mod context;
mod lifetime;
mod limits;
mod peer_errors;
mod replies;
mod service_error;
mod validate;
