//! Which subjects may be named: inboxes, other reply subjects, and the subject prefixes of services.

use async_nats::Subject;

/// The longest subject prefix, and the longest pattern of reply subjects, in bytes. A subject travels in a protocol line of at most 4,096
/// bytes, together with another one.
const MAX_SUBJECT_LEN: usize = 512;
/// How the reply subjects begin that the NATS server makes for messages from another account.
const MAPPED_PREFIX: &str = "_R_.";

/// The inbox prefix of a connection, without the last dot.
pub(crate) fn prefix_of_inbox(inbox: &str) -> &str {
    inbox.rsplit_once('.').map_or("", |(prefix, _)| prefix)
}

/// Whether a message can be published to this subject: it has no wildcard and no empty token. It looks at all bytes, and does not stop at
/// what is wrong: rustc makes vector instructions of that, and each request's reply subject passes here.
fn is_literal(subject: &str) -> bool {
    let bytes = subject.as_bytes();
    let wrong = bytes.iter().fold(0, |wrong, byte| {
        wrong | u8::from(!byte.is_ascii_graphic()) | u8::from(matches!(byte, b'*' | b'>'))
    });
    let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    let gaps = pairs.fold(0, |gaps, (one, next)| {
        gaps | (u8::from(*one == b'.') & u8::from(*next == b'.'))
    });
    let has_ends = !bytes.is_empty() && !bytes.starts_with(b".") && !bytes.ends_with(b".");
    wrong == 0 && gaps == 0 && has_ends
}

/// Whether a subject is an inbox: its first token begins with `_`, and is followed by another one.
fn is_inbox(subject: &str) -> bool {
    subject.starts_with('_') && subject.contains('.')
}

/// The subjects to which replies go when a caller names them.
///
/// They are the inboxes, and what the owner of a server allows besides. None of them belongs to NATS, since a message there would be a
/// request to JetStream or to the NATS server, made with the rights of the service; and no endpoint listens on one.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplySubjects {
    patterns: Vec<String>,
}

impl ReplySubjects {
    /// Allows the subjects that match one of `patterns` next to the inboxes; the error says what is wrong with a pattern. `served` are
    /// the subjects of the endpoints.
    pub(crate) fn new(patterns: Vec<String>, served: &[String]) -> Result<Self, String> {
        for pattern in &patterns {
            let shown = pattern.escape_debug();
            check_pattern(pattern).map_err(|reason| {
                format!("`{shown}` cannot be a pattern of reply subjects: {reason}")
            })?;
            let endpoint = served.iter().find(|subject| matches(pattern, subject));
            if let Some(endpoint) = endpoint {
                return Err(format!(
                    "`{shown}` cannot be a pattern of reply subjects: it matches `{endpoint}`, on which this server answers; a reply \
                     there would be a request"
                ));
            }
        }
        Ok(Self { patterns })
    }

    /// The subject as one to publish to, or why it cannot be one.
    pub(super) fn peer_subject(&self, subject: &Subject) -> Result<PeerSubject, &'static str> {
        self.check(subject)?;
        Ok(PeerSubject(subject.clone()))
    }

    fn check(&self, subject: &str) -> Result<(), &'static str> {
        if !is_literal(subject) {
            return Err("it is no subject");
        }
        let is_allowed = is_inbox(subject)
            || self
                .patterns
                .iter()
                .any(|pattern| matches(pattern, subject));
        if is_allowed {
            Ok(())
        } else {
            Err("it is no inbox, and no pattern of `with_reply_subjects` matches it")
        }
    }
}

/// A subject that a peer has named, and that may be published to. The gate of a connection makes it, by its reply subjects; nothing else
/// does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerSubject(Subject);

impl PeerSubject {
    pub(crate) fn subject(&self) -> &Subject {
        &self.0
    }

    /// Whether the NATS server has put this reply subject in the place of one in another account. It does so for a message that passes
    /// a service export and an import, and sends on what is published here. It never reports that nobody listens.
    pub(crate) fn is_mapped(&self) -> bool {
        self.0.starts_with(MAPPED_PREFIX)
    }
}

fn check_pattern(pattern: &str) -> Result<(), &'static str> {
    let tokens: Vec<&str> = pattern.split('.').collect();
    let is_valid = |(index, token): (usize, &&str)| match *token {
        "*" => true,
        ">" => index + 1 == tokens.len(),
        token => is_literal(token),
    };
    if pattern.len() > MAX_SUBJECT_LEN {
        Err("it has more than 512 bytes")
    } else if !tokens.iter().enumerate().all(is_valid) {
        Err(
            "write tokens separated by single dots; `*` stands for one token, and a last `>` for all that follow",
        )
    } else if pattern.starts_with(['$', '*', '>']) {
        Err("it matches subjects that belong to NATS; begin it with a token of your own")
    } else {
        Ok(())
    }
}

/// Whether a subject without wildcards matches a pattern.
pub(crate) fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// Checks a prefix for the subjects of endpoints; the error says what is wrong with it.
pub(crate) fn check_subject_prefix(prefix: &str) -> Result<(), &'static str> {
    if prefix.len() > MAX_SUBJECT_LEN {
        Err("it has more than 512 bytes")
    } else if prefix.split('.').any(str::is_empty) {
        Err("it has an empty token; write tokens separated by single dots, such as \"api.v1\"")
    } else if prefix.contains(['*', '>']) {
        Err("it cannot contain a wildcard")
    } else if prefix.starts_with('$') {
        Err("subjects that begin with `$` belong to NATS")
    } else if prefix.starts_with('_') {
        Err("subjects that begin with `_` are inboxes, to which services send replies")
    } else if !prefix.chars().all(|c| c.is_ascii_graphic()) {
        Err("it has a space or another character than printable ASCII")
    } else {
        Ok(())
    }
}

/// Whether this is the prefix of the JetStream API in a domain, and not under which an account imports it.
pub(crate) fn is_api_of_domain(prefix: &str) -> bool {
    let domain = prefix.strip_prefix("$JS.");
    let domain = domain.and_then(|rest| rest.strip_suffix(".API"));
    domain.is_some_and(|domain| !domain.is_empty() && !domain.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply_subjects(patterns: &[&str]) -> Result<ReplySubjects, String> {
        let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        ReplySubjects::new(patterns, &["api.v1.save".to_owned()])
    }

    #[test]
    fn replies_go_to_inboxes() {
        let inboxes = ReplySubjects::default();
        for good in [
            "_INBOX.a",
            "_INBOX.a.b-c",
            "_INBOX_alice.x",
            "_R_.aB3.x",
            "_MINE.team.x",
        ] {
            assert_eq!(inboxes.check(good), Ok(()), "{good}");
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
            "INBOX.a",
            "orders",
            "api.v1.save",
            "$SRV.PING",
            "$JS.API.STREAM.DELETE.KV_x",
            "$KV.b.k",
        ] {
            assert!(inboxes.check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reply_subjects_from_other_accounts_are_known() {
        let inboxes = ReplySubjects::default();
        let is_mapped = |subject: &str| {
            let subject = inboxes.peer_subject(&Subject::from(subject));
            subject.unwrap().is_mapped()
        };
        assert!(is_mapped("_R_.aB3dE6.x7Y8z9"));
        for own in ["_INBOX.a", "_R.a.b", "_R_x.a.b", "_INBOX._R_.a"] {
            assert!(!is_mapped(own), "{own}");
        }
    }

    #[test]
    fn an_owner_allows_other_reply_subjects() {
        let allowed = reply_subjects(&["billing.results.>", "old.*.done"]).unwrap();
        for good in ["billing.results.a", "billing.results.a.b", "old.x.done"] {
            assert_eq!(allowed.check(good), Ok(()), "{good}");
        }
        for bad in [
            "billing.results",
            "billing.results.*",
            "old.done",
            "old.x.y.done",
            "old.x.done.z",
        ] {
            assert!(allowed.check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_of_reply_subjects_exclude_nats_and_the_endpoints() {
        for (bad, reason) in [
            ("$JS.>", "belong to NATS"),
            (">", "belong to NATS"),
            ("*.x", "belong to NATS"),
            ("api.>", "`api.v1.save`"),
            ("api.*.save", "`api.v1.save`"),
            ("api.v1.save", "`api.v1.save`"),
            ("a..b", "single dots"),
            ("a.>.b", "single dots"),
            ("a b", "single dots"),
            ("", "single dots"),
        ] {
            let error = reply_subjects(&[bad]).unwrap_err();
            assert!(error.contains(reason), "{bad}: {error}");
        }
        assert!(reply_subjects(&["api.v2.>", "api.v1.save.done"]).is_ok());
    }

    #[test]
    fn subject_prefixes() {
        for good in ["api", "api.v1", "a-b.c_d"] {
            assert_eq!(check_subject_prefix(good), Ok(()), "{good}");
        }
        for bad in [
            "", ".", "api.", ".api", "api..v1", "api.*", "api.>", "api v1", "$SRV", "äpi", "a\n",
            "_INBOX.x", "_x", "_",
        ] {
            assert!(check_subject_prefix(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn patterns_match() {
        for (pattern, subject) in [
            (">", "a"),
            (">", "a.b"),
            ("a.>", "a.b.c"),
            ("a.*", "a.b"),
            ("a", "a"),
        ] {
            assert!(matches(pattern, subject), "{pattern} {subject}");
        }
        for (pattern, subject) in [
            ("a.>", "a"),
            ("a.*", "a"),
            ("a.*", "a.b.c"),
            ("a", "a.b"),
            ("*", "a.b"),
            ("a.b", "a"),
        ] {
            assert!(!matches(pattern, subject), "{pattern} {subject}");
        }
    }
}
