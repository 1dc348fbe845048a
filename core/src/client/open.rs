//! How a call that streams is opened, with as many attempts as the retries of the client allow.
//!
//! May use `client::stream`, which makes one attempt. Guarantees that requests of which any may have been sent are not sent again.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_nats::{HeaderMap, Message};
use futures::StreamExt;
use tokio::time::Instant;

use crate::backoff;
use crate::client::call::{Opening, Response};
use crate::client::retry::attempts::Attempts;
use crate::client::stream;
use crate::codec::MessageCodec;
use crate::descriptor::method::MethodKind;
use crate::middleware::body::Messages;
use crate::status::{Code, Status};
use crate::stream::delivery::{Delivery, delivery};
use crate::stream::flow::Credit;
use crate::stream::output::{Output, encoded};
use crate::stream::streaming::Streaming;
use crate::transport::headers;

/// Opens a stream of responses.
pub(crate) async fn server_streaming<Resp: Send + 'static>(
    opening: Opening,
    codec: MessageCodec<Resp>,
    window: Credit,
) -> Result<Response<Streaming<Resp>>, Status> {
    let receiver = || {
        let (delivery, incoming) = delivery(window, codec, Code::Internal, None);
        (Some(delivery), incoming)
    };
    let (opened, incoming) =
        open_stream(MethodKind::ServerStreaming, opening, None, receiver).await?;
    let headers = handler_headers(opened.headers);
    Ok(Response::new(Streaming::incoming(incoming), headers))
}

/// Sends a stream of requests and waits for the response.
pub(crate) async fn client_streaming(
    opening: Opening,
    requests: Messages,
) -> Result<Message, Status> {
    let output = Output::new(requests);
    let receiver = || (None, ());
    let (response, ()) =
        open_stream(MethodKind::ClientStreaming, opening, Some(output), receiver).await?;
    Ok(response)
}

/// Opens streams in both directions.
pub(crate) async fn bidirectional<Resp: Send + 'static>(
    opening: Opening,
    requests: Messages,
    responses: MessageCodec<Resp>,
    window: Credit,
) -> Result<Response<Streaming<Resp>>, Status> {
    let receiver = || {
        let (delivery, incoming) = delivery(window, responses, Code::Internal, None);
        (Some(delivery), incoming)
    };
    let output = Output::new(requests);
    let (opened, incoming) =
        open_stream(MethodKind::Bidirectional, opening, Some(output), receiver).await?;
    let headers = handler_headers(opened.headers);
    Ok(Response::new(Streaming::incoming(incoming), headers))
}

/// The response headers of the handler, without the headers of the protocol.
fn handler_headers(all: Option<HeaderMap>) -> HeaderMap {
    headers::filtered(&all.unwrap_or_default(), |name| !headers::is_reserved(name))
}

/// Opens a stream. Each attempt has a `receiver` of its own, of which that of the open stream is returned.
async fn open_stream<R>(
    kind: MethodKind,
    mut opening: Opening,
    mut output: Option<Output>,
    receiver: impl Fn() -> (Option<Delivery>, R),
) -> Result<(Message, R), Status> {
    let Some(policy) = opening.retry.take() else {
        let (delivery, ours) = receiver();
        let opened = stream::attempt(kind, opening, delivery, output, false).await;
        return opened
            .map(|message| (message, ours))
            .map_err(|unopened| unopened.failure.status);
    };
    let deadline = backoff::after(Instant::now(), opening.timeout);
    let mut attempts = Attempts::new(policy, deadline);
    loop {
        let (delivery, ours) = receiver();
        let opening = opening.again(attempts.remaining());
        let (subject, gate) = (opening.outgoing.subject().clone(), opening.gate.clone());
        let unopened = match stream::attempt(kind, opening, delivery, output.take(), true).await {
            Ok(message) => {
                attempts.succeeded();
                return Ok((message, ours));
            }
            Err(unopened) => unopened,
        };
        output = unopened.output.map(|output| *output);
        // Requests that may have been sent cannot be sent again.
        let is_complete = output.is_some() || !kind.streams_requests();
        if !is_complete || !attempts.again(&unopened.failure, &subject, &gate).await {
            if let Some(output) = &mut output {
                // A destructor of the user's stream may panic; that does not change the result of the call.
                let _ = output.close();
            }
            return Err(unopened.failure.status);
        }
    }
}

impl Opening {
    /// The same request once more, with the time that is left.
    fn again(&self, timeout: Duration) -> Self {
        let mut outgoing = self.outgoing.clone();
        if let Some(deadline) = self.deadline {
            let remaining = deadline.saturating_duration_since(Instant::now());
            headers::renew_timeout(&mut outgoing.headers, remaining);
        }
        Self {
            gate: self.gate.clone(),
            outgoing,
            timeout,
            deadline: self.deadline,
            opened_by: self.opened_by,
            retry: None,
        }
    }
}

/// The encoded requests. A panic of the user's stream ends it with an error.
pub(crate) fn request_messages<T: Send + 'static>(
    requests: Streaming<T>,
    codec: MessageCodec<T>,
) -> Messages {
    let requests = AssertUnwindSafe(encoded(requests, codec)).catch_unwind();
    let panicked = || Err(Status::internal("the stream of requests panicked"));
    requests
        .map(move |item| item.unwrap_or_else(|_| panicked()))
        .boxed()
}
