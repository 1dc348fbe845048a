//! The attempts of a call whose response is one message.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use async_nats::Message;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::backoff;
use crate::client::fetch::Fetch;
use crate::client::retry::attempts::{Attempts, FailedBy, Failure, RetryPolicy};
use crate::status::Status;
use crate::transport::headers;
use crate::transport::mux::Multiplexer;
use crate::transport::outgoing::Outgoing;
use crate::transport::request::RequestFuture;

/// The reply to come to a request. Most requests need no more than the small future of one attempt.
pub(crate) enum Sent {
    Once(RequestFuture),
    Boxed(BoxFuture<'static, Result<Message, Status>>),
}

impl Future for Sent {
    type Output = Result<Message, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Once(request) => request.poll_unpin(cx),
            Self::Boxed(reply) => reply.poll_unpin(cx),
        }
    }
}

/// Sends a request, once or with retries. With `fetch`, a response that is stored as an object is fetched.
pub(crate) fn send(
    multiplexer: Arc<Multiplexer>,
    outgoing: Outgoing,
    fetch: Option<Fetch>,
    retry: Option<RetryPolicy>,
    timeout: Duration,
) -> Sent {
    if let Some(retry) = retry {
        let reply = retried(retry, multiplexer, outgoing, fetch, timeout);
        return Sent::Boxed(Box::pin(reply));
    }
    let request = RequestFuture::new(multiplexer, outgoing, timeout);
    match fetch {
        Some(fetch) => Sent::Boxed(Box::pin(async move { fetch.reply(request, timeout).await })),
        None => Sent::Once(request),
    }
}

/// Sends a request until it has a reply that is a success or is not retried, and returns that; `fetch` as in [`send`].
async fn retried(
    policy: RetryPolicy,
    multiplexer: Arc<Multiplexer>,
    outgoing: Outgoing,
    fetch: Option<Fetch>,
    timeout: Duration,
) -> Result<Message, Status> {
    let deadline = backoff::after(Instant::now(), timeout);
    let mut attempts = Attempts::new(policy, deadline);
    loop {
        let remaining = attempts.remaining();
        let mut message = outgoing.clone();
        headers::renew_timeout(&mut message.headers, remaining);
        let mut request = RequestFuture::new(Arc::clone(&multiplexer), message, remaining);
        let reply = match &fetch {
            Some(fetch) => fetch.reply(&mut request, remaining).await,
            None => (&mut request).await,
        };
        let failure = match &reply {
            Ok(message) => headers::read_status(message).map(|status| Failure {
                status,
                by: FailedBy::Service,
            }),
            Err(status) => Some(Failure {
                status: status.clone(),
                by: if request.found_nobody() {
                    FailedBy::Nobody
                } else {
                    FailedBy::Client
                },
            }),
        };
        let Some(failure) = failure else {
            attempts.succeeded();
            return reply;
        };
        let (subject, gate) = (outgoing.subject(), &multiplexer.gate);
        if !attempts.again(&failure, subject, gate).await {
            return reply;
        }
    }
}
