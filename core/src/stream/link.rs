//! One end of a stream on NATS: its subscription, its peer, and the state of the protocol between them.
//!
//! A link belongs to one task, which alternates [`Link::wait`] (cancel-safe) and [`Link::handle`] (not to be cancelled). It keeps the
//! protocol going by itself: heartbeats, credit, and the detection of a lost peer. What concerns the call comes out as an [`Event`].

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::status::Status;
use crate::stream::delivery::{Delivery, OutOfMemory};
use crate::stream::flow::{Arrival, Credit, Fault, Inbound, Outbound, PLAIN_WINDOW};
use crate::stream::mapping::Mapping;
use crate::stream::pressure::Pressure;
use crate::stream::wire;
use crate::stream::wire::{Control, Received, StreamState};
use crate::transport::backlog::Lane;
use crate::transport::events::{Action, Violation, Violations};
use crate::transport::gate::Gate;
use crate::transport::outgoing::Outgoing;
use crate::transport::publishing::Publishing;
use crate::transport::subject::PeerSubject;

/// The interval at which each end sends its state to its peer.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// A peer is lost after this many own heartbeats without a message from it. Heartbeats are counted instead of time: time also passes
/// while this process waits for a CPU and cannot read what has arrived.
const MAX_MISSED_HEARTBEATS: u32 = 3;
/// The same bound once the NATS server reports that the peer has no subscription. It is not zero, so that a peer has time to
/// reconnect.
const MAX_MISSED_WITHOUT_LISTENER: u32 = 2;
/// A service gives up a caller without heartbeats after this many own heartbeats without a message from it: ten minutes.
const MAX_IDLE_HEARTBEATS: u32 = 5 * 60;
/// The same while the endpoint has no room for other streams. Such a caller cannot be asked whether it is there: it may well have no
/// subscription until it has sent all its messages.
const MAX_IDLE_HEARTBEATS_UNDER_PRESSURE: u32 = 4;
/// The shortest interval between two probes of a peer without heartbeats. A probe is a message with a reply subject, to which the NATS
/// server reports that nobody listens.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// What the task that runs a link has to react to.
#[derive(Debug)]
pub(crate) enum Event {
    Control(Control),
    /// Messages have arrived and were delivered to the reader.
    Messages(Message),
    /// The peer has sent its last message. An error was delivered to the reader.
    End(Option<Status>, Message),
    Response(Message),
    /// The peer broke the protocol, or messages are lost. The error was delivered to the reader, and nothing more is read.
    Fault(Status),
    /// The reader was dropped, and the peer was sent a cancellation.
    ReaderDropped,
    /// The NATS server reports that the peer has no subscription.
    NoListener,
    /// The peer sends no heartbeats any more, or the connection is closed.
    PeerLost(Status),
}

/// What has ended [`Link::wait`]; to be passed to [`Link::handle`].
pub(crate) enum Signal {
    /// A message on the inbox; `None` if the connection is closed.
    Message(Option<Message>),
    /// The reader has made room for half a window.
    Consumed,
    ReaderDropped,
    /// The connection has taken the state that was in transit.
    StateSent,
    Heartbeat,
    /// NATS has refused something to the connection.
    Refused(Violation),
}

/// Which end of the stream a link is.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Service {
        /// The headers that confirm the extension. They are repeated with each state until a message of the caller has arrived.
        confirmation: Option<HeaderMap>,
        pressure: Arc<Pressure>,
    },
    Caller,
}

/// One end of a stream.
///
/// Invariants: without a `peer` nothing is sent. Without `extension`, no header of the extension is sent, and `outbound` has unlimited
/// credit. After `state.cancelled`, messages are still checked by `inbound`, without limits, and `delivery` drops them.
pub(crate) struct Link {
    pub(crate) gate: Gate,
    /// Receives on `inbox`.
    subscription: Subscriber,
    violations: Violations,
    pub(crate) inbox: Subject,
    /// The inbox of the peer. A caller learns it from the first message of the service; it is removed when there is nobody to send to.
    pub(crate) peer: Option<PeerSubject>,
    /// Where a caller sends the message that opens the stream.
    pub(crate) opens_at: Option<Subject>,
    /// Changes with `peer`.
    pub(crate) mapping: Mapping,
    pub(crate) role: Role,
    /// Whether both ends speak the extension (`protocol.md`): credit, heartbeats, batches.
    pub(crate) extension: bool,
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
    /// The way to the reader; `None` if the peer streams nothing.
    pub(crate) delivery: Option<Delivery>,
    /// What this end has announced; each part is set once and never reset.
    pub(crate) state: StreamState,
    /// A state that the connection has not taken yet. At most one is in transit.
    pub(crate) state_in_transit: Option<Publishing>,
    /// Whether another state has to follow the one in transit.
    pub(crate) state_is_stale: bool,
    heartbeats: Interval,
    /// The number of own heartbeats since the last message of the peer.
    missed_heartbeats: u32,
    /// When a peer without heartbeats was last probed.
    last_probe: Instant,
}

impl Link {
    /// Subscribes to a new inbox.
    pub(crate) async fn new(
        gate: Gate,
        role: Role,
        delivery: Option<Delivery>,
    ) -> Result<Self, Status> {
        let inbox = gate.new_inbox();
        let violations = gate.violations();
        let subscription = gate.subscribe(inbox.clone()).await.map_err(|error| {
            Status::unavailable(format!("cannot subscribe to an inbox: {error}"))
        })?;
        let mut heartbeats =
            tokio::time::interval_at(Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            gate,
            subscription,
            violations,
            inbox: Subject::from(inbox),
            peer: None,
            opens_at: None,
            mapping: Mapping::None,
            role,
            extension: false,
            outbound: Outbound::new(Credit::UNLIMITED),
            inbound: Inbound::default(),
            delivery,
            state: StreamState::default(),
            state_in_transit: None,
            state_is_stale: false,
            heartbeats,
            missed_heartbeats: 0,
            last_probe: Instant::now(),
        })
    }

    /// Waits for the next signal. No signal is lost if the future is dropped.
    pub(crate) async fn wait(&mut self) -> Signal {
        let reader = self.delivery.as_ref().filter(|_| !self.state.cancelled);
        // Not `biased`: a flood of messages must not delay the heartbeats.
        tokio::select! {
            message = self.subscription.next() => Signal::Message(message),
            signal = reader_signal(reader) => signal,
            Some(()) = state_sent(&mut self.state_in_transit) => Signal::StateSent,
            _ = self.heartbeats.tick() => Signal::Heartbeat,
            violation = self.violations.next() => Signal::Refused(violation),
        }
    }

    /// Does what a signal asks for; returns what it means for the call.
    pub(crate) async fn handle(&mut self, signal: Signal) -> Option<Event> {
        match signal {
            Signal::Message(Some(message)) => self.receive(message).await,
            Signal::Message(None) => Some(connection_closed()),
            Signal::Consumed => {
                self.send_state();
                None
            }
            Signal::StateSent => {
                self.state_in_transit = None;
                if std::mem::take(&mut self.state_is_stale) {
                    self.send_state();
                }
                None
            }
            Signal::ReaderDropped => {
                self.state.cancelled = true;
                if !self.inbound.is_closed() {
                    self.cancel().await;
                }
                Some(Event::ReaderDropped)
            }
            Signal::Heartbeat => self.heartbeat().await,
            Signal::Refused(violation) => self
                .is_concerned(&violation)
                .then(|| Event::PeerLost(violation.status())),
        }
    }

    /// Whether NATS refuses what this end sends, or does not let it receive.
    fn is_concerned(&self, violation: &Violation) -> bool {
        match violation.action {
            Action::Publish => {
                let peer = self.peer.as_ref().map(PeerSubject::subject);
                let mut sent_to = peer.into_iter().chain(&self.opens_at);
                sent_to.any(|subject| violation.is_publish_to(subject))
            }
            Action::Subscribe => *violation.subject == *self.inbox,
        }
    }

    async fn receive(&mut self, message: Message) -> Option<Event> {
        let received = wire::read(message);
        if let Received::NoResponders = received {
            // A peer with the extension may be reconnecting, and its heartbeats decide. To one without, a message is lost already.
            let is_lost = !self.extension || self.missed_heartbeats >= MAX_MISSED_WITHOUT_LISTENER;
            return is_lost.then_some(Event::NoListener);
        }
        self.missed_heartbeats = 0;
        if let Err(status) = self.check_mapping(&received).await {
            return Some(Event::PeerLost(status));
        }
        if let Role::Service { confirmation, .. } = &mut self.role {
            *confirmation = None;
        }
        match received {
            Received::NoResponders => None,
            Received::Messages(arrival, message) => match self.accept(arrival, &message.payload) {
                Ok(()) => Some(Event::Messages(message)),
                Err(status) => Some(self.fault(status).await),
            },
            Received::End {
                status,
                announced,
                message,
            } => match self
                .inbound
                .end(announced.filter(|_| self.delivery.is_some()))
            {
                Ok(true) => {
                    if let Some(delivery) = &self.delivery {
                        delivery.end(status.clone());
                    }
                    Some(Event::End(status, message))
                }
                Ok(false) => None,
                Err(fault) => Some(self.fault(fault.into()).await),
            },
            Received::Control(control) => {
                if let Err(status) = self.apply_control(&control) {
                    return Some(Event::PeerLost(status));
                }
                match self.inbound.check(control.sent, control.state.ended) {
                    Err(fault) if self.delivery.is_some() => Some(self.fault(fault.into()).await),
                    _ => Some(Event::Control(control)),
                }
            }
            Received::Response(message) => Some(Event::Response(message)),
            Received::Malformed(_) if self.inbound.is_closed() => None,
            Received::Malformed(what) => Some(self.fault(malformed(what)).await),
        }
    }

    /// Takes over what a control message announces: the inbox of the service, whether it speaks the extension, and its credit.
    fn apply_control(&mut self, control: &Control) -> Result<(), Status> {
        if let (Role::Caller, None, Some(inbox)) = (&self.role, &self.peer, &control.inbox) {
            let inbox = self.gate.peer_subject(inbox).map_err(|reason| {
                let inbox = inbox.escape_debug();
                Status::internal(format!(
                    "the service names `{inbox}` as its inbox: {reason}"
                ))
            })?;
            let reply = control.message.reply.as_ref();
            let mapped = reply
                .and_then(|reply| self.gate.reply_subject(reply).ok())
                .filter(PeerSubject::is_mapped);
            self.extension = control.confirmed;
            self.set_peer(mapped.unwrap_or(inbox));
            if self.extension {
                self.outbound = Outbound::new(Credit::default());
            }
            if self.mapping == Mapping::Unproven {
                self.send_state();
            }
        }
        if let Some(credit) = control.credit {
            self.outbound.grant(credit);
        }
        Ok(())
    }

    fn accept(&mut self, arrival: Arrival, payload: &Bytes) -> Result<(), Status> {
        let Some(delivery) = &self.delivery else {
            return Err(malformed("a message in a direction that has none"));
        };
        let granted = match (self.state.cancelled, self.extension) {
            (true, _) => Credit::UNLIMITED,
            (false, true) => delivery.granted(),
            (false, false) => PLAIN_WINDOW.after(delivery.consumed()),
        };
        match self.inbound.receive(arrival, granted) {
            Ok(true) => {
                let delivered = delivery.messages(payload, arrival.count);
                return delivered.map_err(|OutOfMemory| {
                    if let Role::Service { pressure, .. } = &self.role {
                        pressure.record_refusal();
                    }
                    Status::resource_exhausted(
                        "the service holds as many messages of streams as it may: they are read too slowly",
                    )
                });
            }
            Ok(false) => {
                tracing::debug!(inbox = %self.inbox, "a message after the end of a stream");
            }
            Err(Fault::Overrun) if !self.extension => {
                return Err(Status::resource_exhausted(
                    "the stream is read too slowly for a peer without flow control",
                ));
            }
            Err(fault) => return Err(fault.into()),
        }
        Ok(())
    }

    /// Delivers `status` to the reader as its last item, and asks the peer to stop.
    async fn fault(&mut self, status: Status) -> Event {
        self.inbound.close();
        if let Some(delivery) = &self.delivery {
            delivery.end(Some(status.clone()));
            self.cancel().await;
        }
        Event::Fault(status)
    }

    async fn heartbeat(&mut self) -> Option<Event> {
        // A message that has arrived while this task was not scheduled counts as received, and no heartbeat is missed.
        let event = match tokio::task::unconstrained(self.subscription.next()).now_or_never() {
            Some(Some(message)) => self.receive(message).await,
            Some(None) => Some(connection_closed()),
            None => self.miss_heartbeat(),
        };
        if self.extension {
            self.send_state();
        }
        event
    }

    /// Counts an own heartbeat without a message from the peer.
    fn miss_heartbeat(&mut self) -> Option<Event> {
        self.missed_heartbeats = self.missed_heartbeats.saturating_add(1);
        if self.extension && self.missed_heartbeats >= MAX_MISSED_HEARTBEATS {
            return Some(Event::PeerLost(Status::unavailable(
                "the other side of the stream sends no heartbeats any more",
            )));
        }
        let Role::Service { pressure, .. } = &self.role else {
            return None;
        };
        let max_idle = if pressure.is_high() && !self.extension {
            MAX_IDLE_HEARTBEATS_UNDER_PRESSURE
        } else {
            MAX_IDLE_HEARTBEATS
        };
        let sends = self.delivery.is_some() && !self.inbound.is_ended();
        // The NATS server reports nothing of a caller in another account.
        let is_unknown = self.mapping != Mapping::None && !self.extension;
        let is_idle = (sends || is_unknown) && self.missed_heartbeats >= max_idle;
        is_idle.then(|| {
            Event::PeerLost(Status::deadline_exceeded(format!(
                "the caller sent nothing for {:?}",
                HEARTBEAT_INTERVAL * max_idle
            )))
        })
    }

    /// Whether the next message has to be a probe: it is published with a reply subject, to which the NATS server reports a peer
    /// without a subscription. With the extension, heartbeats are probes. To another account there are none.
    pub(crate) fn start_probe_if_due(&mut self) -> bool {
        let is_due = !self.extension
            && self.mapping == Mapping::None
            && self.last_probe.elapsed() >= PROBE_INTERVAL;
        if is_due {
            self.last_probe = Instant::now();
            // From here on, a peer without a subscription is reported by the NATS server.
            self.missed_heartbeats = 0;
        }
        is_due
    }

    /// Waits for the end of the peer's messages, or until the peer is lost.
    pub(crate) async fn wait_for_end(&mut self) {
        while !self.inbound.is_ended() {
            let signal = self.wait().await;
            if let Some(Event::PeerLost(_) | Event::NoListener) = self.handle(signal).await {
                return;
            }
        }
    }

    /// Whether the NATS server has reported that the peer has no subscription to what was sent last. A message to the own inbox, which the
    /// NATS server handles after that one, ends the wait.
    pub(crate) async fn has_no_listener(&mut self, timeout: Duration) -> bool {
        let echo = Outgoing::to_own(self.inbox.clone());
        let sent = self.gate.publish(Lane::Reply, echo);
        let mut is_reported = false;
        let answered = async {
            if sent.await.is_err() {
                return;
            }
            loop {
                let signal = self.wait().await;
                if let Signal::Refused(violation) = &signal
                    && violation.is_publish_to(&self.inbox)
                {
                    return;
                }
                match self.handle(signal).await {
                    Some(Event::NoListener) => is_reported = true,
                    Some(Event::Response(_)) => return,
                    Some(Event::PeerLost(_)) => {
                        is_reported = false;
                        return;
                    }
                    _ => {}
                }
            }
        };
        // Without an answer, the connection may not publish to itself, and what was reported until then counts.
        let _ = tokio::time::timeout(timeout, answered).await;
        is_reported
    }
}

fn connection_closed() -> Event {
    Event::PeerLost(Status::unavailable("the connection to NATS is closed"))
}

async fn state_sent(state_in_transit: &mut Option<Publishing>) -> Option<()> {
    // A state that is not sent is repeated with the next heartbeat.
    let _ = state_in_transit.as_mut()?.await;
    Some(())
}

/// What the reader of a delivery has done; pending if there is no reader.
async fn reader_signal(reader: Option<&Delivery>) -> Signal {
    let Some(reader) = reader else {
        return std::future::pending().await;
    };
    tokio::select! {
        () = reader.consumption_reported() => Signal::Consumed,
        () = reader.reader_dropped() => Signal::ReaderDropped,
    }
}

pub(crate) fn malformed(what: &str) -> Status {
    Status::internal(format!("the other side of the stream sent {what}"))
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Gap { expected, got } => Self::data_loss(format!(
                "messages of the stream are lost: number {got} arrived instead of {expected}"
            )),
            Fault::Repeated { number } => {
                Self::data_loss(format!("message {number} of the stream arrived twice"))
            }
            Fault::Truncated {
                announced,
                received,
            } => Self::data_loss(format!(
                "messages of the stream are lost: {received} of {announced} arrived"
            )),
            Fault::EndLost => Self::data_loss("the end of the stream is lost"),
            Fault::Overrun => Self::resource_exhausted(
                "the other side of the stream sent more than it was granted",
            ),
        }
    }
}
