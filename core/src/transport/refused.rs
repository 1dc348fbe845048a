//! Operations that end at once when NATS refuses what they send.

use crate::transport::events::{Action, Refusal};
use crate::transport::gate::Gate;

/// Awaits an operation of async-nats that makes requests, unless NATS refuses one of them, to a subject that `is_own` accepts, or the
/// subscription to the replies. Without connection events it is only awaited.
pub(crate) async fn unless_refused<T>(
    gate: &Gate,
    is_own: impl Fn(&str) -> bool,
    operation: impl Future<Output = T>,
) -> Result<T, Refusal> {
    if !gate.has_events() {
        return Ok(operation.await);
    }
    let mut refusals = gate.refusals();
    let refused = async {
        if let Some(refusal) = gate.refused_subscription(|subject| gate.is_inbox(subject)) {
            return refusal;
        }
        loop {
            let refusal = refusals.next().await;
            let is_concerned = match refusal.action {
                Action::Publish => is_own(&refusal.subject),
                Action::Subscribe => gate.is_inbox(&refusal.subject),
            };
            if is_concerned {
                return refusal;
            }
        }
    };
    tokio::select! {
        done = operation => Ok(done),
        refusal = refused => Err(refusal),
    }
}
