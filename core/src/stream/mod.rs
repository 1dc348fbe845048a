//! Streams: what `Streaming` is, and how it travels.
//!
//! `streaming` is what users hold. One end of a stream is a `link`, which a task runs: `serve` for a service, `call` for a caller.
//! What arrives goes through `flow`, which checks it, and `delivery` to the reader; what goes out comes through `output`, and what is
//! said of the stream itself from `control`. `wire` reads and writes the messages. `blob` makes streams of bytes, and bytes of streams.

pub(crate) mod blob;
pub(crate) mod control;
pub(crate) mod delivery;
pub(crate) mod flow;
pub(crate) mod link;
pub(crate) mod output;
pub(crate) mod streaming;
pub(crate) mod wire;
