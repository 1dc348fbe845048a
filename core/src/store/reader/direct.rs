//! Reads a few messages of one subject with a single request: the batched direct get of ADR-31.
//!
//! A batched get costs a fraction of what a consumer costs, but it may fail: servers older than 2.11 do not know it, the replica
//! that answers may lag behind or stop, and the account may lack the permission. A consumer then reads the missing messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Message, Request, Subscriber};
use bytes::Bytes;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::error::chain;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::reader::bucket_reader::BucketReader;
use crate::store::reader::budget::Share;
use crate::store::reader::delivery::header_number;
use crate::store::reader::range::{ATTEMPT_TIMEOUT, Range, Start};
use crate::transport::refused::unless_refused;

/// The longest timeout of the next message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between two attempts to create a consumer.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The bytes that the server counts for a message in addition to its payload.
const MESSAGE_OVERHEAD: usize = 4096;

/// The epoch of the connection on which a batched get of a bucket last had no reply, 0 for none. The server does not reply to a request
/// without permission, so that only a timeout shows it. With this record, a reader waits for the timeout once per connection and not for
/// every object.
#[derive(Clone, Default)]
pub(crate) struct UnansweredConnection(Arc<AtomicU64>);

/// The answer to one batched get.
pub(crate) struct BatchGet {
    range: Range,
    share: Share,
    messages: Subscriber,
    first: Option<Message>,
    /// The stream sequence up to which the stream has been read.
    position: u64,
    message_timeout: Duration,
    connection: u64,
    unanswered: UnansweredConnection,
}

#[derive(Serialize)]
struct BatchGetRequest<'a> {
    seq: u64,
    next_by_subj: &'a str,
    batch: usize,
    max_bytes: usize,
}

impl BatchGet {
    /// Requests the first `count` messages of a subject, with `size` bytes together; `None` unless the budget has room for them and the
    /// server has as many.
    pub(crate) async fn start(
        range: &Range,
        count: usize,
        size: usize,
        within: Duration,
        unanswered: &UnansweredConnection,
    ) -> Option<Self> {
        let connection = range.connection();
        if unanswered.is(connection) {
            return None;
        }
        let [subject] = &range.subjects[..] else {
            return None;
        };
        // Bounded also if the stream holds more than expected: the server buffers the whole reply for a slow client.
        let max_bytes = size.saturating_add(count.saturating_mul(MESSAGE_OVERHEAD));
        let mut share = range.budget.share();
        share.try_reserve(max_bytes, max_bytes)?;
        let request = BatchGetRequest {
            seq: 1,
            next_by_subj: subject,
            batch: count,
            max_bytes,
        };
        let request = serde_json::to_vec(&request).ok()?;
        let inbox = range.gate.new_inbox();
        let messages = range.gate.subscribe(inbox.clone()).await.ok()?;
        // Below the prefix of the context, which async-nats knows alone.
        let request = Request::new().payload(request.into()).inbox(inbox);
        let address = format!("DIRECT.GET.{}", range.stream);
        let mut batch = Self {
            range: range.clone(),
            share,
            messages,
            first: None,
            position: 0,
            message_timeout: message_timeout(within),
            connection,
            unanswered: unanswered.clone(),
        };
        let first = async {
            let sent = range.context.send_request(address.clone(), request);
            sent.await.ok()?;
            batch.receive().await
        };
        let Ok(first) = unless_refused(&range.gate, &address, first).await else {
            batch.unanswered.record(connection);
            return None;
        };
        let first = first?;
        if first.status.is_some() {
            return None;
        }
        let Some(pending) = header_number(&first, "Nats-Num-Pending") else {
            // An older server understands it as a request for one message.
            batch.unanswered.record(connection);
            return None;
        };
        batch.first = Some(first);
        (pending.saturating_add(1) >= count as u64).then_some(batch)
    }

    /// The next message; `None` if there is none, or one was lost.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let message = match self.first.take() {
            Some(first) => first,
            None => self.receive().await?,
        };
        let follows = header_number(&message, "Nats-Last-Sequence") == Some(self.position);
        if message.status.is_some() || !follows {
            return None;
        }
        self.position = header_number(&message, "Nats-Sequence")?;
        if header_number(&message, "Nats-Num-Pending") == Some(0) {
            self.share.release();
        }
        Some(message.payload)
    }

    /// Reads the rest with a consumer. Repeats transient failures without reporting them, as an interrupted consumer does; the caller
    /// bounds the time.
    pub(crate) async fn consume_rest(&mut self) -> Result<BucketReader, StoreError> {
        self.share.release();
        let (bucket, position) = (&self.range.bucket, self.position);
        tracing::debug!(bucket, position, "a batch of messages has ended early");
        let rest = Range {
            start: Start::At(position.saturating_add(1)),
            ..self.range.clone()
        };
        loop {
            match timeout(ATTEMPT_TIMEOUT, BucketReader::start(rest.clone())).await {
                Ok(Err(error)) if *error.kind() == StoreErrorKind::Nats => {
                    tracing::debug!(bucket, error = chain(&error), "cannot read a bucket");
                }
                Ok(done) => return done,
                Err(_) => {}
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn receive(&mut self) -> Option<Message> {
        let message = self
            .share
            .next(&mut self.messages, self.message_timeout)
            .await;
        message.unwrap_or_else(|_| {
            self.unanswered.record(self.connection);
            None
        })
    }
}

/// The timeout of the next message of a read that may take `within`. Most of that time remains for the consumer.
fn message_timeout(within: Duration) -> Duration {
    MESSAGE_TIMEOUT.min(within / 4)
}

impl UnansweredConnection {
    fn record(&self, connection: u64) {
        self.0.store(connection, Ordering::Relaxed);
    }

    fn is(&self, connection: u64) -> bool {
        self.0.load(Ordering::Relaxed) == connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_without_a_reply_costs_a_second_or_a_quarter() {
        let second = Duration::from_secs(1);
        for (within, timeout) in [
            (10 * second, second),
            (4 * second, second),
            (second, second / 4),
        ] {
            assert_eq!(message_timeout(within), timeout);
        }
    }
}
