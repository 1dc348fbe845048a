//! Reads a few messages of one subject with a single request: the batched direct get of ADR-31.
//!
//! That is a fraction of what a consumer costs, and no more than an attempt. Servers older than 2.11 do not know it, the replica
//! that answers may be behind or vanish, and not every account may request. What does not come is left to a consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Message, Request, Subscriber};
use bytes::Bytes;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::reader::budget::Share;
use crate::store::reader::delivery::header_number;
use crate::store::reader::ordered::{ATTEMPT_TIMEOUT, OrderedConsumer};
use crate::store::reader::range::{Range, Start};

/// How long the next message may take. A quarter of the reader's time at most, so that enough is left for the consumer.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between two attempts to make a consumer.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// What the server counts of a message beside its payload.
const MESSAGE_OVERHEAD: usize = 4096;

/// The connection on which a bucket does not answer. A request without the permission for it is met with unanswered, and so is one
/// of a slow network: that is waited for once and not for every object.
#[derive(Clone, Default)]
pub(crate) struct UnansweredConnection(Arc<AtomicU64>);

pub(crate) struct BatchGet {
    range: Range,
    share: Share,
    messages: Subscriber,
    first: Option<Message>,
    /// Up to where the stream has been read.
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
    /// Asks for the first `count` messages of a subject, with `size` bytes together; `None` unless there is room for them, and the
    /// server has so many.
    pub(crate) async fn start(
        range: &Range,
        count: usize,
        size: usize,
        within: Duration,
        unanswered: &UnansweredConnection,
    ) -> Option<Self> {
        let connection = range.connection();
        if !unanswered.is_over(connection) {
            return None;
        }
        let [subject] = &range.subjects[..] else {
            return None;
        };
        // Not more than fits, whatever is there: the server holds it all for a client that is slow.
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
        let client = range.context.client();
        let inbox = client.new_inbox();
        let messages = client.subscribe(inbox.clone()).await.ok()?;
        let request = Request::new().payload(request.into()).inbox(inbox);
        let address = format!("DIRECT.GET.{}", range.stream);
        range.context.send_request(address, request).await.ok()?;
        let mut batch = Self {
            range: range.clone(),
            share,
            messages,
            first: None,
            position: 0,
            message_timeout: MESSAGE_TIMEOUT.min(within / 4),
            connection,
            unanswered: unanswered.clone(),
        };
        let first = batch.receive().await?;
        if first.status.is_some() {
            return None;
        }
        let Some(pending) = header_number(&first, "Nats-Num-Pending") else {
            // An older server takes it for a request for one message.
            batch.unanswered.begin(connection);
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

    /// Reads what is left in another way. What may pass is waited for and not reported, as a consumer that is interrupted does it.
    pub(crate) async fn consume_rest(&mut self) -> Result<OrderedConsumer, StoreError> {
        self.share.release();
        let (bucket, position) = (&self.range.bucket, self.position);
        tracing::debug!(bucket, position, "a batch of messages has ended early");
        let rest = Range {
            start: Start::At(position.saturating_add(1)),
            ..self.range.clone()
        };
        loop {
            match timeout(ATTEMPT_TIMEOUT, OrderedConsumer::start(rest.clone())).await {
                Ok(Err(error)) if *error.kind() == StoreErrorKind::Nats => {
                    tracing::debug!(bucket, %error, "cannot read a bucket");
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
            self.unanswered.begin(self.connection);
            None
        })
    }
}

impl UnansweredConnection {
    fn begin(&self, connection: u64) {
        self.0.store(connection, Ordering::Relaxed);
    }

    fn is_over(&self, connection: u64) -> bool {
        self.0.load(Ordering::Relaxed) != connection
    }
}
