//! Which subjects may be named and answered: reply subjects, inboxes, subject prefixes.

/// Whether a reply may be sent to this subject. A leading `$` marks the subjects of NATS itself: a reply there would be a request to
/// JetStream or the server, made with the rights of the service.
pub(crate) fn is_reply_subject(subject: &str) -> bool {
    !subject.starts_with('$')
}

/// The longest subject that is accepted from a peer, in bytes. A subject travels in a protocol line of at most 4,096 bytes.
const MAX_SUBJECT_LEN: usize = 512;

/// Whether a peer may name this subject as its own: a subject without wildcards that does not belong to NATS.
pub(crate) fn is_receiver(subject: &str) -> bool {
    subject.len() <= MAX_SUBJECT_LEN
        && is_reply_subject(subject)
        && subject.split('.').all(|token| !token.is_empty())
        && subject
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '*' | '>'))
}

/// The prefix of the inboxes of this connection, without the last dot.
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

/// The longest subject prefix in bytes: a subject travels in a protocol line of at most 4,096.
const MAX_PREFIX_LEN: usize = 512;

/// Checks a prefix for the subjects of endpoints; the error says what is wrong with it.
pub(crate) fn check_subject_prefix(prefix: &str) -> Result<(), &'static str> {
    if prefix.len() > MAX_PREFIX_LEN {
        Err("it has more than 512 bytes")
    } else if prefix.split('.').any(str::is_empty) {
        Err("it has an empty token; write tokens separated by single dots, such as \"api.v1\"")
    } else if prefix.contains(['*', '>']) {
        Err("it cannot contain a wildcard")
    } else if prefix.starts_with('$') || prefix.split('.').next() == Some("_INBOX") {
        Err("its first token belongs to NATS")
    } else if !prefix.chars().all(|c| c.is_ascii_graphic()) {
        Err("it has a space or another character than printable ASCII")
    } else {
        Ok(())
    }
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

    #[test]
    fn subject_prefixes() {
        for good in ["api", "api.v1", "a-b.c_d"] {
            assert_eq!(check_subject_prefix(good), Ok(()), "{good}");
        }
        for bad in [
            "", ".", "api.", ".api", "api..v1", "api.*", "api.>", "api v1", "$SRV", "äpi", "a\n",
            "_INBOX.x",
        ] {
            assert!(check_subject_prefix(bad).is_err(), "{bad:?}");
        }
    }
}
