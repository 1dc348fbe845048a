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

use crate::stream::flow::Credit;

/// How many messages a sender may be ahead of the reader, unless `#[stream(window = ..)]` says otherwise: enough that a sender
/// need not wait for grants, which come when half of it is read, and little enough to hold for thousands of streams.
pub(crate) const DEFAULT_WINDOW: u32 = 1024;
/// The same in bytes, of which the last message may be the greater part.
const WINDOW_BYTES: u64 = 1024 * 1024;
/// What is held of a stream whose sender knows no credit.
pub(crate) const PLAIN_WINDOW: Credit = Credit {
    messages: 65_536,
    bytes: 64 * 1024 * 1024,
};

pub(crate) fn window(messages: u32) -> Credit {
    Credit {
        messages: messages.into(),
        bytes: WINDOW_BYTES,
    }
}
