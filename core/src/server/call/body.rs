//! What handlers take and return, as bodies of bytes: one message, or a stream of messages.
//!
//! The two traits make one pipeline serve methods of all four kinds. Decoding and encoding happen here and nowhere else on the server,
//! and panics of a user's stream end that stream with an error.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::StreamExt;

use crate::codec::MessageCodec;
use crate::server::call::{Answer, Body};
use crate::server::endpoint::Endpoint;
use crate::status::Status;
use crate::stream::output;
use crate::stream::streaming::Streaming;

/// The input of a handler: a request, or a stream of requests.
pub(crate) trait Input<Req>: Sized {
    /// Decodes the body of a request.
    fn decode(body: Body, codec: MessageCodec<Req>) -> Result<Self, Status>;

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
    fn decode(body: Body, codec: MessageCodec<Req>) -> Result<Self, Status> {
        let Body::Message(payload) = body else {
            return Err(Status::invalid_argument(
                "the method takes one message, and the request is a stream",
            ));
        };
        (codec.decode)(payload)
            .map_err(|error| Status::invalid_argument(format!("failed to decode request: {error}")))
    }

    fn as_message(&self) -> Option<&Req> {
        Some(self)
    }
}

impl<Req: Send + 'static> Input<Req> for Streaming<Req> {
    fn decode(body: Body, codec: MessageCodec<Req>) -> Result<Self, Status> {
        let Body::Stream(messages) = body else {
            return Err(Status::invalid_argument(
                "the method takes a stream, and the request is one message",
            ));
        };
        let mut number = 0_u64;
        Ok(Self::new(messages.map(move |message| {
            number += 1;
            (codec.decode)(message?).map_err(|error| {
                Status::invalid_argument(format!(
                    "failed to decode message {number} of the stream: {error}"
                ))
            })
        })))
    }

    fn as_message(&self) -> Option<&Req> {
        None
    }
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
        Ok((Answer::Stream(Box::new(Streaming::new(messages))), None))
    }
}
