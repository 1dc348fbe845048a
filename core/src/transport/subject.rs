//! What a connection needs beyond async-nats.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

/// An id that nobody has used before: the last token of a new inbox.
pub(crate) fn unique_id(nats: &async_nats::Client) -> String {
    let inbox = nats.new_inbox();
    inbox.rsplit('.').next().unwrap_or_default().to_owned()
}

/// Which of its connections a client is on, or was on last: those it had, counted.
pub(crate) fn connection(nats: &async_nats::Client) -> u64 {
    let statistics = nats.statistics();
    statistics
        .connects
        .load(std::sync::atomic::Ordering::Relaxed)
}

/// Waits until the server has processed everything that was sent on this connection before, and everything that it had sent
/// has been received. `flush` only waits for the socket.
pub(crate) async fn round_trip(nats: &async_nats::Client, timeout: Duration) -> Result<(), String> {
    let inbox = nats.new_inbox();
    let trip = async {
        let mut echo = nats
            .subscribe(inbox.clone())
            .await
            .map_err(|error| error.to_string())?;
        nats.publish(inbox, bytes::Bytes::new())
            .await
            .map_err(|error| error.to_string())?;
        echo.next()
            .await
            .map(drop)
            .ok_or_else(|| "the connection is closed".to_owned())
    };
    tokio::time::timeout(timeout, trip)
        .await
        .unwrap_or_else(|_| Err(format!("the NATS server did not answer within {timeout:?}")))
}

/// `timeout` from `start`; for one that no clock reaches, as good as never.
pub(crate) fn after(start: Instant, timeout: Duration) -> Instant {
    const YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    start.checked_add(timeout).unwrap_or(start + YEARS)
}

/// Whether a reply may be sent to this subject. `$` marks the subjects of NATS itself: a reply there would be a request to
/// JetStream or the server, made with the rights of the service.
pub(crate) fn is_reply_subject(subject: &str) -> bool {
    !subject.starts_with('$')
}

/// The longest subject of a peer that is believed: it travels in a protocol line of at most 4,096 bytes.
const MAX_SUBJECT_LEN: usize = 512;

/// Whether a peer may name this subject as the place where it receives: one subject, and none of NATS itself.
pub(crate) fn is_receiver(subject: &str) -> bool {
    subject.len() <= MAX_SUBJECT_LEN
        && is_reply_subject(subject)
        && subject.split('.').all(|token| !token.is_empty())
        && subject
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '*' | '>'))
}

/// What the inboxes of this connection begin with, up to the last dot.
pub(crate) fn inbox_prefix(nats: &async_nats::Client) -> String {
    let inbox = nats.new_inbox();
    inbox
        .rsplit_once('.')
        .map_or(String::new(), |(prefix, _)| prefix.to_owned())
}

/// Whether a subject is an inbox: one with the usual prefix, or with `own_prefix`.
pub(crate) fn is_inbox(subject: &str, own_prefix: &str) -> bool {
    let is_below = |prefix: &str| {
        subject
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    is_receiver(subject) && (is_below("_INBOX") || is_below(own_prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inboxes() {
        let own = "_MINE.team";
        for good in ["_INBOX.a", "_INBOX.a.b-c", "_MINE.team.x"] {
            assert!(is_inbox(good, own), "{good}");
        }
        for bad in [
            "",
            "_INBOX",
            "_INBOX.",
            "_INBOX..a",
            "_INBOX.a.",
            "_INBOX.*",
            "_INBOX.>",
            "_INBOX.a b",
            "_INBOX.a\r\nPUB x 0",
            "_INBOXES.a",
            "orders",
            "$JS.API.STREAM.DELETE.KV_x",
            "_MINE.a",
        ] {
            assert!(!is_inbox(bad, own), "{bad:?}");
        }
        assert!(!is_inbox(&format!("_INBOX.{}", "a".repeat(600)), own));
    }
}
