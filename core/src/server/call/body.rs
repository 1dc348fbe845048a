//! What handlers take and return, as bodies of bytes: one message, or a stream of messages.
//!
//! The two traits make one pipeline serve methods of all four kinds. Decoding, validation and encoding happen here and nowhere else on the
//! server, and panics of a user's stream end that stream with an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Poll, ready};

use futures::{Stream, StreamExt};

use crate::codec::MessageCodec;
use crate::descriptor::method::Method;
use crate::middleware::body::{Answer, Body};
use crate::server::endpoint::Endpoint;
use crate::status::{Code, Status};
use crate::stream::output;
use crate::stream::streaming::Streaming;

/// The input of a handler: a request, or a stream of requests.
pub(crate) trait Input<Req>: Sized {
    /// Decodes the body of a request and validates it. A message of a stream is validated when it is read.
    fn decode<Resp, E: 'static>(
        body: Body,
        method: &'static Method<Req, Resp, E>,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Self, Status>;

    /// The request from which the keys of stores are made; `None` for a stream, whose methods have no stores.
    fn as_message(&self) -> Option<&Req>;
}

/// The output of a handler: a response, or a stream of responses.
pub(crate) trait Output<Resp>: Sized {
    /// Encodes it as the body of a reply. Also returns the response for the stores of the method; `None` for a stream.
    fn encode(
        self,
        codec: MessageCodec<Resp>,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(Answer, Option<Resp>), Status>;
}

impl<Req> Input<Req> for Req {
    fn decode<Resp, E: 'static>(
        body: Body,
        method: &'static Method<Req, Resp, E>,
        _: &Arc<Endpoint>,
    ) -> Result<Self, Status> {
        let Body::Message(payload) = body else {
            return Err(Status::invalid_argument(
                "the method takes one message, and the request is a stream",
            ));
        };
        let request = (method.request.decode)(payload).map_err(|error| {
            Status::invalid_argument(format!("failed to decode request: {error}"))
        })?;
        method.check(&request)?;
        Ok(request)
    }

    fn as_message(&self) -> Option<&Req> {
        Some(self)
    }
}

impl<Req: Send + 'static> Input<Req> for Streaming<Req> {
    fn decode<Resp, E: 'static>(
        body: Body,
        method: &'static Method<Req, Resp, E>,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Self, Status> {
        let Body::Stream(messages) = body else {
            return Err(Status::invalid_argument(
                "the method takes a stream, and the request is one message",
            ));
        };
        let messages = output::decoded(messages, method.request, Code::InvalidArgument);
        if !method.validates() {
            return Ok(Self::new(messages));
        }
        let endpoint = Arc::clone(endpoint);
        Ok(Self::new(until_refused(messages, move |request| {
            // Caught here: the handler may read the stream in a task of its own.
            catch_unwind(AssertUnwindSafe(|| method.check(request)))
                .unwrap_or_else(|panic| Err(endpoint.panicked(panic.as_ref())))
        })))
    }

    fn as_message(&self) -> Option<&Req> {
        None
    }
}

/// Ends a stream with the error of the first message that `check` refuses, and drops what is left of it.
fn until_refused<T>(
    messages: impl Stream<Item = Result<T, Status>> + Send + Unpin + 'static,
    check: impl Fn(&T) -> Result<(), Status> + Send + 'static,
) -> impl Stream<Item = Result<T, Status>> + Send + 'static {
    let mut messages = Some(messages);
    futures::stream::poll_fn(move |cx| {
        let Some(open) = &mut messages else {
            return Poll::Ready(None);
        };
        let message = ready!(open.poll_next_unpin(cx));
        Poll::Ready(message.map(|message| {
            let message = message?;
            if let Err(refused) = check(&message) {
                messages = None;
                return Err(refused);
            }
            Ok(message)
        }))
    })
}

impl<Resp> Output<Resp> for Resp {
    fn encode(
        self,
        codec: MessageCodec<Resp>,
        _: &Arc<Endpoint>,
    ) -> Result<(Answer, Option<Resp>), Status> {
        let reply = (codec.encode)(&self)
            .map_err(|error| Status::internal(format!("failed to encode the response: {error}")))?;
        Ok((Answer::Message(reply), Some(self)))
    }
}

impl<Resp: Send + 'static> Output<Resp> for Streaming<Resp> {
    fn encode(
        self,
        codec: MessageCodec<Resp>,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(Answer, Option<Resp>), Status> {
        let endpoint = Arc::clone(endpoint);
        let messages = AssertUnwindSafe(output::encoded(self, codec))
            .catch_unwind()
            .map(move |item| item.unwrap_or_else(|panic| Err(endpoint.panicked(panic.as_ref()))));
        Ok((Answer::Stream(messages.boxed()), None))
    }
}
