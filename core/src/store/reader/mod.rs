//! Reads of many messages of a bucket's stream.
//!
//! [`bucket_reader`](self::bucket_reader) reads a range, with [`ordered`](self::ordered), a consumer that survives reconnects, and
//! carefully past messages that async-nats cannot parse; [`trail`](self::trail) is how that consumer knows its stream again;
//! [`server_consumer`](self::server_consumer) is one of the consumers at the server that it uses one after the other;
//! [`direct`](self::direct) reads a few messages with one request, [`direct_get`](self::direct_get) a single one; [`budget`](self::budget)
//! bounds what the readers of a client request together; [`coverage`](self::coverage) tells when the initial part of a reader is complete.
//!
//! May use the leaves, `transport`, `descriptor::operation`, and `store::error`. Knows neither keys nor objects nor codecs. Guarantees that
//! messages come in the order of the stream, without gap and without repeat, or that the reader ends with an error.

pub(crate) mod api_request;
pub(crate) mod bucket_reader;
pub(crate) mod budget;
pub(crate) mod coverage;
pub(crate) mod delivery;
pub(crate) mod demand;
pub(crate) mod direct;
pub(crate) mod direct_get;
pub(crate) mod liveness;
pub(crate) mod ordered;
pub(crate) mod range;
pub(crate) mod raw;
pub(crate) mod server_consumer;
pub(crate) mod suspects;
pub(crate) mod trail;
