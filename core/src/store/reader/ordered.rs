//! Reads a range of a bucket's stream in order, without gap and without repeat, for as long as it takes.
//!
//! This replaces the ordered consumers of async-nats. Those push, and so overrun a slow reader; after a reconnect during the initial
//! part they replay revisions that were superseded; and they never report that their stream was deleted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::connection::State;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::Info;
use async_nats::{StatusCode, Subscriber};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::backoff::Backoff;
use crate::error::chain;
use crate::store::error::StoreError;
use crate::store::reader::delivery::{BucketMessage, ReadError, ReaderEvent, header_number};
use crate::store::reader::demand::{Demand, HEARTBEAT_INTERVAL, RequestEnd};
use crate::store::reader::liveness::Liveness;
use crate::store::reader::range::{
    ATTEMPT_TIMEOUT, ConsumerFailure, Range, Start, from_sequence, is_replicated,
};
use crate::store::reader::server_consumer::{Positioned, Remainder, ServerConsumer};
use crate::store::reader::suspects;
use crate::store::reader::trail::Trail;
use crate::transport::events::{Action, Violation, Violations};
use crate::transport::refused::is_request;

/// How often a consumer without messages checks its connection.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long the initial part may stall before the consumer asks the server how much of it remains.
const STALL_TIMEOUT: Duration = Duration::from_millis(200);
/// How long the server may take to say whether a consumer is paused: meanwhile nothing is read.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(1);
const PAUSED: &str = "the consumer was paused";
/// The pauses between attempts to restart a consumer.
const RESTART_BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// An ordered consumer. When its server-side consumer is lost or skips a message, it creates another one that continues after
/// `position`.
///
/// Invariants: every message up to `position` that the range selects was yielded or superseded, and none is yielded twice. After an
/// interruption, what was read last is read again and compared, so that another history of the stream is an error.
/// `demand` belongs to the current server-side consumer and starts over with each one; messages of an earlier one are recognised by its
/// name and dropped.
pub(crate) struct OrderedConsumer {
    range: Range,
    /// One subscription receives from all server-side consumers of this range; each has a token of its own below this inbox.
    inbox: String,
    messages: Subscriber,
    violations: Violations,
    current: ServerConsumer,
    /// When the stream was created; `None` if the range is not endless.
    created: Option<SystemTime>,
    /// Where the stream ended before the first server-side consumer was made; `None` if that does not tell where the consumer ends.
    stream_end: Option<u64>,
    /// The stream sequence up to which the stream has been read.
    position: u64,
    /// The last messages that were read; only of an endless range.
    trail: Trail,
    /// Whether the server may remove messages by itself, so that one that is gone is no sign of another stream.
    may_expire: bool,
    demand: Demand,
    /// How many messages of the initial part are to come; `None` once its end was reported.
    initial: Option<u64>,
    /// The position at which the connection was interrupted last.
    interrupted_at: Option<u64>,
    liveness: Arc<Liveness>,
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
        let stream_end = stream.as_ref().and_then(end_for_consumers);
        let created = stream.filter(|_| range.endless);
        let created = created.map(|info| SystemTime::from(info.created));
        let initial = match range.start {
            Start::Next => 0,
            Start::Newest | Start::At(_) => consumer.cached_info().num_pending,
        };
        let mut ordered = Self {
            current: ServerConsumer::new(consumer, &inbox, connection),
            inbox,
            messages,
            violations,
            created,
            stream_end,
            position: 0,
            trail: Trail::new(),
            may_expire: false,
            demand: Demand::new(range.window, range.budget.share()),
            initial: Some(initial),
            interrupted_at: None,
            liveness,
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

    /// Where the stream ended before the first server-side consumer was made, if the consumer is known to get there.
    pub(crate) fn stream_end(&self) -> Option<u64> {
        self.stream_end
    }

    /// Continues the initial part with what the server has now; its end is reported again.
    pub(crate) fn continue_initial(&mut self) {
        // The next message tells how many follow it.
        self.initial = Some(u64::MAX);
    }

    /// Continues with another server-side consumer, for which the server may choose another replica.
    pub(crate) async fn continue_elsewhere(&mut self) -> Result<(), StoreError> {
        self.restart("the replica may be behind").await
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
            Action::Publish => is_request(&violation.subject, &self.current.request_subject()),
            Action::Subscribe => {
                let own = violation.subject.strip_prefix(self.inbox.as_str());
                own == Some(".*")
            }
        }
    }

    async fn request(&mut self, awaited: bool) -> Result<(), StoreError> {
        let pending = self.liveness.pending();
        self.demand
            .request(
                &self.current.consumer,
                &self.current.subject,
                pending,
                awaited,
            )
            .await
    }

    async fn receive(
        &mut self,
        message: async_nats::Message,
    ) -> Result<Option<BucketMessage>, StoreError> {
        let Some(status) = message.status else {
            return self.accept(message).await;
        };
        if message.subject != self.current.subject {
            // From a consumer that was replaced.
            return Ok(None);
        }
        self.liveness.record();
        match status {
            StatusCode::IDLE_HEARTBEAT => {
                let last = header_number(&message, "Nats-Last-Consumer");
                if last.is_some_and(|last| last != self.current.delivered) {
                    self.restart("a message was lost").await?;
                } else {
                    // A heartbeat means that nothing is pending, even if the last message counted more: those may have expired. (One of a
                    // consumer that was paused means nothing.)
                    self.caught_up();
                    self.settle_trail().await?;
                }
            }
            StatusCode::TIMEOUT | StatusCode::REQUEST_TERMINATED => {
                if let RequestEnd::ConsumerStopped = self.demand.end_request(&message) {
                    self.restart("the consumer was stopped").await?;
                } else if status == StatusCode::TIMEOUT && self.initial.is_none() {
                    self.replace_paused().await?;
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
        let Some(Positioned {
            message,
            consumer_sequence,
            pending,
        }) = self.current.unpack(message, &self.range.context)
        else {
            return Ok(None);
        };
        self.liveness.record();
        if consumer_sequence != self.current.delivered + 1 {
            self.restart("a message was lost").await?;
            return Ok(None);
        }
        self.current.delivered += 1;
        self.liveness.set_delivered(self.current.delivered);
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
                self.settle_trail().await?;
            }
        } else {
            self.liveness.set_pending(pending);
        }
        Ok((!is_repeated).then_some(message))
    }

    /// Nothing is pending: what comes from now on are changes, and the requests for those reserve no budget.
    fn caught_up(&mut self) {
        self.liveness.set_pending(0);
        self.demand.release();
    }

    /// Fails if the stream does not have what was read before an interruption, or what came after it.
    async fn settle_trail(&mut self) -> Result<(), StoreError> {
        if !self.may_expire {
            // A replica that is behind delivers later what the leader has.
            for subject in self.trail.unconfirmed() {
                match self.range.newest(&subject).await {
                    Some(newest) => self.trail.confirm_newest(&newest),
                    None => break,
                }
            }
        }
        if self.trail.settle() || self.may_expire {
            Ok(())
        } else {
            Err(self.range.lost_revisions())
        }
    }

    /// Finds out why nothing was received, and restarts the consumer if it is dead.
    async fn check_liveness(&mut self) -> Result<(), ReadError> {
        if self.range.connection() != self.current.connection {
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
        match self.current.remainder(&self.range, ATTEMPT_TIMEOUT).await {
            Remainder::Nothing(end) => {
                self.initial = Some(0);
                self.caught_up();
                self.position = self.position.max(end);
            }
            Remainder::Deleted => self.restart("the consumer was deleted").await?,
            Remainder::Paused => self.restart(PAUSED).await?,
            // The next check asks again.
            Remainder::Something | Remainder::Unknown => {}
        }
        Ok(())
    }

    /// Replaces a consumer that an operator has paused. Called when a request has expired: nothing else tells of that.
    async fn replace_paused(&mut self) -> Result<(), StoreError> {
        if !self.current.tells_remainder {
            return Ok(());
        }
        match self.current.remainder(&self.range, PAUSE_TIMEOUT).await {
            Remainder::Paused => self.restart(PAUSED).await?,
            Remainder::Unknown => self.current.tells_remainder = false,
            Remainder::Nothing(_) | Remainder::Something | Remainder::Deleted => {}
        }
        Ok(())
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
        let connection = self.range.connection();
        self.current.connection = connection;
        self.current.delete(&self.range.context).await;
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
        let consumer = self.range.consume(policy).await?;
        if let DeliverPolicy::LastPerSubject = policy {
            self.trail.clear();
        } else {
            self.trail.retrace();
        }
        self.current = ServerConsumer::new(consumer, &self.inbox, connection);
        self.liveness.record();
        if self.initial.is_some() {
            self.initial = Some(self.current.info().num_pending);
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
        let info = self.current.info();
        self.liveness.set_consumer(&info.name);
        if self.initial == Some(0) {
            self.position = self.position.max(info.delivered.stream_sequence);
        }
        self.liveness.set_pending(info.num_pending);
        self.demand.reset();
    }
}

/// Where a consumer of the stream ends. Unknown of a stream with replicas: the one that delivers may be behind the leader, which was asked.
fn end_for_consumers(stream: &Info) -> Option<u64> {
    let end = stream.state.last_sequence;
    (end == 0 || !is_replicated(stream)).then_some(end)
}

impl Drop for OrderedConsumer {
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(self.current.delete(&self.range.context));
        }
    }
}
