//! The wire: headers, subjects, and the one subscription on which the replies to a client arrive.
//!
//! Uses the leaves of the crate and async-nats. Knows no service, no store and no stream.

pub(crate) mod claim;
pub(crate) mod connection;
pub(crate) mod headers;
pub(crate) mod mux;
pub(crate) mod request;
pub(crate) mod subject;
