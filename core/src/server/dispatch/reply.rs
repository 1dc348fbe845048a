//! The last steps of a call: its reply is counted and sent to the caller.
//!
//! A call is counted here and not in the pipeline, because only here it is known whether the reply fits into a message. It is counted
//! before its reply is sent, so a caller that has the reply finds the call in the statistics. Nothing is sent to a subject of NATS itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::server::call::{Answer, Body, Handled, Reply, Request};
use crate::server::endpoint::Endpoint;
use crate::status::Status;
use crate::stream::output;
use crate::transport::{headers, subject};

/// Sends the replies of one endpoint, and counts its calls.
#[derive(Debug)]
pub(crate) struct Responder {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) nats: async_nats::Client,
    /// The prefix of the inboxes of this connection.
    pub(crate) inbox_prefix: String,
}

/// A reply that is not sent yet: the future waits for its writes, and sends it.
pub(crate) type PendingReply = BoxFuture<'static, ()>;

/// Where the reply to a request goes.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) reply: Option<Subject>,
    /// Set for a method that streams.
    pub(crate) stream: Option<StreamCaller>,
}

/// The caller of a stream.
#[derive(Clone)]
pub(crate) struct StreamCaller {
    /// The inbox of the caller, if it has named a valid one.
    pub(crate) inbox: Option<Subject>,
    /// Set by whichever comes first: the end that the stream sends, or its refusal.
    answered: Arc<AtomicBool>,
}

impl StreamCaller {
    /// The caller of a request: its inbox is the one in the header, or else the reply subject. A header with any other subject than an
    /// inbox or the reply subject is ignored: the service would publish with its own permissions to a subject that a caller chooses.
    fn from_request(request: &Message, inbox_prefix: &str) -> Self {
        let reply = request.reply.as_ref();
        let named = request
            .headers
            .as_ref()
            .and_then(|headers| headers.get(headers::REPLY_TO))
            .map(|inbox| Subject::from(inbox.as_str()));
        let inbox = match named {
            Some(named) if reply == Some(&named) || subject::is_inbox(&named, inbox_prefix) => {
                Some(named)
            }
            Some(_) => None,
            None => reply.cloned(),
        };
        Self {
            inbox: inbox.filter(|inbox| subject::is_receiver(inbox)),
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
        Request {
            subject,
            headers,
            body,
            deadline,
            max_payload: self.nats.max_payload(),
        }
    }

    /// Counts a call whose handler has returned, and sends its reply. A reply that has to wait becomes the returned future, so that only
    /// such a call needs space for it.
    pub(crate) fn finish(
        self: &Arc<Self>,
        to: Option<Subject>,
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
        to: Option<Subject>,
        reply: Reply,
        took: Duration,
    ) -> Option<PendingReply> {
        let mut headers = reply.cx.take_response_headers();
        let result = match reply.result {
            Ok(Answer::Message(payload)) => self.count(to.is_some(), Ok(payload), took),
            // Counted as a success, though the headers hold an error: clients of this crate fetch the response from the object store.
            Ok(Answer::Object(claim)) => {
                self.endpoint.counters.record(None, took);
                claim.write(&mut headers);
                Err(claim.status(self.nats.max_payload()))
            }
            Ok(Answer::Stream(_)) => self.count(
                to.is_some(),
                Err(Status::internal("the response is a stream")),
                took,
            ),
            Err(status) => self.count(to.is_some(), Err(status), took),
        };
        self.send(to?, result, headers)
    }

    /// Sends a reply. Most are taken by the connection at once, and nothing is pending.
    fn send(
        self: &Arc<Self>,
        to: Subject,
        result: Result<Bytes, Status>,
        headers: HeaderMap,
    ) -> Option<PendingReply> {
        if let Ok(payload) = &result
            && headers.is_empty()
            && subject::is_reply_subject(&to)
        {
            let sent = self.nats.publish(to.clone(), payload.clone());
            if let Some(Ok(())) = sent.now_or_never() {
                return None;
            }
        }
        let responder = Arc::clone(self);
        Some(Box::pin(async move {
            responder.reply(&to, result, headers, None).await;
        }))
    }

    /// Counts the call, with an error if its response cannot be sent.
    pub(crate) fn count(
        &self,
        is_sent: bool,
        result: Result<Bytes, Status>,
        took: Duration,
    ) -> Result<Bytes, Status> {
        let max = self.nats.max_payload();
        let result = match result {
            Ok(payload) if is_sent && payload.len() > max => {
                let size = payload.len();
                Err(Status::resource_exhausted(format!(
                    "the response has {size} bytes, and the NATS server takes messages of up to {max} bytes"
                )))
            }
            result => result,
        };
        self.endpoint.counters.record(result.as_ref().err(), took);
        result
    }

    /// Sends a reply, or an error in place of one that cannot be sent. If nobody listens on `to`, the NATS server reports that to
    /// `from`.
    pub(crate) async fn reply(
        &self,
        to: &Subject,
        result: Result<Bytes, Status>,
        headers: HeaderMap,
        from: Option<Subject>,
    ) {
        if !subject::is_reply_subject(to) {
            tracing::warn!(
                endpoint = self.endpoint.subject,
                reply = to.as_str(),
                "no reply is sent to a subject of NATS itself"
            );
            return;
        }
        let (status, headers) = match result {
            Err(status) => (status, headers),
            Ok(payload) => {
                let status = match self.publish(to, headers, payload, from.clone()).await {
                    Ok(()) => return,
                    Err(PublishErrorKind::MaxPayloadExceeded) => {
                        let max = self.nats.max_payload();
                        Status::resource_exhausted(format!(
                            "the response and its headers have more than the {max} bytes that the NATS server takes"
                        ))
                    }
                    Err(kind) => {
                        Status::unavailable(format!("the reply could not be sent: {kind}"))
                    }
                };
                self.endpoint.counters.record_error(&status);
                (status, HeaderMap::new())
            }
        };
        let required = HeaderMap::new();
        // Boxed, since few calls need this future.
        let sent =
            headers::publish_status(&self.nats, to, headers, &required, &status, from.as_ref());
        let sent = Box::pin(sent).await;
        if let Err(error) = sent {
            tracing::warn!(endpoint = self.endpoint.subject, %error, "cannot send an error reply");
        }
    }

    async fn publish(
        &self,
        to: &Subject,
        headers: HeaderMap,
        payload: Bytes,
        from: Option<Subject>,
    ) -> Result<(), PublishErrorKind> {
        let nats = &self.nats;
        let to = to.clone();
        let sent = match from {
            None if headers.is_empty() => nats.publish(to, payload).boxed().await,
            None => {
                nats.publish_with_headers(to, headers, payload)
                    .boxed()
                    .await
            }
            Some(from) => {
                let sent = nats.publish_with_reply_and_headers(to, from, headers, payload);
                sent.boxed().await
            }
        };
        sent.map_err(|error| error.kind())
    }

    /// The caller of a request.
    pub(crate) fn caller(&self, request: &Message) -> Caller {
        let stream = self.endpoint.settings.kind.is_streaming();
        Caller {
            reply: request.reply.clone(),
            stream: stream.then(|| StreamCaller::from_request(request, &self.inbox_prefix)),
        }
    }

    /// Answers a request with an error without running its handler, or in place of it.
    pub(crate) async fn refuse(self: &Arc<Self>, caller: Caller, status: Status) {
        let Caller { reply, stream } = caller;
        let Some(stream) = stream else {
            let result = self.count(reply.is_some(), Err(status), Duration::ZERO);
            if let Some(reply) = reply {
                self.reply(&reply, result, HeaderMap::new(), None).await;
            }
            return;
        };
        if !stream.answer_once() {
            return;
        }
        self.endpoint.counters.record(Some(&status), Duration::ZERO);
        if let Some(inbox) = &stream.inbox {
            let end = output::end_headers();
            let none = HeaderMap::new();
            let sent = headers::publish_status(&self.nats, inbox, none, &end, &status, None).await;
            if let Err(error) = sent {
                tracing::warn!(endpoint = self.endpoint.subject, %error, "cannot refuse a stream");
            }
        }
        // A caller that waits for the handshake of a stream of requests waits on its reply subject.
        if let Some(reply) = reply.filter(|reply| Some(reply) != stream.inbox.as_ref()) {
            self.reply(&reply, Err(status), HeaderMap::new(), None)
                .await;
        }
    }

    /// Waits until the connection has sent all replies. Needed after a server was dropped: the connection is closed with its last
    /// owner, whatever is still queued in it.
    pub(crate) async fn flush(&self) {
        if let Err(error) = self.nats.flush().await {
            tracing::debug!(endpoint = self.endpoint.subject, %error, "cannot send what is left");
        }
    }
}
