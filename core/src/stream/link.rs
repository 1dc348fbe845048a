//! One end of a stream on NATS: its inbox, the other end, and what both have agreed on.

use std::time::Duration;

use async_nats::{HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::status::Status;
use crate::stream::delivery::Delivery;
use crate::stream::flow::{Arrival, Credit, Fault, Inbound, Outbound, PLAIN_WINDOW};
use crate::stream::wire;
use crate::stream::wire::{Control, Received, Said};
use crate::transport::subject;

/// How often each end tells the other that it is there.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);
/// After how many heartbeats without one from the other end it is taken for dead. It is these that are counted and not the time,
/// which passes as well while this process, and what it would have heard, waits for a CPU.
const DEAD: u32 = 3;
/// The same if the NATS server says that nobody listens: time for a connection to come back.
const DEAD_WITHOUT_LISTENER: u32 = 2;
/// After how many of its own heartbeats a service gives up a silent caller that has none.
const IDLE: u32 = 5 * 60;
/// How often a peer without heartbeats is asked if it listens, by a reply subject on a message.
const PROBE: Duration = Duration::from_secs(1);

/// Something that a link leaves to whoever runs it.
#[derive(Debug)]
pub(crate) enum Event {
    Control(Control),
    /// Messages have arrived, and are delivered.
    Messages(Message),
    /// The other end has sent all it had; an error is delivered.
    End(Option<Status>, Message),
    Response(Message),
    /// What arrived is not what should have; the reader knows, and nothing more is read.
    Fault(Status),
    /// The reader is gone, and the other end was told.
    Unread,
    /// Nobody listens at the other end.
    Unheard,
    /// There is no other end any more, or no connection to it.
    Gone(Status),
}

/// What [`Link::wait`] has waited for.
pub(crate) enum Signal {
    Message(Option<Message>),
    Consumed,
    Unread,
    Told,
    Tick,
}

/// Whose end it is.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Service {
        /// What confirms the extension, as long as nothing shows that the caller has got it.
        confirmation: Option<HeaderMap>,
    },
    Caller,
}

/// One end of a stream.
pub(crate) struct Link {
    pub(crate) nats: async_nats::Client,
    inbox: Subscriber,
    pub(crate) own: Subject,
    /// Where messages go; unknown until the service has told.
    pub(crate) peer: Option<Subject>,
    pub(crate) role: Role,
    /// Both ends speak the extension.
    pub(crate) extension: bool,
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
    /// Where messages are delivered, in a direction that has any.
    pub(crate) delivery: Option<Delivery>,
    pub(crate) said: Said,
    /// What was said last, while the connection does not take it; and whether there is more to say by now.
    pub(crate) telling: Option<BoxFuture<'static, ()>>,
    pub(crate) tell_again: bool,
    tick: Interval,
    /// How many heartbeats ago something was heard.
    silence: u32,
    /// When a peer without heartbeats was last asked if it listens.
    probed: Instant,
}

impl Link {
    /// Subscribes to an inbox of its own.
    pub(crate) async fn new(
        nats: async_nats::Client,
        role: Role,
        delivery: Option<Delivery>,
    ) -> Result<Self, Status> {
        let own = Subject::from(nats.new_inbox());
        let inbox = nats.subscribe(own.clone()).await.map_err(|error| {
            Status::unavailable(format!("cannot subscribe to an inbox: {error}"))
        })?;
        let mut tick = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            nats,
            inbox,
            own,
            peer: None,
            role,
            extension: false,
            outbound: Outbound::new(Credit::UNLIMITED),
            inbound: Inbound::default(),
            delivery,
            said: Said::default(),
            telling: None,
            tell_again: false,
            tick,
            silence: 0,
            probed: Instant::now(),
        })
    }

    /// Waits for what comes next. Nothing is lost if it is dropped.
    pub(crate) async fn wait(&mut self) -> Signal {
        let reader = self.delivery.as_ref().filter(|_| !self.said.cancelled);
        // In no fixed order: a flood of messages must not keep the heartbeats from going out.
        tokio::select! {
            message = self.inbox.next() => Signal::Message(message),
            signal = of_reader(reader) => signal,
            Some(()) = of_telling(&mut self.telling) => Signal::Told,
            _ = self.tick.tick() => Signal::Tick,
        }
    }

    /// Does what has to be done, and says what follows from it for the call.
    pub(crate) async fn handle(&mut self, signal: Signal) -> Option<Event> {
        match signal {
            Signal::Message(Some(message)) => self.receive(message).await,
            Signal::Message(None) => Some(closed()),
            Signal::Consumed => {
                self.tell_state();
                None
            }
            Signal::Told => {
                self.telling = None;
                if std::mem::take(&mut self.tell_again) {
                    self.tell_state();
                }
                None
            }
            Signal::Unread => {
                self.said.cancelled = true;
                if !self.inbound.is_closed() {
                    self.cancel().await;
                }
                Some(Event::Unread)
            }
            Signal::Tick => self.tick().await,
        }
    }

    async fn receive(&mut self, message: Message) -> Option<Event> {
        let received = wire::read(message);
        if let Received::NoResponders = received {
            // A peer of ours may be reconnecting. Others are only asked when something was sent to them, which is lost then.
            let is_gone = !self.extension || self.silence >= DEAD_WITHOUT_LISTENER;
            return is_gone.then_some(Event::Unheard);
        }
        self.silence = 0;
        if let Role::Service { confirmation } = &mut self.role {
            *confirmation = None;
        }
        match received {
            Received::NoResponders => None,
            Received::Messages(arrival, message) => {
                match self.accept(arrival, message.payload.clone()) {
                    Ok(()) => Some(Event::Messages(message)),
                    Err(status) => Some(self.fault(status).await),
                }
            }
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
                if let Err(status) = self.learn(&control) {
                    return Some(Event::Gone(status));
                }
                match self.inbound.check(control.sent, control.said.ended) {
                    Err(fault) if self.delivery.is_some() => Some(self.fault(fault.into()).await),
                    _ => Some(Event::Control(control)),
                }
            }
            Received::Response(message) => Some(Event::Response(message)),
            Received::Malformed(_) if self.inbound.is_closed() => None,
            Received::Malformed(what) => Some(self.fault(malformed(what)).await),
        }
    }

    /// Where the service receives, whether it speaks the extension, and what it grants.
    fn learn(&mut self, control: &Control) -> Result<(), Status> {
        if let (Role::Caller, None, Some(inbox)) = (&self.role, &self.peer, &control.inbox) {
            if !subject::is_receiver(inbox) {
                return Err(Status::internal(format!(
                    "the service names `{}` as its inbox, which cannot be one",
                    inbox.escape_debug()
                )));
            }
            self.peer = Some(inbox.clone());
            self.extension = control.confirmed;
            if self.extension {
                self.outbound = Outbound::new(Credit::default());
            }
        }
        if let Some(credit) = control.credit {
            self.outbound.grant(credit);
        }
        Ok(())
    }

    fn accept(&mut self, arrival: Arrival, payload: Bytes) -> Result<(), Status> {
        let Some(delivery) = &self.delivery else {
            return Err(malformed("a message in a direction that has none"));
        };
        let granted = match (self.said.cancelled, self.extension) {
            (true, _) => Credit::UNLIMITED,
            (false, true) => delivery.granted(),
            (false, false) => PLAIN_WINDOW.after(delivery.taken()),
        };
        match self.inbound.receive(arrival, granted) {
            Ok(true) => delivery.messages(payload, arrival.count),
            Ok(false) => tracing::debug!(inbox = %self.own, "a message after the end of a stream"),
            Err(Fault::Overrun) if !self.extension => {
                return Err(Status::resource_exhausted(
                    "the stream is read too slowly for a peer without flow control",
                ));
            }
            Err(fault) => return Err(fault.into()),
        }
        Ok(())
    }

    /// The reader gets `status` as its last item, and the other end is told to stop.
    async fn fault(&mut self, status: Status) -> Event {
        self.inbound.close();
        if let Some(delivery) = &self.delivery {
            delivery.end(Some(status.clone()));
            self.cancel().await;
        }
        Event::Fault(status)
    }

    async fn tick(&mut self) -> Option<Event> {
        // If this task was not run for long, what it has not yet seen counts.
        let event = match tokio::task::unconstrained(self.inbox.next()).now_or_never() {
            Some(Some(message)) => self.receive(message).await,
            Some(None) => Some(closed()),
            None => self.miss(),
        };
        if self.extension {
            self.tell_state();
        }
        event
    }

    /// A heartbeat without one from the other end.
    fn miss(&mut self) -> Option<Event> {
        self.silence = self.silence.saturating_add(1);
        if self.extension && self.silence >= DEAD {
            return Some(Event::Gone(Status::unavailable(
                "the other side of the stream has fallen silent",
            )));
        }
        let is_idle = matches!(self.role, Role::Service { .. })
            && self.delivery.is_some()
            && !self.inbound.is_ended()
            && self.silence >= IDLE;
        is_idle.then(|| {
            Event::Gone(Status::deadline_exceeded(format!(
                "the caller sent nothing for {:?}",
                HEARTBEAT * IDLE
            )))
        })
    }

    /// Whether to send the next message with a reply subject, to hear if nobody receives it. Heartbeats do that otherwise.
    pub(crate) fn probe(&mut self) -> bool {
        let is_due = !self.extension && self.probed.elapsed() >= PROBE;
        if is_due {
            self.probed = Instant::now();
            // If it is not received, the NATS server says so.
            self.silence = 0;
        }
        is_due
    }

    /// Waits until the other end has sent all it had, or is gone.
    pub(crate) async fn until_end(&mut self) {
        while !self.inbound.is_ended() {
            let signal = self.wait().await;
            if let Some(Event::Gone(_) | Event::Unheard) = self.handle(signal).await {
                return;
            }
        }
    }

    /// Whether the NATS server says within this time that nobody received what was sent.
    pub(crate) async fn is_unheard(&mut self, within: Duration) -> bool {
        let answer = async {
            loop {
                let signal = self.wait().await;
                match self.handle(signal).await {
                    Some(Event::Unheard) => return true,
                    Some(Event::Gone(_)) => return false,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(within, answer).await.unwrap_or(false)
    }
}

fn closed() -> Event {
    Event::Gone(Status::unavailable("the connection to NATS is closed"))
}

async fn of_telling(telling: &mut Option<BoxFuture<'static, ()>>) -> Option<()> {
    telling.as_mut()?.await;
    Some(())
}

/// What the reader does.
async fn of_reader(reader: Option<&Delivery>) -> Signal {
    let Some(reader) = reader else {
        return std::future::pending().await;
    };
    tokio::select! {
        () = reader.consumed() => Signal::Consumed,
        () = reader.unread() => Signal::Unread,
    }
}

pub(crate) fn malformed(what: &str) -> Status {
    Status::internal(format!("the other side of the stream sent {what}"))
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Gap { expected, got } => Self::data_loss(format!(
                "messages of the stream are lost: number {got} came instead of {expected}"
            )),
            Fault::Repeated { number } => {
                Self::data_loss(format!("message {number} of the stream came twice"))
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
