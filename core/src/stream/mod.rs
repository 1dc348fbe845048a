//! Streams: the type `Streaming`, and one end of a stream on NATS.
//!
//! `streaming` is the type of users. A `link` is one end of a stream, run by one task: `server::dispatch::stream` for a service,
//! `client::stream` for a caller. Incoming messages pass `wire` (headers), `flow` (numbers and credit) and `delivery` (to the reader);
//! outgoing ones come from `output`, and control messages from `control`. `mapping` is for a peer in another account. `blob` converts
//! between streams and byte readers or writers.
//!
//! Uses `codec`, `status` and `transport`; has no notion of services, endpoints or calls. Messages arrive complete and in order, or
//! the stream ends with an error; neither end holds more than a window. `protocol.md` specifies the bytes on the wire.

pub(crate) mod blob;
pub(crate) mod control;
pub(crate) mod delivery;
pub(crate) mod flow;
pub(crate) mod link;
pub(crate) mod mapping;
pub(crate) mod output;
pub(crate) mod pressure;
pub(crate) mod streaming;
pub(crate) mod wire;
