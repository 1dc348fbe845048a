//! Reads a range of a bucket's stream: with a consumer, and message by message where one may be that async-nats cannot parse.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::error::chain;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::reader::delivery::{BucketMessage, ReaderEvent};
use crate::store::reader::liveness::Liveness;
use crate::store::reader::ordered::{ATTEMPT_TIMEOUT, OrderedConsumer, ReadError};
use crate::store::reader::range::{ConsumerFailure, Range, Start};
use crate::store::reader::raw::{self, Which};
use crate::store::reader::suspects;

/// The pauses between attempts to read a message.
const READ_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// A reader of a range.
///
/// Invariants: messages come in the order of the stream, each once. `CaughtUp` is reported once. A malformed message is yielded as such,
/// and no consumer is ever made that would deliver one that is known.
pub(crate) struct BucketReader {
    range: Range,
    state: State,
    liveness: Arc<Liveness>,
    has_caught_up: bool,
}

enum State {
    Consumer(Box<OrderedConsumer>),
    /// Single messages after this sequence are read, up to where the malformed ones may be.
    Careful {
        position: u64,
        has_found: bool,
    },
}

impl BucketReader {
    pub(crate) async fn start(range: Range) -> Result<Self, StoreError> {
        let liveness = Arc::new(Liveness::new());
        let state = if is_suspect(&range).await? {
            let position = match range.start {
                Start::At(first) => first.saturating_sub(1),
                Start::Newest | Start::Next => 0,
            };
            State::Careful {
                position,
                has_found: false,
            }
        } else {
            State::Consumer(consumer(&range, &liveness).await?)
        };
        Ok(Self {
            range,
            state,
            liveness,
            has_caught_up: false,
        })
    }

    /// How many messages of the initial part are to come; 0 if this is unknown.
    pub(crate) fn initial_pending(&self) -> u64 {
        match &self.state {
            State::Consumer(consumer) => consumer.initial_pending(),
            State::Careful { .. } => 0,
        }
    }

    pub(crate) fn liveness(&self) -> Arc<Liveness> {
        Arc::clone(&self.liveness)
    }

    /// The events as a stream, which ends after the first error.
    pub(crate) fn into_stream(self) -> BoxStream<'static, Result<ReaderEvent, StoreError>> {
        stream::unfold(Some(Box::new(self)), |reader| async {
            let mut reader = reader?;
            match reader.next().await {
                Ok(event) => Some((Ok(event), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .fuse()
        .boxed()
    }

    /// Waits for the next event, through any number of reconnects.
    pub(crate) async fn next(&mut self) -> Result<ReaderEvent, StoreError> {
        loop {
            match &mut self.state {
                State::Consumer(consumer) => match consumer.next().await {
                    // Reported before the consumer was replaced.
                    Ok(ReaderEvent::CaughtUp) if self.has_caught_up => {}
                    Ok(event) => {
                        self.has_caught_up |= matches!(event, ReaderEvent::CaughtUp);
                        return Ok(event);
                    }
                    Err(ReadError::Store(error)) => return Err(error),
                    Err(ReadError::Interrupted { position }) => {
                        self.state = State::Careful {
                            position,
                            has_found: false,
                        };
                    }
                },
                State::Careful { .. } => {
                    if let Some(message) = self.read_carefully().await? {
                        return Ok(ReaderEvent::Message(message));
                    }
                }
            }
        }
    }

    /// Reads one message, or continues with a consumer.
    fn read_carefully(&mut self) -> BoxFuture<'_, Result<Option<BucketMessage>, StoreError>> {
        // Boxed: the future is large and seldom created.
        self.read_carefully_now().boxed()
    }

    async fn read_carefully_now(&mut self) -> Result<Option<BucketMessage>, StoreError> {
        let State::Careful {
            position,
            has_found,
        } = &mut self.state
        else {
            return Ok(None);
        };
        let stream = &self.range.stream;
        let suspect = suspects::of_stream(stream);
        let is_done = suspect.is_none_or(|it| it.after.is_none() && it.found <= *position);
        if !is_done {
            let (range, after) = (&self.range, *position);
            let message = attempted(range, || next(range, after)).await?;
            self.liveness.record();
            if let Some(message) = message {
                *position = message.sequence;
                if message.is_malformed {
                    *has_found = true;
                    suspects::found(stream, message.sequence);
                }
                let is_superseded = self.range.start == Start::Newest
                    && !self.has_caught_up
                    && is_superseded(&self.range, &message).await?;
                return Ok((!is_superseded).then_some(message));
            }
            // This was the last message.
            if !*has_found {
                suspects::clear(stream);
            }
        }
        self.continue_with_consumer().await?;
        Ok(None)
    }

    async fn continue_with_consumer(&mut self) -> Result<(), StoreError> {
        let State::Careful { position, .. } = self.state else {
            return Ok(());
        };
        let rest = Range {
            start: match self.range.start {
                Start::Next if position == 0 => Start::Next,
                // Nothing was passed over.
                Start::Newest if position == 0 => Start::Newest,
                _ => Start::At(position + 1),
            },
            ..self.range.clone()
        };
        let start = || consumer(&rest, &self.liveness);
        self.state = State::Consumer(attempted(&self.range, start).await?);
        Ok(())
    }
}

async fn consumer(
    range: &Range,
    liveness: &Arc<Liveness>,
) -> Result<Box<OrderedConsumer>, StoreError> {
    let consumer = OrderedConsumer::start(range.clone(), Arc::clone(liveness));
    consumer.await.map(Box::new)
}

/// Whether a malformed message may be in the range.
async fn is_suspect(range: &Range) -> Result<bool, StoreError> {
    // New messages alone are read by a consumer.
    if range.start == Start::Next {
        return Ok(false);
    }
    let Some(suspect) = suspects::of_stream(&range.stream) else {
        return Ok(false);
    };
    let Some(created) = suspect.created else {
        return Ok(true);
    };
    let info = range.info().await.map_err(ConsumerFailure::into_error)?;
    Ok(SystemTime::from(info.created) == created)
}

/// The first message after `position` that the range selects.
async fn next(range: &Range, position: u64) -> Result<Option<BucketMessage>, StoreError> {
    let mut first: Option<BucketMessage> = None;
    for subject in &range.subjects {
        let which = Which::From {
            seq: position + 1,
            next_by_subj: subject,
        };
        if let Some(message) = raw::read(&range.context, &range.stream, which).await?
            && first
                .as_ref()
                .is_none_or(|first| message.sequence < first.sequence)
        {
            first = Some(message);
        }
    }
    Ok(first)
}

/// Whether its subject has a newer message.
async fn is_superseded(range: &Range, message: &BucketMessage) -> Result<bool, StoreError> {
    let newest = attempted(range, || {
        let which = Which::Newest {
            last_by_subj: &message.subject,
        };
        raw::read(&range.context, &range.stream, which)
    });
    let newest = newest.await?;
    Ok(newest.is_none_or(|newest| newest.sequence > message.sequence))
}

/// Repeats what fails as long as the connection is not closed, as a consumer does.
async fn attempted<T, F: Future<Output = Result<T, StoreError>>>(
    range: &Range,
    attempt: impl Fn() -> F,
) -> Result<T, StoreError> {
    let mut backoff = READ_BACKOFF;
    loop {
        match timeout(ATTEMPT_TIMEOUT, attempt()).await {
            Ok(Err(error)) if *error.kind() == StoreErrorKind::Nats => {
                let bucket = &range.bucket;
                tracing::debug!(bucket, error = chain(&error), "cannot read a bucket");
            }
            Ok(done) => return done,
            Err(_) => {}
        }
        if range.gate.is_closed() {
            return Err(StoreError::connection_lost());
        }
        backoff.wait().await;
    }
}
