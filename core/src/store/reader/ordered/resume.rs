//! How a consumer begins again: after a reconnect, or when it is gone.

use std::time::{Duration, SystemTime};

use async_nats::connection::State;
use async_nats::jetstream::consumer::DeliverPolicy;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::chain;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::reader::ordered::{ATTEMPT, OrderedConsumer, address, closed};
use crate::store::reader::range::{Failure, Start, at};

/// The pause between two attempts to begin again; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);

impl OrderedConsumer {
    /// Makes another consumer that continues where this one ended.
    pub(crate) fn begin_again<'a>(
        &'a mut self,
        reason: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        // Rare, and large.
        self.begin_again_now(reason).boxed()
    }

    async fn begin_again_now(&mut self, reason: &str) -> Result<(), StoreError> {
        tracing::debug!(
            bucket = self.range.bucket,
            reason,
            position = self.position,
            "reading a bucket begins again"
        );
        let client = self.range.context.client();
        let mut pause = FIRST_PAUSE;
        loop {
            if client.connection_state() == State::Connected {
                match timeout(ATTEMPT, self.resume()).await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(Failure::Final(error))) => return Err(error),
                    Ok(Err(Failure::Passing(error))) => {
                        tracing::debug!(
                            bucket = self.range.bucket,
                            error = chain(&error),
                            "cannot read a bucket"
                        );
                    }
                    Err(_) => {}
                }
            }
            self.wait(pause).await?;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    async fn resume(&mut self) -> Result<(), Failure> {
        self.connection = self.range.connection();
        self.delete_consumer().await;
        if let Some(created) = self.created {
            let info = self.range.info().await?;
            if SystemTime::from(info.created) != created {
                let text = format!(
                    "bucket `{}` was deleted, and another was made under its name",
                    self.range.bucket
                );
                return Err(Failure::Final(StoreError::new(
                    StoreErrorKind::BucketNotFound,
                    text,
                )));
            }
            if info.state.last_sequence < self.position {
                let text = format!(
                    "bucket `{}` has lost revisions that were read",
                    self.range.bucket
                );
                return Err(Failure::Final(StoreError::new(StoreErrorKind::Nats, text)));
            }
        }
        let policy = match self.range.start {
            // Those that were superseded in the meantime are not current values.
            Start::Newest if self.initial.is_some() => DeliverPolicy::LastPerSubject,
            Start::At(first) => at(first.max(self.position + 1)),
            Start::Newest | Start::Next => at(self.position + 1),
        };
        self.consumer = self.range.consume(policy).await?;
        let info = self.consumer.cached_info();
        self.subject = address(&self.inbox, &info.name);
        self.delivered = 0;
        self.requested = 0;
        self.contact.heard();
        if self.initial.is_some() {
            self.initial = Some(info.num_pending);
        }
        self.begin();
        Ok(())
    }

    /// Waits, and throws away what comes from the consumer that is given up.
    async fn wait(&mut self, pause: Duration) -> Result<(), StoreError> {
        let end = Instant::now() + pause;
        while let Ok(message) = timeout_at(end, self.messages.next()).await {
            if message.is_none() {
                return Err(closed());
            }
        }
        Ok(())
    }
}
