//! The future of a published message.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::transport::backlog::Lane;
use crate::transport::gate::Gate;
use crate::transport::outgoing::PublishError;

/// A message on its way to the connection. Dropping it withdraws a message that still waits in the backlog.
#[must_use = "a message that waits for the connection is withdrawn when this is dropped"]
pub(crate) struct Publishing(PublishingState);

enum PublishingState {
    Done(Option<Result<(), PublishError>>),
    Queued {
        gate: Gate,
        lane: Lane,
        number: u64,
        result: oneshot::Receiver<Result<(), PublishError>>,
        is_detached: bool,
    },
}

impl Publishing {
    pub(super) fn done(result: Result<(), PublishError>) -> Self {
        Self(PublishingState::Done(Some(result)))
    }

    /// A message that waits in the backlog.
    pub(super) fn queued(
        gate: Gate,
        lane: Lane,
        number: u64,
        result: oneshot::Receiver<Result<(), PublishError>>,
    ) -> Self {
        Self(PublishingState::Queued {
            gate,
            lane,
            number,
            result,
            is_detached: false,
        })
    }

    /// Leaves the message to the gate, which sends it whatever becomes of this. Gives the result, if it is known.
    pub(crate) fn detach(mut self) -> Option<Result<(), PublishError>> {
        match &mut self.0 {
            PublishingState::Done(result) => result.take(),
            PublishingState::Queued { is_detached, .. } => {
                *is_detached = true;
                None
            }
        }
    }

    /// The result, if it is known.
    pub(crate) fn result(&self) -> Option<Result<(), PublishError>> {
        match &self.0 {
            PublishingState::Done(result) => *result,
            PublishingState::Queued { .. } => None,
        }
    }
}

impl Future for Publishing {
    type Output = Result<(), PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.0 {
            PublishingState::Done(result) => result.take().unwrap_or(Err(PublishError::Closed)),
            PublishingState::Queued { result, .. } => {
                ready!(Pin::new(result).poll(cx)).unwrap_or(Err(PublishError::Closed))
            }
        };
        self.0 = PublishingState::Done(None);
        Poll::Ready(result)
    }
}

impl Drop for PublishingState {
    fn drop(&mut self) {
        if let Self::Queued {
            gate,
            lane,
            number,
            is_detached: false,
            ..
        } = self
        {
            gate.withdraw(*lane, *number);
        }
    }
}
