//! Requests to JetStream that end at once when NATS refuses them.

use crate::transport::events::{Action, Violation};
use crate::transport::gate::Gate;

/// Awaits an operation of async-nats that publishes to `request`, unless NATS refuses that, or the subscription to the replies. Without
/// connection events it is only awaited.
///
/// `request` is the subject below the prefix of the JetStream API, which async-nats does not show.
pub(crate) async fn unless_refused<T>(
    gate: &Gate,
    request: &str,
    operation: impl Future<Output = T>,
) -> Result<T, Violation> {
    if !gate.has_events() {
        return Ok(operation.await);
    }
    // Before the operation begins, so that no violation is missed.
    let mut violations = gate.violations();
    let refused = async {
        if let Some(violation) = gate.refused_subscription(|it| gate.receives_replies(it)) {
            return violation;
        }
        loop {
            let violation = violations.next().await;
            let is_concerned = match violation.action {
                Action::Publish => is_request(&violation.subject, request),
                Action::Subscribe => gate.receives_replies(&violation.subject),
            };
            if is_concerned {
                return violation;
            }
        }
    };
    tokio::select! {
        biased;
        done = operation => Ok(done),
        violation = refused => Err(violation),
    }
}

/// Whether a subject is this request below the prefix of a JetStream API. The keys of buckets may look like requests.
pub(crate) fn is_request(subject: &str, request: &str) -> bool {
    let prefix = subject.strip_suffix(request);
    prefix.is_some_and(|prefix| {
        prefix.ends_with('.') && !prefix.starts_with("$KV.") && !prefix.starts_with("$O.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_below_any_prefix() {
        for prefix in ["$JS.API", "$JS.hub.API", "js.orders"] {
            let subject = format!("{prefix}.STREAM.INFO.KV_b");
            assert!(is_request(&subject, "STREAM.INFO.KV_b"), "{subject}");
            let subject = format!("{prefix}.$KV.b.key");
            assert!(is_request(&subject, "$KV.b.key"), "{subject}");
        }
    }

    #[test]
    fn other_subjects_are_not_taken_for_a_request() {
        for (subject, request) in [
            ("$JS.API.STREAM.INFO.KV_bb", "STREAM.INFO.KV_b"),
            ("$JS.API.STREAM.INFO.KV_b", "STREAM.INFO.KV_bb"),
            ("$JS.API.STREAM.INFO.KV_a_KV_b", "KV_b"),
            (
                "$JS.API.CONSUMER.CREATE.KV_b.two",
                "CONSUMER.CREATE.KV_b.one",
            ),
            ("$KV.a.STREAM.INFO.KV_b", "STREAM.INFO.KV_b"),
            ("$O.a.M.INFO", "INFO"),
            ("INFO", "INFO"),
        ] {
            assert!(!is_request(subject, request), "{subject}");
        }
    }
}
