//! Takes the requests of one endpoint off its subscription and runs them.

pub(crate) mod calls;
pub(crate) mod reply;
pub(crate) mod stream;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_nats::{Message, Subject, Subscriber};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::server::call::{Body, Handled};
use crate::server::dispatch::calls::{Calls, Waiting};
use crate::server::dispatch::reply::{Responder, Rest};
use crate::server::endpoint::Endpoint;
use crate::server::router::Handler;
use crate::status::Status;
use crate::transport::connection;

/// How many calls are started between two looks at what has arrived, and how many requests are taken over at one look.
const SHARE: usize = 64;
const TAKEN: usize = 4_096;

/// How often it is looked for calls that are out of time while they wait for room in the queue of writes.
const LOOK: Duration = Duration::from_millis(50);

/// How long an endpoint whose server was dropped looks for requests that were sent to it before.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a server is on its way down. Later phases include the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// Requests are taken.
    Running,
    /// The endpoints leave their queue groups, and still answer what the server sent before it knew.
    Leaving,
    /// Everything that was sent has arrived: what waits is answered, nothing new comes.
    Draining,
    /// Time is up: calls that still run are dropped, and their callers are told.
    Ended,
}

/// The loop of one endpoint.
pub(crate) struct Dispatcher {
    pub(crate) responder: Arc<Responder>,
    pub(crate) handler: Handler,
    pub(crate) requests: Subscriber,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Dropped when the endpoint has left its queue group; nothing is ever sent.
    pub(crate) staying: Option<mpsc::Sender<Infallible>>,
    /// How long streams go on after the server was dropped.
    pub(crate) drain_timeout: Duration,
    /// The calls that run or wait, for the report of a stop that took too long.
    pub(crate) unfinished: Arc<AtomicUsize>,
}

/// A request that has got its turn. Gives what is left to be done when the user's code is done. A type and no `async` block, so that
/// a call costs one allocation: that of the pipeline.
enum Serving {
    Unary {
        handled: BoxFuture<'static, Handled>,
        reply: Option<Subject>,
        received: Instant,
        responder: Arc<Responder>,
    },
    Stream(BoxFuture<'static, ()>),
}

impl Future for Serving {
    type Output = Option<Rest>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Rest>> {
        match &mut *self {
            Self::Unary {
                handled,
                reply,
                received,
                responder,
            } => {
                let handled = ready!(handled.as_mut().poll(cx));
                Poll::Ready(responder.settle(reply.take(), handled, *received))
            }
            Self::Stream(stream) => {
                ready!(stream.as_mut().poll(cx));
                Poll::Ready(None)
            }
        }
    }
}

impl Dispatcher {
    fn endpoint(&self) -> &Endpoint {
        &self.responder.endpoint
    }

    fn serve_unary(&self, message: Message, received: Instant, started: Instant) -> Serving {
        let body = Body::Message(message.payload);
        let request =
            self.responder
                .request(message.subject, message.headers, body, received, started);
        Serving::Unary {
            handled: (self.handler)(Arc::clone(&self.responder.endpoint), request),
            reply: message.reply,
            received,
            responder: Arc::clone(&self.responder),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut calls = Calls::new();
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                changed = self.phase.changed() => {
                    let phase = *self.phase.borrow_and_update();
                    if changed.is_err() {
                        self.abandon(calls).await;
                        return;
                    }
                    match phase {
                        Phase::Running => {}
                        Phase::Leaving => self.leave().await,
                        Phase::Draining => {
                            self.take_arrived(&mut calls, usize::MAX).await;
                            open = false;
                            if let Err(error) = self.requests.unsubscribe().await {
                                tracing::debug!(endpoint = self.endpoint().subject, %error, "the connection is closed");
                            }
                        }
                        Phase::Ended => {
                            self.end(calls).await;
                            return;
                        }
                    }
                }
                Some(_) = calls.running.join_next(), if !calls.running.is_empty() => {}
                Some(()) = calls.ending.next(), if !calls.ending.is_empty() => {}
                // Between two shares of what waits, the connection and everything else get their turn.
                () = tokio::task::yield_now(), if self.can_start(&calls) => {}
                () = self.responder.endpoint.stores.room(), if self.waits_for_room(&calls) => {}
                () = tokio::time::sleep_until(calls.next_look), if self.waits_for_room(&calls) => {
                    self.start_expired(&mut calls);
                }
                message = self.requests.next(), if open => {
                    if let Some(message) = message {
                        self.accept(message, Instant::now(), &mut calls).await;
                    } else {
                        tracing::warn!(endpoint = self.endpoint().subject, "the connection is closed: no more requests");
                        open = false;
                    }
                }
            }
            if open {
                self.take_arrived(&mut calls, TAKEN).await;
            }
            self.run_share(&mut calls);
            self.unfinished.store(calls.open(), Ordering::Relaxed);
            if !open && calls.open() == 0 {
                return;
            }
        }
    }

    /// Takes over what has arrived. async-nats holds a number of messages that this crate does not choose, and then drops them
    /// in silence; here they are counted, and refused if there are too many.
    async fn take_arrived(&mut self, calls: &mut Calls, most: usize) {
        let now = Instant::now();
        for _ in 0..most {
            let Some(message) = self.arrived() else {
                break;
            };
            self.accept(message, now, calls).await;
        }
    }

    /// Lets a request wait for its turn, or refuses it.
    async fn accept(&self, message: Message, received: Instant, calls: &mut Calls) {
        match self.overload(&message, calls) {
            None => calls.wait(message, received),
            Some(status) => self.refuse(&message, status).await,
        }
    }

    /// Why a request cannot wait for its turn.
    fn overload(&self, message: &Message, calls: &mut Calls) -> Option<Status> {
        let settings = &self.endpoint().settings;
        if settings.kind.is_streaming() {
            calls.join();
            if calls.open() >= settings.max_in_flight() {
                // Streams may live for ever: one that had to wait for another would never be answered.
                let text = "too many streams are open on this endpoint";
                return Some(Status::resource_exhausted(text));
            }
        }
        if !calls.has_place(message) {
            let text = "too many calls are waiting for this endpoint";
            return Some(Status::resource_exhausted(text));
        }
        None
    }

    fn can_start(&self, calls: &Calls) -> bool {
        self.may_start(calls) && self.endpoint().stores.have_room()
    }

    /// Calls that are out of time do not wait for room: they are started to be answered with that.
    fn start_expired(&self, calls: &mut Calls) {
        let mut now = Instant::now();
        let is_expired = |Waiting(message, received): &Waiting| {
            let headers = message.headers.as_ref();
            let deadline = self.endpoint().deadline(*received, now, headers);
            deadline.is_some_and(|deadline| deadline <= now)
        };
        for Waiting(message, received) in calls.take_waiting(is_expired) {
            self.start(message, received, &mut now, calls);
        }
        calls.next_look = now + LOOK;
    }

    fn waits_for_room(&self, calls: &Calls) -> bool {
        self.may_start(calls) && !self.endpoint().stores.have_room()
    }

    fn may_start(&self, calls: &Calls) -> bool {
        !calls.waiting.is_empty() && calls.in_flight() < self.endpoint().settings.max_in_flight()
    }

    /// Starts some of what waits, as far as `max_in_flight` and the queues of writes allow.
    fn run_share(&self, calls: &mut Calls) {
        calls.join();
        let mut now = Instant::now();
        for _ in 0..SHARE {
            if !self.can_start(calls) {
                break;
            }
            let Some(Waiting(message, received)) = calls.next_waiting() else {
                break;
            };
            self.start(message, received, &mut now, calls);
        }
    }

    /// Polls a handler once in place, since most complete at once and a task costs more than they do. One that waits moves to
    /// a task. `now` is when the call before it ended.
    fn start(&self, message: Message, received: Instant, now: &mut Instant, calls: &mut Calls) {
        let caller = self.responder.caller(&message);
        let serving = match &caller.stream {
            Some(stream) => Serving::Stream(Box::pin(stream::serve(
                Arc::clone(&self.responder),
                Arc::clone(&self.handler),
                message,
                stream.clone(),
                received,
                *now,
            ))),
            None => self.serve_unary(message, received, *now),
        };
        // The handler's own panics are caught where it is run; what it leaves behind may panic when it is dropped.
        let mut call = AssertUnwindSafe(serving).catch_unwind();
        let mut polled = Poll::Pending;
        if !calls.spawns_next() {
            polled = call.poll_unpin(&mut Context::from_waker(Waker::noop()));
            let begun = std::mem::replace(now, Instant::now());
            calls.ran_in_place(*now - begun);
            polled = match polled {
                Poll::Ready(Ok(None)) => return,
                Poll::Ready(Ok(Some(rest))) => {
                    calls.end(caller, rest, Arc::clone(&self.responder));
                    return;
                }
                waits_or_panicked => waits_or_panicked,
            };
        }
        let responder = Arc::clone(&self.responder);
        let phase = self.phase.clone();
        let drain_timeout = self.drain_timeout;
        calls.running.spawn(async move {
            let mut end = phase.clone();
            let ended = async {
                if end.wait_for(|phase| *phase == Phase::Ended).await.is_err() {
                    // The server was dropped without a stop: accepted calls go on. Streams might do so for ever.
                    if !responder.endpoint.settings.kind.is_streaming() {
                        std::future::pending::<()>().await;
                    }
                    tokio::time::sleep(drain_timeout).await;
                }
            };
            // By reference: a future that is handed on by value is in the task once more.
            let done = tokio::select! {
                biased;
                done = whole(&mut call, polled) => Some(done),
                () = ended => None,
            };
            // Before the caller is answered in place of the handler.
            drop(call);
            let refused = match done {
                Some(Ok(())) => None,
                Some(Err(panic)) => Some(responder.endpoint.panicked(panic.as_ref())),
                None => Some(stopping()),
            };
            // What few calls need has a place of its own: the task is copied several times until it runs.
            if let Some(status) = refused {
                Box::pin(responder.refuse(caller, status)).await;
            }
            if phase.has_changed().is_err() {
                Box::pin(responder.flush()).await;
            }
        });
    }

    /// Leaves the queue group, and keeps receiving what the server has sent already.
    ///
    /// nats-server reads a limit of more than nine digits as "at once", while async-nats keeps the subscription for that many
    /// messages. A plain unsubscribe makes async-nats forget the subscription, and drop requests that are on their way.
    async fn leave(&mut self) {
        if let Err(error) = self.requests.unsubscribe_after(u64::MAX).await {
            tracing::debug!(endpoint = self.endpoint().subject, %error, "the connection is closed");
        }
        self.staying = None;
    }

    /// A request that has arrived already. A plain poll says that there is none when the task has used up its share of
    /// tokio's time.
    fn arrived(&mut self) -> Option<Message> {
        tokio::task::unconstrained(self.requests.next())
            .now_or_never()
            .flatten()
    }

    /// The server was dropped without a stop: running calls go on by themselves. What waits is refused, and so is what the
    /// server sent before it knew.
    async fn abandon(mut self, mut calls: Calls) {
        calls.running.detach_all();
        let (ending, responder) = (
            std::mem::take(&mut calls.ending),
            Arc::clone(&self.responder),
        );
        tokio::spawn(async move {
            ending.collect::<()>().await;
            responder.flush().await;
        });
        self.leave().await;
        self.refuse_waiting(calls).await;
        let nats = self.responder.nats.clone();
        let mut left = std::pin::pin!(connection::round_trip(&nats, LEAVE_TIMEOUT));
        loop {
            tokio::select! {
                Some(message) = self.requests.next() => {
                    self.refuse(&message, stopping()).await;
                }
                _ = &mut left => break,
            }
        }
        self.refuse_arrived().await;
        self.responder.flush().await;
    }

    /// The drain time is over. What ran and waited at that moment is counted already.
    async fn end(mut self, mut calls: Calls) {
        // The tasks see the same phase, and tell their callers.
        while calls.running.join_next().await.is_some() {}
        for call in std::mem::take(&mut calls.ending) {
            self.responder.refuse(call.caller, stopping()).await;
        }
        self.refuse_waiting(calls).await;
        let arrived = self.refuse_arrived().await;
        self.unfinished.fetch_add(arrived, Ordering::Relaxed);
    }

    async fn refuse_waiting(&self, calls: Calls) {
        for Waiting(message, _) in calls.waiting {
            self.refuse(&message, stopping()).await;
        }
    }

    async fn refuse(&self, message: &Message, status: Status) {
        let caller = self.responder.caller(message);
        self.responder.refuse(caller, status).await;
    }

    /// Refuses what nobody has looked at yet; says how much it was.
    async fn refuse_arrived(&mut self) -> usize {
        let mut refused = 0;
        while let Some(message) = self.arrived() {
            self.refuse(&message, stopping()).await;
            refused += 1;
        }
        refused
    }
}

/// A call with its handler and what is left after that. `polled` is what a first poll has given.
async fn whole(
    call: &mut (impl Future<Output = std::thread::Result<Option<Rest>>> + Unpin),
    polled: Poll<std::thread::Result<Option<Rest>>>,
) -> std::thread::Result<()> {
    let done = match polled {
        Poll::Ready(done) => done,
        Poll::Pending => call.await,
    };
    match done? {
        Some(rest) => AssertUnwindSafe(rest).catch_unwind().await,
        None => Ok(()),
    }
}

fn stopping() -> Status {
    Status::unavailable("the service is stopping")
}
