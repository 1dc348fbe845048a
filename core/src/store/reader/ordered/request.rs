//! How much a consumer asks the server for.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::BatchConfig;

use crate::store::error::StoreError;
use crate::store::reader::budget::MOST;
use crate::store::reader::ordered::{HEARTBEAT, OrderedConsumer, header_number};

/// How long the server keeps a request for messages.
const EXPIRES: Duration = Duration::from_secs(30);

/// A message is never larger than 64 MiB: the server allows no more.
const LARGEST: usize = 128 << 20;

impl OrderedConsumer {
    /// Asks for as many messages as there is room for: this is what holds a fast server back.
    pub(crate) async fn request(&mut self) -> Result<(), StoreError> {
        let batch = self.range.window.div_ceil(2);
        while self.requested <= batch {
            let most = MOST.max(self.least);
            let max_bytes = if self.contact.behind() == 0 {
                most
            } else if self.requested == 0 {
                self.share.release();
                self.share.ask(self.least, most).await
            } else if let Some(bytes) = self.share.try_ask(self.least, most) {
                bytes
            } else {
                break;
            };
            let request = BatchConfig {
                batch,
                expires: Some(EXPIRES),
                idle_heartbeat: HEARTBEAT,
                max_bytes,
                ..BatchConfig::default()
            };
            self.consumer
                .request_batch(request, self.subject.clone())
                .await
                .map_err(|error| StoreError::nats("the connection is closed", error))?;
            self.requested += batch;
        }
        Ok(())
    }

    /// A request is over before it got all that it asked for: it has expired, or got as many bytes as it may.
    pub(crate) async fn end_of_request(
        &mut self,
        message: &async_nats::Message,
    ) -> Result<(), StoreError> {
        let Some(left) = header_number(message, "Nats-Pending-Messages") else {
            return self.begin_again("the consumer was stopped").await;
        };
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        self.requested = self.requested.saturating_sub(left);
        let too_large = message
            .description
            .as_deref()
            .is_some_and(|text| text.starts_with("Message Size"));
        if too_large && left >= self.range.window.div_ceil(2) {
            // Two requests may be refused for the same message.
            let asked = header_number(message, "Nats-Pending-Bytes");
            let asked = asked.and_then(|bytes| usize::try_from(bytes).ok());
            let more = asked.unwrap_or(self.least).saturating_mul(2);
            self.least = self.least.max(more.min(LARGEST));
        }
        Ok(())
    }

    /// From now on comes what changes, and the requests for that take up no room.
    pub(crate) fn caught_up(&mut self) {
        self.contact.set_behind(0);
        self.share.release();
    }
}
