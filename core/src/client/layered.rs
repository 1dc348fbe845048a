//! Calls that pass layers, or go to a service in this process: requests and replies are bytes, and have the types of the middleware.
//!
//! Other calls need fewer steps, see [`Exchange`](crate::client::call::Exchange). May use what `client/call.rs` uses. Guarantees that a
//! call ends by its timeout, whatever its layers do, and that they see the errors of the call within.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::backoff;
use crate::client::call::{OpenedBy, Opening, Response, Times};
use crate::client::fetch::Fetch;
use crate::client::open;
use crate::client::retry::attempts::RetryPolicy;
use crate::client::retry::unary;
use crate::codec::{BYTES_CODEC, MessageCodec};
use crate::context::Context;
use crate::descriptor::method::{MethodId, MethodKind};
use crate::middleware::body::{Answer, Body, Messages};
use crate::middleware::inner::{Destination, Inner, ReplyFuture};
use crate::middleware::reply::Reply;
use crate::middleware::request::Request;
use crate::status::{Code, Status};
use crate::stream::flow::Credit;
use crate::stream::output;
use crate::stream::streaming::Streaming;
use crate::transport::headers;
use crate::transport::mux::Multiplexer;
use crate::transport::outgoing::Outgoing;
use crate::transport::request::timed_out;

/// How much longer than the call within its layers may take, so that they see its `DEADLINE_EXCEEDED`. A call that another task runs gets
/// as much to end by itself, with an error that says more. The instants of both ends are fixed when the call begins, and one task waits
/// for both, the call within first: the order of the two does not depend on how late that task runs.
pub(crate) const LAYERS_GRACE: Duration = Duration::from_millis(5);

/// The services that a client calls.
#[derive(Clone)]
pub(crate) enum Peer {
    Nats(Arc<Multiplexer>),
    #[cfg(feature = "testing")]
    InProcess(Arc<dyn LocalServices>),
}

/// Services in this process.
#[cfg(feature = "testing")]
pub(crate) trait LocalServices: Send + Sync {
    /// Runs a request as the endpoint of its subject does.
    fn call(&self, request: Request, opened_by: OpenedBy) -> ReplyFuture;
}

/// A call that passes layers.
pub(crate) struct Layered<T> {
    pub(crate) layers: Inner,
    pub(crate) peer: Peer,
    pub(crate) id: MethodId,
    /// The stream of requests; `None` for a method that takes one message.
    pub(crate) requests: Option<Messages>,
    pub(crate) fetch: Option<Fetch>,
    /// How many messages of the service may be on their way.
    pub(crate) window: Credit,
    pub(crate) opened_by: OpenedBy,
    pub(crate) decode: Decode<T>,
}

/// Decodes a reply.
pub(crate) type Decode<T> = Box<dyn FnOnce(Reply) -> Result<Response<T>, Status> + Send>;

impl<T> Layered<T> {
    pub(crate) async fn run(
        self: Box<Self>,
        outgoing: Outgoing,
        context: Option<Context>,
        times: Times,
        retry: Option<RetryPolicy>,
    ) -> Result<Response<T>, Status> {
        let Outgoing {
            subject,
            headers,
            payload,
            ..
        } = outgoing;
        let ends = Ends::of(times);
        let bound = if bounds_reply(self.id.kind) {
            Some(ends.reply)
        } else {
            ends.total
        };
        let cut_off = bound.map(|bound| backoff::after(bound, LAYERS_GRACE));
        let destination = Sending {
            peer: self.peer,
            ends,
            cut_off,
            fetch: self.fetch,
            window: self.window,
            opened_by: self.opened_by,
            retry,
        };
        let body = self.requests.map_or(Body::Message(payload), Body::Stream);
        let request = Request {
            deadline: if self.id.kind.is_streaming() {
                ends.total
            } else {
                Some(ends.reply)
            },
            context,
            destination: Some(Arc::new(destination)),
            ..Request::of(self.id, subject.clone(), headers, body)
        };
        let reply = self.layers.run(request);
        let cut_off = cut_off.map(|within| backoff::after(within, LAYERS_GRACE));
        let reply = ended_by(cut_off, reply, || timed_out(&subject, times.timeout)).await?;
        (self.decode)(reply)
    }
}

/// The reply, or `error` once the cut-off has passed.
async fn ended_by(
    cut_off: Option<Instant>,
    reply: impl Future<Output = Result<Reply, Status>>,
    error: impl FnOnce() -> Status,
) -> Result<Reply, Status> {
    match cut_off {
        Some(cut_off) => timeout_at(cut_off, reply)
            .await
            .unwrap_or_else(|_| Err(error())),
        None => reply.await,
    }
}

/// Whether the timeout of a call bounds the time until its reply, or until its stream is open. The response to a stream of requests comes
/// when that has ended.
fn bounds_reply(kind: MethodKind) -> bool {
    kind != MethodKind::ClientStreaming
}

/// When the steps of a call must have ended.
#[derive(Clone, Copy)]
struct Ends {
    times: Times,
    reply: Instant,
    total: Option<Instant>,
}

impl Ends {
    fn of(times: Times) -> Self {
        let now = Instant::now();
        Self {
            times,
            reply: backoff::after(now, times.timeout),
            total: times.total_timeout.map(|total| backoff::after(now, total)),
        }
    }

    /// What is left of the times: layers may have taken a part of them.
    fn left(&self) -> Times {
        let now = Instant::now();
        Times {
            timeout: self.reply.saturating_duration_since(now),
            total_timeout: self.total.map(|total| total.saturating_duration_since(now)),
        }
    }
}

/// Sends a request that has passed the layers.
struct Sending {
    peer: Peer,
    ends: Ends,
    /// When a call that has not ended by itself ends.
    cut_off: Option<Instant>,
    fetch: Option<Fetch>,
    window: Credit,
    opened_by: OpenedBy,
    retry: Option<RetryPolicy>,
}

impl Destination for Sending {
    fn call(&self, mut request: Request) -> ReplyFuture {
        let (subject, timeout) = (request.subject.clone(), self.ends.times.timeout);
        let timed_out = move || timed_out(&subject, timeout);
        let left = self.ends.left();
        if left.timeout.is_zero() {
            return Box::pin(std::future::ready(Err(timed_out())));
        }
        left.announce(&mut request.headers, request.id.kind.is_streaming());
        let cut_off = self.cut_off;
        match &self.peer {
            Peer::Nats(multiplexer) => {
                let (multiplexer, retry) = (Arc::clone(multiplexer), self.retry.clone());
                if !request.id.kind.is_streaming() {
                    let outgoing = outgoing(request).0;
                    let (fetch, timeout) = (self.fetch.clone(), left.timeout);
                    let sent = unary::send(multiplexer, outgoing, fetch, retry, timeout);
                    let reply = async move { of_message(sent.await?) };
                    return Box::pin(ended_by(cut_off, reply, timed_out));
                }
                let kind = request.id.kind;
                let (outgoing, requests) = outgoing(request);
                let gate = multiplexer.gate.clone();
                let opening = left.opening(gate, outgoing, self.opened_by, retry);
                let reply = open_stream(kind, opening, requests, self.window);
                Box::pin(ended_by(cut_off, reply, timed_out))
            }
            #[cfg(feature = "testing")]
            Peer::InProcess(services) => {
                let reply = services.call(request, self.opened_by);
                Box::pin(ended_by(cut_off, reply, timed_out))
            }
        }
    }
}

/// Opens a stream.
async fn open_stream(
    kind: MethodKind,
    opening: Opening,
    requests: Option<Messages>,
    window: Credit,
) -> Result<Reply, Status> {
    let opened = match (kind, requests) {
        (MethodKind::ClientStreaming, Some(requests)) => {
            return of_message(open::client_streaming(opening, requests).await?);
        }
        (_, Some(requests)) => open::bidirectional(opening, requests, BYTES_CODEC, window).await?,
        (_, None) => open::server_streaming(opening, BYTES_CODEC, window).await?,
    };
    let (messages, headers) = opened.into_parts();
    Ok(Reply::of(headers, Answer::Stream(messages.boxed())))
}

fn outgoing(request: Request) -> (Outgoing, Option<Messages>) {
    let outgoing = Outgoing::to_own(request.subject).with_headers(request.headers);
    match request.body {
        Body::Message(payload) => (outgoing.with_payload(payload), None),
        Body::Stream(messages) => (outgoing, Some(messages)),
    }
}

fn of_message(reply: Message) -> Result<Reply, Status> {
    match headers::read_status(&reply) {
        Some(status) => Err(status),
        None => Ok(Reply::of(
            reply.headers.unwrap_or_default(),
            Answer::Message(reply.payload),
        )),
    }
}

/// Decodes a response of one message.
pub(crate) fn decode_message<T: 'static>(codec: MessageCodec<T>) -> Decode<T> {
    Box::new(move |reply| {
        let Reply {
            headers,
            answer,
            mut on_end,
            ..
        } = reply;
        let decoded = message(answer).and_then(|payload| {
            (codec.decode)(payload).map_err(|error| {
                Status::internal(format!("failed to decode the response: {error}"))
            })
        });
        on_end.end(&decoded);
        Ok(Response::new(decoded?, headers))
    })
}

/// The response of a method that does not stream.
fn message(answer: Answer) -> Result<Bytes, Status> {
    match answer {
        Answer::Message(payload) => Ok(payload),
        Answer::Object(stored) => Ok(stored.response),
        Answer::Stream(_) => Err(Status::internal("the response is a stream")),
    }
}

/// Decodes a stream of responses.
pub(crate) fn decode_stream<T: Send + 'static>(codec: MessageCodec<T>) -> Decode<Streaming<T>> {
    Box::new(move |reply| {
        let Reply {
            headers,
            answer,
            on_end,
            ..
        } = reply;
        let decoded = output::decoded(answer.into_messages(), codec, Code::Internal);
        let decoded = if on_end.is_empty() {
            Streaming::new(decoded)
        } else {
            Streaming::new(on_end.watch(decoded))
        };
        Ok(Response::new(decoded, headers))
    })
}
