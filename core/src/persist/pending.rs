//! What a reply waits for: the acknowledgements of the writes of its call, and until when.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::context::Context;
use crate::descriptor::service::DEFAULT_TIMEOUT;
use crate::persist::target::{Failure, Target, WriteOutcome};
use crate::status::Status;
use crate::transport::claim::Claim;

/// The most time of a call that is left for its reply when a write is not acknowledged, and the share of the time of the write.
const MAX_REPLY_TIME: Duration = Duration::from_millis(500);
const REPLY_SHARE: u32 = 4;

/// The least time of a write for which a call is taken to end after the default timeout.
const MIN_WRITE_TIME: Duration = Duration::from_secs(1);

/// When a call ends whose reply waits for writes. A caller that tells no timeout has the default one, unless it still waits when that leaves
/// no time for the writes: then it has a longer one.
pub(super) fn reply_deadline(cx: &Context) -> Option<Instant> {
    cx.deadline().or_else(|| {
        let default = cx.received()?.checked_add(DEFAULT_TIMEOUT)?;
        let remaining = default.saturating_duration_since(Instant::now());
        (remaining >= MIN_WRITE_TIME).then_some(default)
    })
}

/// Until when the reply of a call waits for a write that is queued now, so that the caller gets an answer in time.
pub(super) fn write_deadline(deadline: Instant) -> Instant {
    let remaining = deadline.saturating_duration_since(Instant::now());
    deadline - MAX_REPLY_TIME.min(remaining / REPLY_SHARE)
}

/// The writes that a reply waits for.
#[derive(Default)]
pub(crate) struct Pending {
    acknowledgements: Vec<Acknowledgement>,
    /// Until when they are waited for, a little before the deadline of the call.
    pub(super) due: Option<Instant>,
    /// The object that replaces a response that is too large for a reply; its digest comes with the acknowledgement.
    pub(super) claim: Option<Box<Claim>>,
}

/// A write that a reply waits for, and the channel on which its outcome arrives.
type Acknowledgement = (Arc<Target>, oneshot::Receiver<WriteOutcome>);

impl Pending {
    /// Adds a write to those that the reply waits for.
    pub(super) fn add(&mut self, target: &Arc<Target>) -> oneshot::Sender<WriteOutcome> {
        let (done, acknowledgement) = oneshot::channel();
        self.acknowledgements
            .push((Arc::clone(target), acknowledgement));
        done
    }

    /// Whether the reply waits for a write.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.acknowledgements.is_empty()
    }

    /// Waits for the acknowledgements. If a write fails or is not acknowledged in time, so does the call. Returns the reference to the
    /// object that replaces the response, if one does.
    pub(crate) async fn acknowledged(mut self) -> Result<Option<Box<Claim>>, Status> {
        for (target, acknowledgement) in self.acknowledgements {
            let late = || Failure::Store("not acknowledged in time".to_owned()).status(&target);
            let outcome = match self.due {
                Some(due) => timeout_at(due, acknowledgement).await.map_err(|_| late())?,
                None => acknowledgement.await,
            };
            match outcome {
                Ok(Ok(digest)) => {
                    if let (Some(claim), Some(digest)) = (&mut self.claim, digest) {
                        claim.digest = digest;
                    }
                }
                Ok(Err(failure)) => return Err(failure.status(&target)),
                Err(_) => {
                    return Err(Status::unavailable(
                        "the service stopped before its writes were acknowledged",
                    ));
                }
            }
        }
        Ok(self.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::EndpointContext;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn half_a_second_or_a_quarter_is_left_for_the_reply() {
        let now = Instant::now();
        for (time, left) in [(60 * SECOND, 500), (2 * SECOND, 500), (SECOND, 250)] {
            let left = Duration::from_millis(left);
            assert_eq!(write_deadline(now + time), now + time - left);
        }
        assert_eq!(write_deadline(now), now);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_without_a_deadline_is_due_ten_seconds_after_the_arrival() {
        let received = Instant::now();
        let call = |deadline| {
            let endpoint = Arc::new(EndpointContext::default());
            let (subject, headers) = (
                async_nats::Subject::from_static("s"),
                async_nats::HeaderMap::new(),
            );
            Context::of_call(
                endpoint,
                subject,
                headers,
                http::Extensions::new(),
                Some(received),
                deadline,
            )
        };
        let unsaid = call(None);
        assert_eq!(reply_deadline(&unsaid), Some(received + 10 * SECOND));
        let said = Some(received + 60 * SECOND);
        assert_eq!(reply_deadline(&call(said)), said);
        assert_eq!(reply_deadline(&Context::new()), None);
        // A caller that still waits when no time is left for the write has a longer one.
        tokio::time::advance(9 * SECOND).await;
        assert_eq!(reply_deadline(&unsaid), Some(received + 10 * SECOND));
        tokio::time::advance(SECOND / 1000).await;
        assert_eq!(reply_deadline(&unsaid), None);
    }
}
