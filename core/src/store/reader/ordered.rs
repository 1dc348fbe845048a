//! Reads a range of a bucket's stream in order, without gap and without repeat, for as long as it takes.
//!
//! This replaces the ordered consumers of async-nats. Those push, and so overrun a slow reader; after a reconnect during the initial
//! part they replay revisions that were superseded; and they never report that their stream was deleted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::connection::State;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::{StatusCode, Subject, Subscriber};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::backoff::Backoff;
use crate::error::chain;
use crate::store::error::StoreError;
use crate::store::reader::delivery::{BucketMessage, ReadError, ReaderEvent, header_number};
use crate::store::reader::demand::{Demand, HEARTBEAT_INTERVAL, RequestEnd};
use crate::store::reader::liveness::Liveness;
use crate::store::reader::range::{ConsumerFailure, Range, Start, from_sequence};
use crate::store::reader::suspects;
use crate::store::reader::trail::Trail;
use crate::transport::events::{Action, Violation, Violations};
use crate::transport::refused::{is_request, unless_refused};

/// How often a consumer without messages checks its connection.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long the initial part may stall before the consumer asks the server how much of it remains.
const STALL_TIMEOUT: Duration = Duration::from_millis(200);
/// How long one attempt to create a consumer may take.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses between attempts to restart a consumer.
const RESTART_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// An ordered consumer. When its server-side consumer is lost or skips a message, it creates another one that continues after
/// `position`.
///
/// Invariants: every message up to `position` that the range selects was yielded or superseded, and none is yielded twice. After an
/// interruption, what was read last is read again and compared, so that another history of the stream is an error.
/// `delivered` and `demand` belong to the current server-side consumer and start over with each one; messages of an earlier one are
/// recognised by its name and dropped.
pub(crate) struct OrderedConsumer {
    range: Range,
    /// One subscription receives from all server-side consumers of this range; each has a token of its own below this inbox.
    inbox: String,
    messages: Subscriber,
    violations: Violations,
    consumer: Consumer<Config>,
    /// Where the current server-side consumer delivers.
    subject: Subject,
    /// The epoch of the connection through which the current server-side consumer was created.
    connection: u64,
    /// When the stream was created; `None` if the range is not endless.
    created: Option<SystemTime>,
    /// Where the stream ended before the first server-side consumer was made; `None` if that is of no use.
    stream_end: Option<u64>,
    /// The stream sequence up to which the stream has been read.
    position: u64,
    /// The last messages that were read; only of an endless range.
    trail: Trail,
    /// Whether the server may remove messages by itself, so that one that is gone is no sign of another stream.
    may_expire: bool,
    /// How many messages the current server-side consumer has delivered.
    delivered: u64,
    demand: Demand,
    /// How many messages of the initial part are to come; `None` once its end was reported.
    initial: Option<u64>,
    /// The position at which the connection was interrupted last.
    interrupted_at: Option<u64>,
    liveness: Arc<Liveness>,
    /// Kept between messages: parsing the position of a message needs a JetStream context, which is expensive to clone.
    envelope: Option<Message>,
}

/// A message with the position in its reply subject.
struct Positioned {
    message: BucketMessage,
    consumer_sequence: u64,
    pending: u64,
}

impl OrderedConsumer {
    pub(crate) fn start(
        range: Range,
        liveness: Arc<Liveness>,
    ) -> BoxFuture<'static, Result<Self, StoreError>> {
        // Boxed: the future is large and seldom created.
        Self::start_now(range, liveness).boxed()
    }

    async fn start_now(range: Range, liveness: Arc<Liveness>) -> Result<Self, StoreError> {
        let inbox = range.gate.new_inbox();
        let violations = range.gate.violations();
        let messages = range
            .gate
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| StoreError::nats("cannot read the bucket", error))?;
        let connection = range.connection();
        let consumer = async {
            let policy = match range.start {
                Start::Newest => DeliverPolicy::LastPerSubject,
                Start::At(sequence) => from_sequence(sequence),
                Start::Next => DeliverPolicy::New,
            };
            let consumer = range.consume(policy).await;
            consumer.map_err(ConsumerFailure::into_error)
        };
        let stream = async {
            if !range.endless && !range.has_all_keys() {
                return Ok(None);
            }
            let info = range.info().await;
            info.map(Some).map_err(ConsumerFailure::into_error)
        };
        // The stream first: what is written after the answer comes after the beginning of the consumer.
        let (stream, consumer) = tokio::try_join!(biased; stream, consumer)?;
        let stream_end = stream.as_ref().map(|info| info.state.last_sequence);
        let created = stream.filter(|_| range.endless);
        let created = created.map(|info| SystemTime::from(info.created));
        let info = consumer.cached_info();
        let initial = match range.start {
            Start::Next => 0,
            Start::Newest | Start::At(_) => info.num_pending,
        };
        let mut ordered = Self {
            subject: delivery_subject(&inbox, &info.name),
            inbox,
            messages,
            violations,
            connection,
            created,
            stream_end,
            position: 0,
            trail: Trail::new(),
            may_expire: false,
            delivered: 0,
            demand: Demand::new(range.window, range.budget.share()),
            initial: Some(initial),
            interrupted_at: None,
            liveness,
            envelope: None,
            consumer,
            range,
        };
        ordered.adopt_consumer();
        // Requested now if the budget has room, so that the first messages are on their way. Somebody may open many readers first, and
        // then read from them.
        ordered.request(false).await?;
        Ok(ordered)
    }

    /// How many messages of the initial part are to come.
    pub(crate) fn initial_pending(&self) -> u64 {
        self.initial.unwrap_or(0)
    }

    /// Where the stream ended before the first server-side consumer was made, if that is known.
    pub(crate) fn stream_end(&self) -> Option<u64> {
        self.stream_end
    }

    /// Continues the initial part with what the server has now; its end is reported again.
    pub(crate) fn continue_initial(&mut self) {
        // The next message tells how many follow it.
        self.initial = Some(u64::MAX);
    }

    /// Ends the initial part, whatever is still to come of it.
    pub(crate) fn end_initial(&mut self) {
        self.initial = None;
    }

    /// Waits for the next event, through any number of reconnects.
    pub(crate) async fn next(&mut self) -> Result<ReaderEvent, ReadError> {
        loop {
            if self.initial == Some(0) {
                self.initial = None;
                if self.range.start == Start::Newest {
                    self.trail.keep_last();
                }
                return Ok(ReaderEvent::CaughtUp);
            }
            self.request(true).await?;
            let wait = if self.initial.is_some() {
                STALL_TIMEOUT
            } else {
                CHECK_INTERVAL
            };
            let next = tokio::select! {
                biased;
                next = self.demand.next(&mut self.messages, wait) => next,
                violation = self.violations.next() => {
                    if self.is_concerned(&violation) {
                        return Err(StoreError::from(violation).into());
                    }
                    continue;
                }
            };
            match next {
                Ok(None) => return Err(self.closed().into()),
                Ok(Some(message)) => {
                    if let Some(message) = self.receive(message).await? {
                        return Ok(ReaderEvent::Message(message));
                    }
                }
                Err(_) => self.check_liveness().await?,
            }
        }
    }

    /// Whether NATS refuses the requests for messages, or the messages.
    fn is_concerned(&self, violation: &Violation) -> bool {
        match violation.action {
            Action::Publish => {
                let info = self.consumer.cached_info();
                let request = format!("CONSUMER.MSG.NEXT.{}.{}", info.stream_name, info.name);
                is_request(&violation.subject, &request)
            }
            Action::Subscribe => {
                let own = violation.subject.strip_prefix(self.inbox.as_str());
                own == Some(".*")
            }
        }
    }

    async fn request(&mut self, awaited: bool) -> Result<(), StoreError> {
        let pending = self.liveness.pending();
        self.demand
            .request(&self.consumer, &self.subject, pending, awaited)
            .await
    }

    async fn receive(
        &mut self,
        message: async_nats::Message,
    ) -> Result<Option<BucketMessage>, StoreError> {
        let Some(status) = message.status else {
            return self.accept(message).await;
        };
        if message.subject != self.subject {
            // From a consumer that was replaced.
            return Ok(None);
        }
        self.liveness.record();
        match status {
            StatusCode::IDLE_HEARTBEAT => {
                let last = header_number(&message, "Nats-Last-Consumer");
                if last.is_some_and(|last| last != self.delivered) {
                    self.restart("a message was lost").await?;
                } else {
                    // A heartbeat means that nothing is pending, even if the last message counted more: those may have expired. (One of a
                    // consumer that was paused means nothing.)
                    self.caught_up();
                    self.settle_trail()?;
                }
            }
            StatusCode::TIMEOUT | StatusCode::REQUEST_TERMINATED => {
                if let RequestEnd::ConsumerStopped = self.demand.end_request(&message) {
                    self.restart("the consumer was stopped").await?;
                }
            }
            _ => self.restart("the consumer was deleted").await?,
        }
        Ok(None)
    }

    async fn accept(
        &mut self,
        message: async_nats::Message,
    ) -> Result<Option<BucketMessage>, StoreError> {
        let Some(positioned) = self.unpack(message) else {
            return Ok(None);
        };
        let Positioned {
            message,
            consumer_sequence,
            pending,
        } = positioned;
        self.liveness.record();
        if consumer_sequence != self.delivered + 1 {
            self.restart("a message was lost").await?;
            return Ok(None);
        }
        self.delivered += 1;
        self.liveness.set_delivered(self.delivered);
        self.demand.delivered();
        // The consumer began again before `position`, and this message was yielded before.
        let is_repeated = message.sequence <= self.position;
        if is_repeated && !self.trail.recognises(&message) {
            return Err(self.range.lost_revisions());
        }
        if !is_repeated {
            self.position = message.sequence;
            if self.created.is_some() {
                self.trail.add(&message);
            }
        }
        if let Some(initial) = &mut self.initial {
            // The server's count also covers messages that vanish while the initial part is delivered.
            *initial = initial.saturating_sub(1).min(pending);
        }
        if pending == 0 {
            self.caught_up();
            // A replica that lags behind has nothing pending either, and delivers in order.
            if self.trail.end() <= Some(message.sequence) {
                self.settle_trail()?;
            }
        } else {
            self.liveness.set_pending(pending);
        }
        Ok((!is_repeated).then_some(message))
    }

    /// Reads the position of a message; `None` if it is not from the current server-side consumer.
    fn unpack(&mut self, message: async_nats::Message) -> Option<Positioned> {
        let envelope = match self.envelope.take() {
            Some(mut envelope) => {
                envelope.message = message;
                envelope
            }
            None => Message {
                message,
                context: self.range.context.clone(),
            },
        };
        let envelope = self.envelope.insert(envelope);
        let info = envelope.info().ok()?;
        if info.consumer != self.consumer.cached_info().name {
            return None;
        }
        let (sequence, consumer_sequence) = (info.stream_sequence, info.consumer_sequence);
        let (pending, published) = (info.pending, SystemTime::from(info.published));
        Some(Positioned {
            message: BucketMessage {
                subject: envelope.message.subject.clone(),
                headers: envelope.message.headers.take(),
                payload: std::mem::take(&mut envelope.message.payload),
                sequence,
                published,
                is_malformed: false,
                is_repeated: false,
            },
            consumer_sequence,
            pending,
        })
    }

    /// Nothing is pending: what comes from now on are changes, and the requests for those reserve no budget.
    fn caught_up(&mut self) {
        self.liveness.set_pending(0);
        self.demand.release();
    }

    /// Fails if the stream does not have what was read before an interruption, or what came after it.
    fn settle_trail(&mut self) -> Result<(), StoreError> {
        if self.trail.settle() || self.may_expire {
            Ok(())
        } else {
            Err(self.range.lost_revisions())
        }
    }

    /// Finds out why nothing was received, and restarts the consumer if it is dead.
    async fn check_liveness(&mut self) -> Result<(), ReadError> {
        if self.range.connection() != self.connection {
            let position = self.range.read_up_to(self.position);
            if self.interrupted_at.replace(position) == Some(position) {
                // Without progress in between: the next message may be what interrupts the connection.
                suspects::record(&self.range, self.created, position);
                return Err(ReadError::Interrupted { position });
            }
            self.restart("the connection was interrupted").await?;
            return Ok(());
        }
        if self.liveness.age() > 2 * HEARTBEAT_INTERVAL + CHECK_INTERVAL {
            self.range.warn_silent();
            self.restart("the server has sent nothing").await?;
            return Ok(());
        }
        if self.initial.is_none() {
            return Ok(());
        }
        // The messages that the initial part waits for may have expired.
        let name = self.consumer.cached_info().name.clone();
        let info = match self.range.stream().await {
            Ok(stream) => {
                let request = format!("CONSUMER.INFO.{}.{name}", self.range.stream);
                let info = stream.consumer_info(name);
                let info = unless_refused(&self.range.gate, &request, info);
                timeout(ATTEMPT_TIMEOUT, info).await
            }
            Err(_) => return Ok(()),
        };
        match info {
            Ok(Ok(Ok(info))) => {
                if info.num_pending == 0 && info.delivered.consumer_sequence == self.delivered {
                    self.initial = Some(0);
                    self.caught_up();
                    self.position = self.position.max(info.delivered.stream_sequence);
                }
                Ok(())
            }
            Ok(Ok(Err(error))) if is_deleted(&error.kind()) => {
                self.restart("the consumer was deleted").await?;
                Ok(())
            }
            // The next check asks again.
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Goes on after [`ReadError::Interrupted`].
    pub(crate) async fn continue_after_interruption(&mut self) -> Result<(), StoreError> {
        self.restart("the connection was interrupted").await
    }

    /// Creates another server-side consumer that continues where this one ended.
    fn restart<'a>(&'a mut self, reason: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        // Boxed: the future is large and seldom created.
        self.restart_now(reason).boxed()
    }

    async fn restart_now(&mut self, reason: &str) -> Result<(), StoreError> {
        tracing::debug!(
            bucket = self.range.bucket,
            reason,
            position = self.position,
            "reading a bucket begins again"
        );
        let gate = self.range.gate.clone();
        let mut backoff = RESTART_BACKOFF;
        loop {
            if gate.connection_state() == State::Connected {
                match timeout(ATTEMPT_TIMEOUT, self.resume()).await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(ConsumerFailure::Permanent(error))) => return Err(error),
                    Ok(Err(ConsumerFailure::Transient(error))) => {
                        tracing::debug!(
                            bucket = self.range.bucket,
                            error = chain(&error),
                            "cannot read a bucket"
                        );
                    }
                    Err(_) => {}
                }
            }
            self.discard_for(backoff.next_pause()).await?;
        }
    }

    /// One attempt of a restart. The connection is noted first, so that a reconnect during the attempt is noticed later; what belongs
    /// to the server-side consumer changes only once the new one exists.
    async fn resume(&mut self) -> Result<(), ConsumerFailure> {
        self.connection = self.range.connection();
        self.delete_consumer().await;
        if let Some(created) = self.created {
            let same = self.range.check_same_stream(created, self.position);
            self.may_expire = same.await?;
        }
        let next = self.trail.start().unwrap_or(self.position + 1);
        let policy = match self.range.start {
            // Not from `position`: values that were superseded in the meantime are not current values.
            Start::Newest if self.initial.is_some() => DeliverPolicy::LastPerSubject,
            Start::At(first) => from_sequence(first.max(next)),
            Start::Newest | Start::Next => from_sequence(next),
        };
        self.consumer = self.range.consume(policy).await?;
        if let DeliverPolicy::LastPerSubject = policy {
            self.trail.clear();
        } else {
            self.trail.retrace();
        }
        let info = self.consumer.cached_info();
        self.subject = delivery_subject(&self.inbox, &info.name);
        self.delivered = 0;
        self.liveness.record();
        if self.initial.is_some() {
            self.initial = Some(info.num_pending);
        }
        self.adopt_consumer();
        Ok(())
    }

    /// Waits, and discards what still comes from the consumer that is given up.
    async fn discard_for(&mut self, pause: Duration) -> Result<(), StoreError> {
        let end = Instant::now() + pause;
        while let Ok(message) = timeout_at(end, self.messages.next()).await {
            if message.is_none() {
                return Err(self.closed());
            }
        }
        Ok(())
    }

    /// The connection is over for good, perhaps because of what this would have read next.
    fn closed(&self) -> StoreError {
        let position = self.range.read_up_to(self.position);
        suspects::record(&self.range, self.created, position);
        StoreError::connection_lost()
    }

    /// Takes over the counts of a new server-side consumer. One that has nothing to deliver has read up to where it stands.
    fn adopt_consumer(&mut self) {
        let info = self.consumer.cached_info();
        self.liveness.set_consumer(&info.name);
        if self.initial == Some(0) {
            self.position = self.position.max(info.delivered.stream_sequence);
        }
        self.liveness.set_pending(info.num_pending);
        self.demand.reset();
    }

    fn delete_consumer(&self) -> impl Future<Output = ()> + Send + use<> {
        let context = self.range.context.clone();
        let info = self.consumer.cached_info();
        let subject = format!("CONSUMER.DELETE.{}.{}", info.stream_name, info.name);
        async move {
            // A failure is harmless: the server deletes inactive consumers itself, only later.
            let _ = context
                .send_request(subject, async_nats::Request::new())
                .await;
        }
    }
}

impl Drop for OrderedConsumer {
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.delete_consumer());
        }
    }
}

fn delivery_subject(inbox: &str, consumer: &str) -> Subject {
    format!("{inbox}.{consumer}").into()
}

fn is_deleted(kind: &ConsumerInfoErrorKind) -> bool {
    matches!(
        kind,
        ConsumerInfoErrorKind::NotFound | ConsumerInfoErrorKind::StreamNotFound
    )
}
