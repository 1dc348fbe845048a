//! The dispatcher of an endpoint: the task that takes requests off its subscription, queues them, and runs them in their turn.
//!
//! Uses `server::call` as a function from a request to a reply; subscriptions, reply subjects and streams on NATS exist only here.
//! Every request that reaches the subscription is answered: by its handler, or refused with the reason. At most `max_in_flight` calls
//! run, and no handler starts while the queues of writes of its endpoint are full.

pub(crate) mod calls;
pub(crate) mod reply;
pub(crate) mod stream;

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::future::{BoxFuture, CatchUnwind};
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::middleware::body::Body;
use crate::server::call::Handled;
use crate::server::dispatch::calls::{Calls, Waiting};
use crate::server::dispatch::reply::{Caller, Failure, PendingReply, Responder};
use crate::server::endpoint::Endpoint;
use crate::server::router::Handler;
use crate::status::Status;
use crate::transport::round_trip::round_trip;
use crate::transport::subject::PeerSubject;

/// The bounds of one turn of the dispatcher's loop: how many calls it starts, and how many requests it moves from the subscription to its
/// queue. They let other tasks of the thread run in between.
const MAX_STARTS_PER_TURN: usize = 64;
const MAX_ACCEPTED_PER_TURN: usize = 4_096;

/// The interval at which the deadlines of queued calls are checked while the queues of writes are full.
const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// How long an endpoint whose server was dropped without a stop waits for requests in transit, to refuse them.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The phases of a server's shutdown. A later phase implies the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// Requests are taken.
    Running,
    /// The endpoints leave their queue groups, and still accept the requests that the NATS server had sent before.
    Leaving,
    /// All requests have arrived: the queued ones are answered, and no new ones are accepted.
    Draining,
    /// The drain time is over: calls that still run are dropped, and their callers get `UNAVAILABLE`.
    Ended,
}

/// The dispatcher of one endpoint.
///
/// Invariants: `requests` stays subscribed until all requests in transit have arrived. `queue_group_guard` is dropped only after the
/// endpoint has left its queue group. `unfinished` is updated after each turn of the loop.
pub(crate) struct Dispatcher {
    pub(crate) responder: Arc<Responder>,
    pub(crate) handler: Handler,
    pub(crate) requests: Subscriber,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Held while the endpoint is in its queue group; nothing is ever sent. The server waits until all guards are dropped.
    pub(crate) queue_group_guard: Option<mpsc::Sender<Infallible>>,
    /// How long streams continue after the server was dropped without a stop.
    pub(crate) drain_timeout: Duration,
    /// The number of calls that run or wait, for the report of a stop whose drain time is over.
    pub(crate) unfinished: Arc<AtomicUsize>,
}

/// A started call. Its output is the pending reply, if the reply waits for writes or for the connection. It is a type and not an
/// `async` block, so that a call needs one allocation, that of the pipeline.
enum Serving {
    Unary {
        handled: BoxFuture<'static, Handled>,
        reply: Option<PeerSubject>,
        received: Instant,
        responder: Arc<Responder>,
    },
    Stream(BoxFuture<'static, ()>),
}

/// A started call whose panics are caught. The pipeline catches those of the handler; a destructor of the user may panic later.
type StartedCall = CatchUnwind<AssertUnwindSafe<Serving>>;

/// The output of a [`StartedCall`].
type Outcome = std::thread::Result<Option<PendingReply>>;

impl Future for Serving {
    type Output = Option<PendingReply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PendingReply>> {
        match &mut *self {
            Self::Unary {
                handled,
                reply,
                received,
                responder,
            } => {
                let handled = ready!(handled.as_mut().poll(cx));
                Poll::Ready(responder.finish(reply.take(), handled, *received))
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

    fn serve_unary(
        &self,
        message: Message,
        reply: Option<PeerSubject>,
        received: Instant,
        started: Instant,
    ) -> Serving {
        let body = Body::Message(message.payload);
        let request =
            self.responder
                .request(message.subject, message.headers, body, received, started);
        Serving::Unary {
            handled: (self.handler)(Arc::clone(&self.responder.endpoint), request),
            reply,
            received,
            responder: Arc::clone(&self.responder),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut calls = Calls::new();
        let mut open = true;
        // Whether the requests have ended by themselves.
        let mut is_cut_off = false;
        loop {
            tokio::select! {
                biased;
                changed = self.phase.changed() => {
                    let phase = *self.phase.borrow_and_update();
                    if changed.is_err() {
                        self.drain_detached(calls).await;
                        return;
                    }
                    match phase {
                        Phase::Running => {}
                        Phase::Leaving => self.leave_queue_group().await,
                        Phase::Draining => {
                            self.stop_accepting(&mut calls).await;
                            open = false;
                        }
                        Phase::Ended => {
                            self.drop_unfinished(calls).await;
                            return;
                        }
                    }
                }
                Some(_) = calls.running.join_next(), if !calls.running.is_empty() => {}
                Some(()) = calls.replying.next(), if !calls.replying.is_empty() => {}
                // Lets the connection and other tasks run between two turns of the loop.
                () = tokio::task::yield_now(), if self.can_start(&calls) => {}
                () = self.responder.endpoint.stores.room(), if self.waits_for_room(&calls) => {}
                () = tokio::time::sleep_until(calls.next_expiry_check), if self.waits_for_room(&calls) => {
                    self.answer_expired(&mut calls);
                }
                message = self.requests.next(), if open => {
                    if let Some(message) = message {
                        self.accept(message, Instant::now(), &mut calls);
                    } else {
                        is_cut_off = true;
                    }
                }
            }
            if open && !is_cut_off {
                is_cut_off = self
                    .accept_arrived(&mut calls, MAX_ACCEPTED_PER_TURN)
                    .is_break();
            }
            if open && is_cut_off {
                tracing::debug!(
                    endpoint = self.endpoint().subject,
                    "the connection is closed: no more requests"
                );
                open = false;
            }
            self.start_waiting(&mut calls);
            if is_cut_off && self.responder.gate.is_closed() {
                // Those that have ended meanwhile were not answered either.
                self.unfinished.fetch_max(calls.open(), Ordering::Relaxed);
            } else {
                self.unfinished.store(calls.open(), Ordering::Relaxed);
            }
            if !open && calls.open() == 0 {
                return;
            }
        }
    }

    /// Moves requests from the subscription to the queue. A full subscription of async-nats drops messages without an error; the queue
    /// refuses them, and counts those whose refusal finds no room either. Breaks at the end of the subscription.
    fn accept_arrived(&mut self, calls: &mut Calls, max: usize) -> ControlFlow<()> {
        let now = Instant::now();
        for _ in 0..max {
            let Some(message) = self.arrived()? else {
                break;
            };
            self.accept(message, now, calls);
        }
        ControlFlow::Continue(())
    }

    /// Accepts the requests that have arrived, and ends the subscription.
    async fn stop_accepting(&mut self, calls: &mut Calls) {
        let now = Instant::now();
        while let Some(message) = self.next_arrived() {
            self.accept(message, now, calls);
        }
        if let Err(error) = self.requests.unsubscribe().await {
            tracing::debug!(endpoint = self.endpoint().subject, %error, "the connection is closed");
        }
    }

    /// Queues a request, or refuses it.
    fn accept(&self, message: Message, received: Instant, calls: &mut Calls) {
        let settings = &self.endpoint().settings;
        if settings.id.kind.is_streaming() {
            calls.reap_finished();
            if calls.open() >= settings.max_in_flight() {
                // Streams are not queued: the open ones may never end.
                self.responder.pressure.record_refusal();
                let text = "too many streams are open on this endpoint";
                self.refuse(&message, Status::resource_exhausted(text));
                return;
            }
        }
        let starts_soon = calls.waiting.len() < MAX_STARTS_PER_TURN
            && calls.open() < settings.max_in_flight()
            && self.endpoint().stores.have_room();
        let charge = if starts_soon {
            None
        } else {
            let charge = calls.reserve(&message, &self.responder.memory.waiting);
            if charge.is_none() {
                let text = "too many calls are waiting for this endpoint";
                self.refuse(&message, Status::resource_exhausted(text));
                return;
            }
            charge
        };
        calls.enqueue(message, received, charge);
    }

    fn can_start(&self, calls: &Calls) -> bool {
        self.may_start(calls) && self.endpoint().stores.have_room()
    }

    /// Starts the calls whose deadlines have passed while they waited for room in the queues of writes. The pipeline answers them with
    /// `DEADLINE_EXCEEDED` and needs no room for that.
    fn answer_expired(&self, calls: &mut Calls) {
        let mut now = Instant::now();
        let is_expired = |Waiting {
                              message, received, ..
                          }: &Waiting| {
            let headers = message.headers.as_ref();
            let deadline = self.endpoint().deadline(*received, now, headers);
            deadline.is_some_and(|deadline| deadline <= now)
        };
        for Waiting {
            message, received, ..
        } in calls.take_waiting(is_expired)
        {
            self.start(message, received, &mut now, calls);
        }
        calls.next_expiry_check = now + EXPIRY_CHECK_INTERVAL;
    }

    fn waits_for_room(&self, calls: &Calls) -> bool {
        self.may_start(calls) && !self.endpoint().stores.have_room()
    }

    fn may_start(&self, calls: &Calls) -> bool {
        !calls.waiting.is_empty() && calls.in_flight() < self.endpoint().settings.max_in_flight()
    }

    /// Starts the waiting calls of one turn, as far as `max_in_flight` and the queues of writes allow.
    fn start_waiting(&self, calls: &mut Calls) {
        calls.reap_finished();
        let mut now = Instant::now();
        for _ in 0..MAX_STARTS_PER_TURN {
            if !self.can_start(calls) {
                break;
            }
            let Some(Waiting {
                message, received, ..
            }) = calls.dequeue()
            else {
                break;
            };
            self.start(message, received, &mut now, calls);
        }
    }

    /// Starts a call. It is polled once in place, since most handlers complete in one poll, and a task costs more than that. A call
    /// that is pending then moves to a task. `now` is when the first poll of the previous call ended.
    fn start(&self, message: Message, received: Instant, now: &mut Instant, calls: &mut Calls) {
        let Some(caller) = self.responder.caller(&message) else {
            return;
        };
        let serving = match &caller.stream {
            Some(stream) => Serving::Stream(Box::pin(stream::serve(
                Arc::clone(&self.responder),
                Arc::clone(&self.handler),
                message,
                caller.clone(),
                stream.clone(),
                received,
                *now,
            ))),
            None => self.serve_unary(message, caller.reply.clone(), received, *now),
        };
        let mut call = AssertUnwindSafe(serving).catch_unwind();
        let mut polled = Poll::Pending;
        if !calls.spawn_next() {
            polled = call.poll_unpin(&mut Context::from_waker(Waker::noop()));
            let poll_started = std::mem::replace(now, Instant::now());
            calls.record_first_poll(*now - poll_started);
            polled = match polled {
                Poll::Ready(Ok(None)) => return,
                Poll::Ready(Ok(Some(pending))) => {
                    calls.add_replying(caller, pending, Arc::clone(&self.responder));
                    return;
                }
                pending_or_panicked => pending_or_panicked,
            };
        }
        self.spawn(call, polled, caller, calls);
    }

    /// Moves a call to a task of its own, which answers the caller also if the call panics or the server's drain time is over.
    /// `polled` is the result of a first poll.
    fn spawn(
        &self,
        mut call: StartedCall,
        polled: Poll<Outcome>,
        caller: Caller,
        calls: &mut Calls,
    ) {
        let responder = Arc::clone(&self.responder);
        let phase = self.phase.clone();
        let drain_timeout = self.drain_timeout;
        calls.running.spawn(async move {
            let mut phases = phase.clone();
            let ended = async {
                if phases
                    .wait_for(|phase| *phase == Phase::Ended)
                    .await
                    .is_err()
                {
                    // The server was dropped without a stop: calls run to their end, but streams may have none.
                    if !responder.endpoint.settings.id.kind.is_streaming() {
                        std::future::pending::<()>().await;
                    }
                    tokio::time::sleep(drain_timeout).await;
                }
            };
            // By reference: a future that is passed by value takes its space in the task twice.
            let done = tokio::select! {
                biased;
                done = run_to_reply(&mut call, polled) => Some(done),
                () = ended => None,
            };
            // The handler must have stopped before its caller is refused.
            drop(call);
            let failure = match done {
                Some(Ok(())) => None,
                Some(Err(panic)) => Some(responder.endpoint.panicked(panic.as_ref()).into()),
                None => Some(Failure::stopping()),
            };
            if let Some(failure) = failure {
                Box::pin(responder.fail(caller, &failure)).await;
            }
            if phase.has_changed().is_err() {
                // Boxed, since few calls need this future, and the task is copied several times before it runs.
                Box::pin(responder.flush()).await;
            }
        });
    }

    /// Leaves the queue group, and still receives the requests that the NATS server has already sent.
    ///
    /// nats-server takes a limit of more than nine digits for an immediate unsubscribe, while async-nats keeps the subscription for
    /// that many messages. After a plain unsubscribe, async-nats would drop the requests in transit.
    async fn leave_queue_group(&mut self) {
        if let Err(error) = self.requests.unsubscribe_after(u64::MAX).await {
            tracing::debug!(endpoint = self.endpoint().subject, %error, "the connection is closed");
        }
        self.queue_group_guard = None;
    }

    /// A request that has already arrived. Breaks at the end of the subscription. `unconstrained`, since a poll is pending when the task
    /// has used up its tokio budget.
    fn arrived(&mut self) -> ControlFlow<(), Option<Message>> {
        match tokio::task::unconstrained(self.requests.next()).now_or_never() {
            Some(Some(message)) => ControlFlow::Continue(Some(message)),
            Some(None) => ControlFlow::Break(()),
            None => ControlFlow::Continue(None),
        }
    }

    fn next_arrived(&mut self) -> Option<Message> {
        self.arrived().continue_value().flatten()
    }

    /// Ends an endpoint whose server was dropped without a stop: running calls are detached and run to their end. The queued requests
    /// and those in transit are refused.
    async fn drain_detached(mut self, mut calls: Calls) {
        calls.running.detach_all();
        let (replying, responder) = (
            std::mem::take(&mut calls.replying),
            Arc::clone(&self.responder),
        );
        tokio::spawn(async move {
            replying.collect::<()>().await;
            responder.flush().await;
        });
        self.leave_queue_group().await;
        self.fail_waiting(calls);
        let gate = self.responder.gate.clone();
        let mut all_arrived = std::pin::pin!(round_trip(&gate, LEAVE_TIMEOUT));
        loop {
            tokio::select! {
                Some(message) = self.requests.next() => {
                    self.fail_stopping(&message);
                }
                _ = &mut all_arrived => break,
            }
        }
        self.fail_arrived();
        self.responder.flush().await;
    }

    /// Ends an endpoint whose drain time is over: refuses all unfinished calls. `unfinished` already counts the calls that ran or
    /// waited at that moment.
    async fn drop_unfinished(mut self, mut calls: Calls) {
        // The tasks see the same phase, and refuse their callers.
        while calls.running.join_next().await.is_some() {}
        for call in std::mem::take(&mut calls.replying) {
            self.responder.fail_at_stop(call.caller);
        }
        self.fail_waiting(calls);
        let arrived = self.fail_arrived();
        self.unfinished.fetch_add(arrived, Ordering::Relaxed);
    }

    fn fail_waiting(&self, calls: Calls) {
        for waiting in calls.waiting {
            self.fail_stopping(&waiting.message);
        }
    }

    fn refuse(&self, message: &Message, status: Status) {
        if let Some(caller) = self.responder.caller(message) {
            self.responder.refuse(caller, status);
        }
    }

    /// Answers a request that a stop comes before.
    fn fail_stopping(&self, message: &Message) {
        if let Some(caller) = self.responder.caller(message) {
            self.responder.fail_at_stop(caller);
        }
    }

    /// Refuses the requests that have arrived; returns their number.
    fn fail_arrived(&mut self) -> usize {
        let mut refused = 0;
        while let Some(message) = self.next_arrived() {
            self.fail_stopping(&message);
            refused += 1;
        }
        refused
    }
}

/// Runs a call until its reply is sent. `polled` is the result of a first poll.
async fn run_to_reply(call: &mut StartedCall, polled: Poll<Outcome>) -> std::thread::Result<()> {
    let done = match polled {
        Poll::Ready(done) => done,
        Poll::Pending => call.await,
    };
    match done? {
        Some(pending) => AssertUnwindSafe(pending).catch_unwind().await,
        None => Ok(()),
    }
}
