//! The wire: headers, subjects, connections, and the requests of a client.
//!
//! May use the leaves of the crate and async-nats; knows no service, no store and no stream. Guarantees that no header and no subject
//! made from input is sent unchecked, and that a request ends with its reply, an error or its timeout.

pub(crate) mod backlog;
pub(crate) mod budget;
pub(crate) mod claim;
pub(crate) mod events;
pub(crate) mod gate;
pub(crate) mod headers;
pub(crate) mod mux;
pub(crate) mod outgoing;
pub(crate) mod publishing;
pub(crate) mod random;
pub(crate) mod refused;
pub(crate) mod request;
pub(crate) mod round_trip;
pub(crate) mod subject;
