//! Reads a few messages of one subject with a single request: the batched direct get of ADR-31.
//!
//! That is a fraction of what a consumer costs, and no more than an attempt. Servers older than 2.11 do not know it, the replica
//! that answers may be behind or vanish, and not every account may ask. What does not come is left to a consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Message, Request, Subscriber};
use bytes::Bytes;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::error::chain;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::reader::budget::Share;
use crate::store::reader::ordered::{ATTEMPT, OrderedConsumer, header_number};
use crate::store::reader::range::{Range, Start};

/// How long the next message may take. A quarter of the reader's time at most, so that enough is left for the consumer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two attempts to make a consumer.
const PAUSE: Duration = Duration::from_millis(200);
/// What the server counts of a message beside its payload.
const ENVELOPE: usize = 4096;

/// The connection on which a bucket does not answer. A request without the permission for it is met with silence, and so is one
/// of a slow network: that is waited for once and not for every object.
#[derive(Clone, Default)]
pub(crate) struct Silence(Arc<AtomicU64>);

pub(crate) struct Batch {
    range: Range,
    share: Share,
    messages: Subscriber,
    first: Option<Message>,
    /// Up to where the stream has been read.
    position: u64,
    patience: Duration,
    connection: u64,
    silence: Silence,
}

#[derive(Serialize)]
struct Ask<'a> {
    seq: u64,
    next_by_subj: &'a str,
    batch: usize,
    max_bytes: usize,
}

impl Batch {
    /// Asks for the first `count` messages of a subject, with `size` bytes together; `None` unless there is room for them, and the
    /// server has so many.
    pub(crate) async fn start(
        range: &Range,
        count: usize,
        size: usize,
        within: Duration,
        silence: &Silence,
    ) -> Option<Self> {
        let connection = range.connection();
        if !silence.is_over(connection) {
            return None;
        }
        let [subject] = &range.subjects[..] else {
            return None;
        };
        // Not more than fits, whatever is there: the server holds it all for a client that is slow.
        let max_bytes = size.saturating_add(count.saturating_mul(ENVELOPE));
        let mut share = range.budget.share();
        share.try_ask(max_bytes, max_bytes)?;
        let ask = Ask {
            seq: 1,
            next_by_subj: subject,
            batch: count,
            max_bytes,
        };
        let ask = serde_json::to_vec(&ask).ok()?;
        let client = range.context.client();
        let inbox = client.new_inbox();
        let messages = client.subscribe(inbox.clone()).await.ok()?;
        let request = Request::new().payload(ask.into()).inbox(inbox);
        let address = format!("DIRECT.GET.{}", range.stream);
        range.context.send_request(address, request).await.ok()?;
        let mut batch = Self {
            range: range.clone(),
            share,
            messages,
            first: None,
            position: 0,
            patience: PATIENCE.min(within / 4),
            connection,
            silence: silence.clone(),
        };
        let first = batch.receive().await?;
        if first.status.is_some() {
            return None;
        }
        let Some(pending) = header_number(&first, "Nats-Num-Pending") else {
            // An older server takes it for a request for one message.
            batch.silence.begin(connection);
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
            match timeout(ATTEMPT, OrderedConsumer::start(rest.clone())).await {
                Ok(Err(error)) if *error.kind() == StoreErrorKind::Nats => {
                    tracing::debug!(bucket, error = chain(&error), "cannot read a bucket");
                }
                Ok(done) => return done,
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
    }

    async fn receive(&mut self) -> Option<Message> {
        let message = self.share.next(&mut self.messages, self.patience).await;
        message.unwrap_or_else(|_| {
            self.silence.begin(self.connection);
            None
        })
    }
}

impl Silence {
    fn begin(&self, connection: u64) {
        self.0.store(connection, Ordering::Relaxed);
    }

    fn is_over(&self, connection: u64) -> bool {
        self.0.load(Ordering::Relaxed) != connection
    }
}
