//! Flow control of an ordered consumer: how many messages and bytes it requests from the server.

use std::time::Duration;

use async_nats::jetstream::consumer::Consumer;
use async_nats::jetstream::consumer::pull::{BatchConfig, Config};
use async_nats::{Message, Subject, Subscriber};
use tokio::time::error::Elapsed;

use crate::store::error::StoreError;
use crate::store::reader::budget::{MAX_REQUEST_BYTES, MIN_REQUEST_BYTES, Share};
use crate::store::reader::delivery::header_number;

/// How often the server sends a heartbeat while it has nothing to deliver.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// How long the server keeps a request for messages.
const REQUEST_EXPIRY: Duration = Duration::from_secs(30);
/// The most bytes that a request grows to. The server allows no message above 64 MiB.
const MAX_MESSAGE_BYTES: usize = 128 << 20;

/// The requests of one consumer. Between one and two batches are outstanding, so that the server always has one to fill; a batch
/// is half of the window.
///
/// Invariant: while messages are pending at the server, the bytes of the last two requests are reserved in `share`. A consumer that
/// has caught up reserves none, since what it then requests may never be used.
pub(crate) struct Demand {
    batch: usize,
    /// How many messages the server may still deliver without another request.
    requested: usize,
    /// How many bytes a request must allow, so that any single message seen so far fits.
    min_bytes: usize,
    share: Share,
}

/// How to continue after the end of a request.
pub(crate) enum RequestEnd {
    /// The request expired or is used up; another one continues.
    Continue,
    /// The consumer was stopped.
    ConsumerStopped,
}

impl Demand {
    pub(crate) fn new(window: usize, share: Share) -> Self {
        Self {
            batch: window.div_ceil(2),
            requested: 0,
            min_bytes: MIN_REQUEST_BYTES,
            share,
        }
    }

    /// Sends requests until the window is used or the budget is exhausted. `pending` is how many messages the server still has. Where
    /// nothing is requested yet, this waits for room in the budget if the messages are `awaited`.
    pub(crate) async fn request(
        &mut self,
        consumer: &Consumer<Config>,
        inbox: &Subject,
        pending: u64,
        awaited: bool,
    ) -> Result<(), StoreError> {
        while self.requested <= self.batch {
            let most = MAX_REQUEST_BYTES.max(self.min_bytes);
            let max_bytes = if pending == 0 {
                most
            } else if self.requested == 0 && awaited {
                self.share.release();
                self.share.reserve(self.min_bytes, most).await
            } else if let Some(bytes) = self.share.try_reserve(self.min_bytes, most) {
                bytes
            } else {
                break;
            };
            let request = BatchConfig {
                batch: self.batch,
                expires: Some(REQUEST_EXPIRY),
                idle_heartbeat: HEARTBEAT_INTERVAL,
                max_bytes,
                ..BatchConfig::default()
            };
            consumer
                .request_batch(request, inbox.clone())
                .await
                .map_err(|error| StoreError::connection_lost().with_source(error))?;
            self.requested += self.batch;
        }
        Ok(())
    }

    /// The next message that was requested; see [`Share::next`].
    pub(crate) async fn next(
        &mut self,
        messages: &mut Subscriber,
        wait: Duration,
    ) -> Result<Option<Message>, Elapsed> {
        self.share.next(messages, wait).await
    }

    /// Counts a delivered message.
    pub(crate) fn delivered(&mut self) {
        self.requested = self.requested.saturating_sub(1);
    }

    /// Subtracts the messages that an ended request has not delivered: it has expired, or has used up its bytes.
    pub(crate) fn end_request(&mut self, message: &Message) -> RequestEnd {
        let Some(unfilled) = header_number(message, "Nats-Pending-Messages") else {
            return RequestEnd::ConsumerStopped;
        };
        let unfilled = usize::try_from(unfilled).unwrap_or(usize::MAX);
        self.requested = self.requested.saturating_sub(unfilled);
        let is_too_large = message
            .description
            .as_deref()
            .is_some_and(|text| text.starts_with("Message Size"));
        // A request that delivered nothing was too small for its first message. Two requests may end because of the same message,
        // so the size doubles from what the ended one allowed.
        if is_too_large && unfilled >= self.batch {
            let allowed = header_number(message, "Nats-Pending-Bytes");
            let allowed = allowed.and_then(|bytes| usize::try_from(bytes).ok());
            let doubled = allowed.unwrap_or(self.min_bytes).saturating_mul(2);
            self.min_bytes = self.min_bytes.max(doubled.min(MAX_MESSAGE_BYTES));
        }
        RequestEnd::Continue
    }

    /// Releases the reservation: everything that was pending has been delivered.
    pub(crate) fn release(&mut self) {
        self.share.release();
    }

    /// Starts over for a new consumer, which has no requests.
    pub(crate) fn reset(&mut self) {
        self.requested = 0;
        self.share.release();
    }
}
