//! The last steps of a call: its reply is counted and sent to the caller.
//!
//! A call is counted here and not in the pipeline, because only here it is known whether the reply fits into a message. It is counted
//! before its reply is sent, so a caller that has the reply finds the call in the statistics. Callers are found here as well: a request
//! whose reply subject the gate refuses has none, and is not served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::log::warn_limited;
use crate::middleware::body::{Answer, Body};
use crate::middleware::on_end::OnEnd;
use crate::middleware::request::Request;
use crate::server::call::{Handled, Reply};
use crate::server::endpoint::Endpoint;
use crate::server::memory::Memory;
use crate::status::Status;
use crate::stream::output;
use crate::stream::pressure::Pressure;
use crate::transport::backlog::Lane;
use crate::transport::gate::Gate;
use crate::transport::headers;
use crate::transport::outgoing::{Outgoing, PublishError};
use crate::transport::publishing::Publishing;
use crate::transport::subject::PeerSubject;

/// Sends the replies of one endpoint, and counts its calls.
#[derive(Debug)]
pub(crate) struct Responder {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) gate: Gate,
    pub(crate) memory: Memory,
    /// Whether streams are refused, or end, because others hold all room.
    pub(crate) pressure: Arc<Pressure>,
}

/// A reply that the connection has not taken yet: the future waits for its writes, and for the connection.
pub(crate) type PendingReply = BoxFuture<'static, ()>;

/// Where the reply to a request goes.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) reply: Option<PeerSubject>,
    /// Set for a method that streams.
    pub(crate) stream: Option<StreamCaller>,
}

/// The answer to a request that has none of its handler.
pub(crate) struct Failure {
    status: Status,
    /// Headers that are always sent.
    headers: HeaderMap,
}

impl Failure {
    pub(crate) fn stopping() -> Self {
        let mut stopping = HeaderMap::new();
        stopping.insert(headers::STOPPING, "1");
        Self {
            headers: stopping,
            status: Status::unavailable("the service is stopping"),
        }
    }
}

impl Failure {
    /// The status, and the headers that are sent with it.
    pub(crate) fn into_parts(self) -> (Status, HeaderMap) {
        (self.status, self.headers)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
        }
    }
}

/// The caller of a stream.
#[derive(Clone)]
pub(crate) struct StreamCaller {
    /// The inbox of the caller, if it has named a valid one.
    pub(crate) inbox: Option<PeerSubject>,
    /// Set by whichever comes first: the end that the stream sends, or its refusal.
    answered: Arc<AtomicBool>,
}

impl StreamCaller {
    /// The caller of a request: its inbox is the one in the header, or else the reply subject. The inbox of a caller in another account
    /// cannot be reached, but its reply subject was mapped by the NATS server.
    fn from_request(gate: &Gate, headers: Option<&HeaderMap>, reply: Option<&PeerSubject>) -> Self {
        let named = headers.and_then(|headers| headers.get(headers::REPLY_TO));
        let inbox = match (named, reply) {
            (_, Some(reply)) if reply.is_mapped() => Some(reply.clone()),
            (Some(named), _) => gate.peer_subject(named.as_str()).ok(),
            (None, reply) => reply.cloned(),
        };
        Self {
            inbox,
            answered: Arc::default(),
        }
    }

    /// Whether the end of the stream is still to be sent. True for one caller of this function only, which has to send it.
    pub(crate) fn answer_once(&self) -> bool {
        !self.answered.swap(true, Ordering::AcqRel)
    }
}

impl Responder {
    /// The request of the pipeline, whose deadline is counted from the arrival of the message.
    pub(crate) fn request(
        &self,
        subject: Subject,
        headers: Option<HeaderMap>,
        body: Body,
        received: Instant,
        started: Instant,
    ) -> Request {
        let deadline = self.endpoint.deadline(received, started, headers.as_ref());
        let id = self.endpoint.settings.id;
        Request {
            received: Some(received),
            deadline,
            max_payload: self.gate.max_payload(),
            ..Request::of(id, subject, headers.unwrap_or_default(), body)
        }
    }

    /// Counts a call whose handler has returned, and sends its reply. A reply that has to wait becomes the returned future, so that only
    /// such a call needs space for it.
    pub(crate) fn finish(
        self: &Arc<Self>,
        to: Option<PeerSubject>,
        handled: Handled,
        received: Instant,
    ) -> Option<PendingReply> {
        if !handled.awaits_writes() {
            return self.count_and_send(to, handled.into_reply(), received.elapsed());
        }
        let responder = Arc::clone(self);
        Some(Box::pin(async move {
            let reply = handled.reply().await;
            if let Some(pending) = responder.count_and_send(to, reply, received.elapsed()) {
                pending.await;
            }
        }))
    }

    /// Counts the call, and sends the reply if the request has a reply subject.
    fn count_and_send(
        self: &Arc<Self>,
        to: Option<PeerSubject>,
        reply: Reply,
        took: Duration,
    ) -> Option<PendingReply> {
        let Reply {
            result,
            mut headers,
            mut on_end,
        } = reply;
        let result = match result {
            Ok(Answer::Message(payload)) => Ok(payload),
            // A success, though the headers hold an error: clients of this crate fetch the response from the object store.
            Ok(Answer::Object(stored)) => {
                let claim = stored.claim;
                self.endpoint.counters.record(None, took);
                on_end.end(&Ok::<_, Status>(()));
                claim.write(&mut headers);
                return self.send(&to?, Err(claim.status(self.gate.max_payload())), headers);
            }
            Ok(Answer::Stream(_)) => Err(Status::internal("the response is a stream")),
            Err(status) => Err(status),
        };
        let result = self.count(to.is_some(), result, &mut headers, took, &mut on_end);
        self.send(&to?, result, headers)
    }

    /// Sends a reply. Most are taken by the connection at once, and nothing is pending.
    fn send(
        self: &Arc<Self>,
        to: &PeerSubject,
        result: Result<Bytes, Status>,
        headers: HeaderMap,
    ) -> Option<PendingReply> {
        let publishing = self.reply(to, result, headers, None);
        if let Some(sent) = publishing.result() {
            self.log_unsent(sent);
            return None;
        }
        let responder = Arc::clone(self);
        Some(Box::pin(async move {
            responder.log_unsent(publishing.await);
        }))
    }

    /// Counts the call, and tells its end. It ends with an error if its response is too large for a message.
    pub(crate) fn count(
        &self,
        is_sent: bool,
        mut result: Result<Bytes, Status>,
        headers: &mut HeaderMap,
        took: Duration,
        on_end: &mut OnEnd,
    ) -> Result<Bytes, Status> {
        if let Ok(payload) = &result
            && is_sent
            && let Err(status) = self.fits(payload, headers)
        {
            result = Err(status);
        }
        self.endpoint.counters.record(result.as_ref().err(), took);
        on_end.end(&result);
        result
    }

    /// Whether a response fits into a message. Removes the headers if it does not fit because of them.
    fn fits(&self, payload: &Bytes, headers: &mut HeaderMap) -> Result<(), Status> {
        let (size, max) = (payload.len(), self.gate.max_payload());
        if size > max {
            return Err(Status::resource_exhausted(format!(
                "the response has {size} bytes, and the NATS server takes messages of up to {max} bytes"
            )));
        }
        if size + headers::headers_len(headers) > max {
            *headers = HeaderMap::new();
            return Err(Status::resource_exhausted(format!(
                "the response and its headers have more than the {max} bytes that the NATS server takes"
            )));
        }
        Ok(())
    }

    /// Sends a reply that fits into a message. If nobody listens on `to`, the NATS server reports that to `from`.
    pub(crate) fn reply(
        &self,
        to: &PeerSubject,
        result: Result<Bytes, Status>,
        headers: HeaderMap,
        from: Option<Subject>,
    ) -> Publishing {
        let mut message = Outgoing::to_peer(to).with_headers(headers);
        message.reply = from;
        match result {
            Ok(payload) => self
                .gate
                .publish(Lane::Reply, message.with_payload(payload)),
            Err(status) => {
                let none = HeaderMap::new();
                self.gate
                    .publish_status(Lane::Reply, message, &none, &status)
            }
        }
    }

    /// Leaves a message to the gate.
    pub(crate) fn detach(&self, publishing: Publishing) {
        if let Some(sent) = publishing.detach() {
            self.log_unsent(sent);
        }
    }

    pub(crate) fn log_unsent(&self, sent: Result<(), PublishError>) {
        if let Err(error) = sent {
            warn_limited!(endpoint = self.endpoint.subject, %error, "cannot send a reply");
        }
    }

    /// The caller of a request. There is none if its reply subject is no inbox: the service would publish, with its own permissions, to
    /// a subject that the caller chooses. Such a request is counted as an error.
    pub(crate) fn caller(&self, request: &Message) -> Option<Caller> {
        let reply = match request
            .reply
            .as_ref()
            .map(|reply| self.gate.reply_subject(reply))
        {
            None => None,
            Some(Ok(reply)) => Some(reply),
            Some(Err(reason)) => {
                self.reject(request, reason);
                return None;
            }
        };
        let is_stream = self.endpoint.settings.id.kind.is_streaming();
        let stream = is_stream.then(|| {
            StreamCaller::from_request(&self.gate, request.headers.as_ref(), reply.as_ref())
        });
        Some(Caller { reply, stream })
    }

    /// Drops a request that cannot be answered.
    fn reject(&self, request: &Message, reason: &str) {
        let reply = request.reply.as_deref().unwrap_or_default();
        let status = Status::invalid_argument(format!("no reply can go to `{reply}`: {reason}"));
        self.endpoint.counters.record(Some(&status), Duration::ZERO);
        warn_limited!(
            endpoint = self.endpoint.subject,
            reply,
            reason,
            "a request is dropped: no reply can go to its reply subject"
        );
    }

    /// Answers a call that was accepted with an error in place of its response, and waits until that is sent: until then the call is in
    /// flight, which bounds how many such answers wait.
    pub(crate) async fn fail(&self, caller: Caller, failure: &Failure) {
        for answer in self.answer_with(caller, failure, Lane::Reply) {
            self.log_unsent(answer.await);
        }
    }

    /// Answers a call of a server that stops. There are as many as were accepted, so none is waited for.
    pub(crate) fn fail_at_stop(&self, caller: Caller) {
        for answer in self.answer_with(caller, &Failure::stopping(), Lane::Reply) {
            self.detach(answer);
        }
    }

    /// Answers a request that is not accepted. It is counted, also if the connection takes no more refusals.
    pub(crate) fn refuse(&self, caller: Caller, status: Status) {
        for answer in self.answer_with(caller, &status.into(), Lane::Refusal) {
            self.detach(answer);
        }
    }

    fn answer_with(&self, caller: Caller, failure: &Failure, lane: Lane) -> Vec<Publishing> {
        let Failure {
            status,
            headers: required,
        } = failure;
        let Caller { reply, stream } = caller;
        let mut answers = Vec::new();
        let Some(stream) = stream else {
            self.endpoint.counters.record(Some(status), Duration::ZERO);
            if let Some(reply) = reply {
                let message = Outgoing::to_peer(&reply);
                answers.push(self.gate.publish_status(lane, message, required, status));
            }
            return answers;
        };
        if !stream.answer_once() {
            return answers;
        }
        self.endpoint.counters.record(Some(status), Duration::ZERO);
        if let Some(inbox) = &stream.inbox {
            let mut end = output::end_headers();
            headers::add(&mut end, required);
            let message = Outgoing::to_peer(inbox);
            answers.push(self.gate.publish_status(lane, message, &end, status));
        }
        // A caller that waits for the handshake of a stream of requests waits on its reply subject.
        if let Some(reply) = reply.filter(|reply| Some(reply) != stream.inbox.as_ref()) {
            let message = Outgoing::to_peer(&reply);
            answers.push(self.gate.publish_status(lane, message, required, status));
        }
        answers
    }

    /// Waits until the connection has sent all replies. Needed after a server was dropped: the connection is closed with its last
    /// owner, whatever is still queued in it.
    pub(crate) async fn flush(&self) {
        if let Err(error) = self.gate.flush().await {
            tracing::debug!(endpoint = self.endpoint.subject, %error, "cannot send what is left");
        }
    }
}
