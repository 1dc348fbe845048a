//! The permissions of one user, as nats-server reads them: the rights of features, with names in place of their placeholders.

use std::collections::BTreeSet;
use std::fmt;

use crate::contract::permissions::{Right, Verb};
use crate::transport::subject::is_api_of_domain;

/// What takes the place of the placeholders.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The name of the service.
    pub service: &'a str,
    /// Its subject prefix.
    pub prefix: &'a str,
    /// Its endpoints.
    pub endpoints: &'a [&'a str],
    /// The bucket.
    pub bucket: &'a str,
    /// The prefix of the inboxes of this user.
    pub inbox: &'a str,
    /// The prefix of the inboxes of the other side: of the callers for a service, of the service for a caller.
    pub peer_inbox: &'a str,
    /// The prefix of the `JetStream` API.
    pub api: &'a str,
}

/// The prefix of the `JetStream` API without a domain.
const PLAIN_API: &str = "$JS.API";

impl Default for Names<'_> {
    fn default() -> Self {
        Self {
            service: "",
            prefix: "",
            endpoints: &[],
            bucket: "",
            inbox: "_INBOX",
            peer_inbox: "_INBOX",
            api: PLAIN_API,
        }
    }
}

impl Names<'_> {
    /// The subjects of a right: several if it has one per endpoint, none for [`Verb::Respond`].
    #[must_use]
    pub fn subjects(&self, right: &Right) -> Vec<String> {
        let mut subject = right
            .subject
            .replace("<service>", self.service)
            .replace("<prefix>", self.prefix)
            .replace("<bucket>", self.bucket)
            .replace("<inbox>", self.inbox)
            .replace("<caller inbox>", self.peer_inbox)
            .replace("<service inbox>", self.peer_inbox)
            .replace("<api>", self.api);
        // nats-server maps no objects into a domain: they are written to their own subjects.
        let is_below_api = subject.starts_with("$KV.")
            || (subject.starts_with("$O.") && !is_api_of_domain(self.api));
        if is_below_api && self.api != PLAIN_API {
            subject = format!("{}.{subject}", self.api);
        }
        if subject.contains("<endpoint>") {
            let endpoints = self.endpoints.iter();
            return endpoints
                .map(|endpoint| subject.replace("<endpoint>", endpoint))
                .collect();
        }
        match right.verb {
            Verb::Respond => Vec::new(),
            Verb::Publish | Verb::Subscribe => vec![subject],
        }
    }
}

/// The permissions of a user, as nats-server reads them: everything else is forbidden.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    publish: BTreeSet<String>,
    subscribe: BTreeSet<String>,
    responds: bool,
}

impl Permissions {
    /// Adds rights.
    #[must_use]
    pub fn with<'a>(
        mut self,
        rights: impl IntoIterator<Item = &'a Right>,
        names: &Names<'_>,
    ) -> Self {
        for right in rights {
            let subjects = names.subjects(right);
            match right.verb {
                Verb::Publish => self.publish.extend(subjects),
                Verb::Subscribe => self.subscribe.extend(subjects),
                Verb::Respond => self.responds = true,
            }
        }
        self
    }
}

/// The block `permissions` of a user, without that word.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\n")?;
        for (verb, subjects) in [("publish", &self.publish), ("subscribe", &self.subscribe)] {
            if subjects.is_empty() {
                writeln!(f, "  {verb}: {{ deny: \">\" }}")?;
                continue;
            }
            writeln!(f, "  {verb}: [")?;
            for subject in subjects {
                writeln!(f, "    \"{subject}\"")?;
            }
            writeln!(f, "  ]")?;
        }
        if self.responds {
            writeln!(f, "  allow_responses: true")?;
        }
        f.write_str("}")
    }
}
