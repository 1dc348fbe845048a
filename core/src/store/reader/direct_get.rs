//! Single messages by direct get, which any replica of a stream answers.
//!
//! async-nats does that too, but creates an inbox, a copy of its context and a timer each time.

use std::error::Error as StdError;
use std::sync::Arc;

use async_nats::StatusCode;
use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DirectGetError, DirectGetErrorKind};

use crate::store::error::StoreError;
use crate::transport::mux::Multiplexer;
use crate::transport::outgoing::Outgoing;

/// Reads the messages of one stream.
#[derive(Debug)]
pub(crate) struct DirectGet {
    multiplexer: Arc<Multiplexer>,
    /// The subject of the requests; for the newest message of a subject, that one follows.
    address: String,
}

impl DirectGet {
    pub(crate) fn new(multiplexer: Arc<Multiplexer>, address: String) -> Self {
        Self {
            multiplexer,
            address,
        }
    }

    /// The newest message of a subject, or the message of a revision, which may have another subject; `None` if there is none.
    pub(crate) async fn read(
        &self,
        subject: &str,
        revision: Option<u64>,
    ) -> Result<Option<StreamMessage>, StoreError> {
        let failed = "cannot read the entry";
        let request = match revision {
            None => Outgoing::to([&self.address, ".", subject].concat()),
            Some(revision) => Outgoing::to(self.address.as_str())
                .with_payload(format!("{{\"seq\":{revision}}}").into()),
        };
        let reply = self.multiplexer.request(request).await;
        let reply = reply.map_err(|error| StoreError::unanswered(failed, error))?;
        match reply.status {
            None => StreamMessage::try_from(reply)
                .map(Some)
                .map_err(|error| StoreError::nats(failed, error)),
            Some(StatusCode::NOT_FOUND) => Ok(None),
            Some(status) => {
                let description = reply.description.unwrap_or_default();
                let kind = DirectGetErrorKind::ErrorResponse(status, description);
                Err(StoreError::nats(failed, DirectGetError::new(kind)))
            }
        }
    }
}

/// Whether a request failed because nobody serves it.
pub(crate) fn has_no_responders(error: &(dyn StdError + 'static)) -> bool {
    let request = error.downcast_ref::<RequestError>();
    request.is_some_and(|error| error.kind() == RequestErrorKind::NoResponders)
        || error.source().is_some_and(has_no_responders)
}
