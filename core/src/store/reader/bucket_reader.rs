//! Reads a range of a bucket's stream: with a consumer, and message by message up to the last one that async-nats cannot parse.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::{Instant, timeout};

use crate::backoff::Backoff;
use crate::error::chain;
use crate::log::warn_limited;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::reader::coverage::Coverage;
use crate::store::reader::delivery::{BucketMessage, ReadError, ReaderEvent};
use crate::store::reader::liveness::Liveness;
use crate::store::reader::ordered::OrderedConsumer;
use crate::store::reader::range::{ATTEMPT_TIMEOUT, ConsumerFailure, Range, Start};
use crate::store::reader::raw::{self, Which};
use crate::store::reader::suspects::{self, Suspects};
use crate::transport::subject;

/// The pauses between attempts to read a message.
const READ_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
/// How many messages are looked at after the last one of a reader that ended. Those that a consumer passes over, since they are superseded,
/// are among them. When another reader ends there, as many more are looked at as were before.
const MIN_LOOKED_AT: usize = 1_000;
/// After how many failed looks a reader ends, each within this interval of the one before.
const MAX_FAILED_LOOKS: u32 = 5;
const FAILED_LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// A reader of a range.
///
/// Invariants: messages come in the order of the stream, each once. `CaughtUp` is reported once. A malformed message is yielded as such,
/// and no consumer is made that would deliver one that is known.
pub(crate) struct BucketReader {
    range: Range,
    state: State,
    liveness: Arc<Liveness>,
    has_caught_up: bool,
    /// What the initial part has covered; `None` after its end, and for a range that does not begin with all keys.
    coverage: Option<Box<Coverage>>,
    /// Whether the current consumer delivers superseded messages of a range that has none before it has caught up.
    skips_superseded: bool,
    /// When a look at what interrupted the connection last failed, and how often one did, each soon after the other.
    failed_looks: Option<(Instant, u32)>,
}

enum State {
    Consumer(Box<OrderedConsumer>),
    /// Single messages are read, after `position` and up to `until`, the last malformed one.
    Careful {
        position: u64,
        until: u64,
    },
}

impl BucketReader {
    pub(crate) async fn start(range: Range) -> Result<Self, StoreError> {
        let position = match range.start {
            Start::At(first) => Some(first.saturating_sub(1)),
            Start::Newest => Some(0),
            // Messages to come are unknown.
            Start::Next => None,
        };
        let until = match position {
            // Boxed: the future is large, and there is seldom anything to look at.
            Some(position) => Box::pin(last_known_malformed(&range, position)).await?,
            None => None,
        };
        let liveness = Arc::new(Liveness::new());
        let mut coverage = Coverage::of(&range).map(Box::new);
        let state = if let (Some(position), Some(until)) = (position, until) {
            State::Careful { position, until }
        } else {
            let consumer = consumer(&range, &liveness).await?;
            if consumer.initial_pending() == 0 && consumer.stream_end().is_some() {
                // There was no key.
                coverage = None;
            }
            if let Some(coverage) = &mut coverage {
                coverage.begin_at(consumer.stream_end());
            }
            State::Consumer(consumer)
        };
        Ok(Self {
            range,
            state,
            liveness,
            has_caught_up: false,
            coverage,
            skips_superseded: false,
            failed_looks: None,
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
            if self.coverage.as_ref().is_some_and(|it| it.is_complete()) {
                return Ok(self.end_initial());
            }
            match &mut self.state {
                State::Consumer(consumer) => match consumer.next().await {
                    // Reported before the consumer was replaced.
                    Ok(ReaderEvent::CaughtUp) if self.has_caught_up => {}
                    Ok(ReaderEvent::CaughtUp) if self.coverage.is_some() => {
                        self.compare_coverage().await?;
                    }
                    Ok(ReaderEvent::CaughtUp) => return Ok(self.end_initial()),
                    // Where the filter has all subjects that a stream takes, nats-server delivers also what a transform once gave others,
                    // and does not count it.
                    Ok(ReaderEvent::Message(message)) if !self.range.selects(&message.subject) => {
                        if let Some(coverage) = &mut self.coverage {
                            coverage.begin_at(None);
                        }
                    }
                    Ok(ReaderEvent::Message(message)) => {
                        if self.has_caught_up || !self.skips_superseded {
                            return Ok(self.yielded(message));
                        }
                        match self.is_superseded(&message).await {
                            Ok(true) => {}
                            Ok(false) => return Ok(self.yielded(message)),
                            // The consumer reports that, and where it ended.
                            Err(error) if *error.kind() == StoreErrorKind::ConnectionLost => {}
                            Err(error) => return Err(error),
                        }
                    }
                    Err(ReadError::Store(error)) => return Err(error),
                    Err(ReadError::Interrupted { position }) => {
                        self.look_ahead(position).await?;
                    }
                },
                State::Careful { .. } => {
                    if let Some(message) = self.read_carefully().await? {
                        return Ok(self.yielded(message));
                    }
                }
            }
        }
    }

    fn yielded(&mut self, mut message: BucketMessage) -> ReaderEvent {
        if let Some(coverage) = &mut self.coverage {
            message.is_repeated = coverage.record(&message);
        }
        ReaderEvent::Message(message)
    }

    fn end_initial(&mut self) -> ReaderEvent {
        self.has_caught_up = true;
        self.coverage = None;
        if let State::Consumer(consumer) = &mut self.state {
            consumer.end_initial();
        }
        ReaderEvent::CaughtUp
    }

    /// The consumer has delivered what it knew of. Goes on with the initial part if keys are missing.
    fn compare_coverage(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        // Boxed: the future is large and seldom created.
        let compare = async move {
            let range = &self.range;
            let Some(coverage) = &mut self.coverage else {
                return Ok(());
            };
            let pending = self.liveness.pending();
            let missing = attempted(range, || coverage.find_missing(range, pending)).await?;
            coverage.wait_for(missing, &range.bucket)?;
            if let State::Consumer(consumer) = &mut self.state {
                consumer.continue_initial();
                if coverage.tries_another_replica() {
                    consumer.continue_elsewhere().await?;
                }
            }
            Ok(())
        };
        compare.boxed()
    }

    /// The connection was interrupted where the message after `position` was to come.
    fn look_ahead(&mut self, position: u64) -> BoxFuture<'_, Result<(), StoreError>> {
        // Boxed, as what follows: the future is large and seldom created.
        let look = async move {
            let looked = timeout(ATTEMPT_TIMEOUT, last_malformed(&self.range, position)).await;
            let until = match looked.unwrap_or_else(|_| Err(StoreError::timed_out())) {
                Ok(until) => until,
                Err(error) if *error.kind() == StoreErrorKind::ConnectionLost => return Err(error),
                Err(error) => {
                    self.note_failed_look(error)?;
                    None
                }
            };
            match (&mut self.state, until) {
                (_, Some(until)) => {
                    self.liveness.set_consumer("");
                    self.state = State::Careful { position, until };
                }
                (State::Consumer(consumer), None) => consumer.continue_after_interruption().await?,
                (State::Careful { .. }, None) => {}
            }
            Ok(())
        };
        look.boxed()
    }

    /// One failed look harms nothing if the connection was interrupted by something else. Fails if it is interrupted again and again: then
    /// the reader does harm to all others on it.
    fn note_failed_look(&mut self, error: StoreError) -> Result<(), StoreError> {
        warn_failed_look(&self.range, &error);
        let now = Instant::now();
        let is_soon = |last: Instant| now.duration_since(last) < FAILED_LOOK_INTERVAL;
        let count = match self.failed_looks {
            Some((last, count)) if is_soon(last) => count + 1,
            _ => 1,
        };
        self.failed_looks = Some((now, count));
        if count < MAX_FAILED_LOOKS {
            Ok(())
        } else {
            Err(error)
        }
    }

    fn is_superseded<'a>(
        &'a self,
        message: &'a BucketMessage,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        attempted(&self.range, || is_superseded(&self.range, message)).boxed()
    }

    /// Reads one message, or continues with a consumer.
    fn read_carefully(&mut self) -> BoxFuture<'_, Result<Option<BucketMessage>, StoreError>> {
        self.read_carefully_now().boxed()
    }

    async fn read_carefully_now(&mut self) -> Result<Option<BucketMessage>, StoreError> {
        let State::Careful { position, until } = &mut self.state else {
            return Ok(None);
        };
        if *position < *until {
            let (range, after) = (&self.range, *position);
            let subjects = &range.subjects;
            let message = attempted(range, || next(range, subjects, after)).await?;
            self.liveness.record();
            if let Some(message) = message {
                *position = message.sequence;
                let is_superseded = range.start == Start::Newest
                    && !self.has_caught_up
                    && attempted(range, || is_superseded(range, &message)).await?;
                return Ok((!is_superseded).then_some(message));
            }
        }
        // A consumer that begins with the newest message of each subject begins with the first message of the stream.
        let is_initial = self.range.start == Start::Newest && !self.has_caught_up;
        let rest = Range {
            start: match self.range.start {
                Start::Newest if is_initial && *position == 0 => Start::Newest,
                _ => Start::At(*position + 1),
            },
            ..self.range.clone()
        };
        self.skips_superseded = is_initial
            && rest.start != Start::Newest
            && attempted(&self.range, || keeps_superseded(&self.range)).await?;
        let start = || consumer(&rest, &self.liveness);
        self.state = State::Consumer(attempted(&self.range, start).await?);
        Ok(None)
    }
}

async fn consumer(
    range: &Range,
    liveness: &Arc<Liveness>,
) -> Result<Box<OrderedConsumer>, StoreError> {
    let consumer = OrderedConsumer::start(range.clone(), Arc::clone(liveness));
    consumer.await.map(Box::new)
}

/// The same as [`last_malformed`]; none if the messages cannot be looked at.
async fn last_known_malformed(range: &Range, position: u64) -> Result<Option<u64>, StoreError> {
    match last_malformed(range, position).await {
        Err(error) if *error.kind() != StoreErrorKind::ConnectionLost => {
            warn_failed_look(range, &error);
            Ok(None)
        }
        known => known,
    }
}

fn warn_failed_look(range: &Range, error: &StoreError) {
    warn_limited!(
        bucket = range.bucket,
        error = chain(error),
        "cannot look at what ended the connection of a reader"
    );
}

/// The last malformed message in the range after `position`. Looks at the messages that ended other readers, if any did.
async fn last_malformed(range: &Range, position: u64) -> Result<Option<u64>, StoreError> {
    let Some(suspects) = suspects::of_stream(&range.stream) else {
        return Ok(None);
    };
    if let Some(created) = suspects.created {
        let info = range.info().await.map_err(ConsumerFailure::into_error)?;
        if SystemTime::from(info.created) != created {
            return Ok(None);
        }
    }
    let (suspects, malformed) = malformed(range, suspects).await?;
    suspects::looked_at(
        &range.stream,
        &suspects,
        malformed.iter().map(|message| message.sequence),
    );
    let is_in_range = |message: &&BucketMessage| {
        let mut patterns = range.subjects.iter();
        message.sequence > position
            && patterns.any(|pattern| subject::matches(pattern, &message.subject))
    };
    let in_range = malformed.iter().filter(is_in_range);
    Ok(in_range.map(|message| message.sequence).max())
}

/// The suspects that are malformed, and the suspects with what was looked at.
async fn malformed(
    range: &Range,
    mut suspects: Suspects,
) -> Result<(Suspects, Vec<BucketMessage>), StoreError> {
    let mut malformed = Vec::new();
    for &seq in &suspects.found {
        let which = Which::Revision { seq };
        let found = raw::read(&range.gate, &range.context, &range.stream, which).await?;
        malformed.extend(found.filter(|message| message.is_malformed));
    }
    suspects.ends.retain(|end| !end.is_looked_at);
    for end in &mut suspects.ends {
        let mut position = end.looked_up_to;
        end.is_looked_at = true;
        for _ in 0..end.looked_at.max(MIN_LOOKED_AT) {
            let message = next(range, &end.subjects, position).await?;
            if message.as_ref().is_none_or(|it| it.is_malformed) {
                malformed.extend(message);
                end.is_looked_at = false;
                break;
            }
            position = message.map_or(position, |it| it.sequence);
            suspects::is_sound(&range.stream, end, position);
        }
    }
    Ok((suspects, malformed))
}

/// The first message of these subjects after `position`.
async fn next(
    range: &Range,
    subjects: &[String],
    position: u64,
) -> Result<Option<BucketMessage>, StoreError> {
    let mut first: Option<BucketMessage> = None;
    for subject in subjects {
        let which = Which::From {
            seq: position + 1,
            next_by_subj: subject,
        };
        if let Some(message) = raw::read(&range.gate, &range.context, &range.stream, which).await?
            && first
                .as_ref()
                .is_none_or(|first| message.sequence < first.sequence)
        {
            first = Some(message);
        }
    }
    Ok(first)
}

/// Whether the stream keeps messages that were superseded.
async fn keeps_superseded(range: &Range) -> Result<bool, StoreError> {
    let info = range.info().await.map_err(ConsumerFailure::into_error)?;
    Ok(info.config.max_messages_per_subject != 1)
}

/// Whether its subject has a newer message.
async fn is_superseded(range: &Range, message: &BucketMessage) -> Result<bool, StoreError> {
    let which = Which::Newest {
        last_by_subj: &message.subject,
    };
    let newest = raw::read(&range.gate, &range.context, &range.stream, which).await?;
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
