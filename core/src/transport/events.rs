//! What a NATS server refuses to a connection, which async-nats tells to the event callback of the connection alone.

use std::collections::BTreeSet;
use std::fmt;
use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::{Event, ServerError};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::log::warn_limited;
use crate::status::Status;
use crate::sync::Mutex;

/// How many violations a slow receiver may be behind. It misses those on top, and then waits for its timeout as without events.
const MAX_UNREAD: usize = 256;
/// How many refused subscriptions are remembered.
const MAX_REMEMBERED: usize = 1_024;

/// Makes permissions violations errors: a publish or a subscription that the permissions of a connection do not cover fails at once, with
/// its subject, in place of a timeout.
///
/// NATS answers nothing to a message that may not be published, and reports the violation to the connection as a whole. async-nats hands
/// such reports to the event callback of the connection, so that is where they have to be taken from:
///
/// ```no_run
/// use natsmicro::ConnectionEvents;
/// # use natsmicro::Status;
/// # #[natsmicro::service]
/// # pub trait Users { async fn ping(&self) -> Result<(), Status>; }
/// # struct Impl;
/// # impl Users for Impl { async fn ping(&self) -> Result<(), Status> { Ok(()) } }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
///
/// let events = ConnectionEvents::new();
/// let nats = async_nats::ConnectOptions::new()
///     .event_callback(events.callback())
///     .connect("localhost")
///     .await?;
///
/// let server = natsmicro::Server::new(nats.clone())
///     .with_connection_events(events.clone())
///     .add_service(UsersServer::new(Impl))
///     .start() // fails with the subject of each subscription that NATS refuses
///     .await?;
/// let client = natsmicro::Client::new(nats).with_connection_events(events);
/// # Ok(())
/// # }
/// ```
///
/// What a service, its callers and the users of its stores need is listed in [`guide::permissions`](crate::guide::permissions).
///
/// Cheap to clone, and its clones are one and the same. A server whose JetStream context is on a connection of its own gives each of the
/// two a [`callback`](ConnectionEvents::callback).
#[derive(Clone)]
pub struct ConnectionEvents(Arc<Shared>);

struct Shared {
    violations: broadcast::Sender<Violation>,
    /// The subscriptions that were refused since their connection was made, with its number. Requests whose replies they would receive wait
    /// in vain.
    subscriptions: Mutex<BTreeSet<(Arc<str>, usize)>>,
    /// How many callbacks were made. Each is of one connection, which has its number; the connections of `record` have the number 0.
    callbacks: AtomicUsize,
}

impl ConnectionEvents {
    /// Events of a connection to be made.
    #[must_use]
    pub fn new() -> Self {
        let (violations, _) = broadcast::channel(MAX_UNREAD);
        let subscriptions = Mutex::default();
        Self(Arc::new(Shared {
            violations,
            subscriptions,
            callbacks: AtomicUsize::new(0),
        }))
    }

    /// The callback for [`ConnectOptions::event_callback`](async_nats::ConnectOptions::event_callback). A connection has one; where it
    /// needs another callback, that may call [`record`](Self::record).
    pub fn callback(&self) -> impl Fn(Event) -> future::Ready<()> + Send + Sync + 'static + use<> {
        let events = self.clone();
        let connection = self.0.callbacks.fetch_add(1, Ordering::Relaxed) + 1;
        move |event| {
            events.record_of(connection, &event);
            future::ready(())
        }
    }

    /// Takes note of an event, for callbacks that do something else besides.
    ///
    /// ```
    /// use natsmicro::ConnectionEvents;
    ///
    /// let events = ConnectionEvents::new();
    /// let recorded = events.clone();
    /// let options = async_nats::ConnectOptions::new().event_callback(move |event| {
    ///     recorded.record(&event);
    ///     async move { println!("{event}") }
    /// });
    /// ```
    pub fn record(&self, event: &Event) {
        self.record_of(0, event);
    }

    fn record_of(&self, connection: usize, event: &Event) {
        match event {
            // Subscriptions are made anew, and refused anew if they still are.
            Event::Connected => {
                let mut subscriptions = self.0.subscriptions.lock();
                subscriptions.retain(|(_, refused_on)| *refused_on != connection);
            }
            Event::ServerError(ServerError::Other(text)) => {
                if let Some(violation) = Violation::parse(text) {
                    warn_limited!("{violation}");
                    self.refuse(connection, violation);
                }
            }
            _ => {}
        }
    }

    fn refuse(&self, connection: usize, violation: Violation) {
        if violation.action == Action::Subscribe {
            let mut subscriptions = self.0.subscriptions.lock();
            if subscriptions.len() < MAX_REMEMBERED {
                subscriptions.insert((Arc::clone(&violation.subject), connection));
            }
        }
        // Fails if nobody waits.
        let _ = self.0.violations.send(violation);
    }

    /// The violations from now on.
    pub(super) fn violations(&self) -> Violations {
        Violations(Some(self.0.violations.subscribe()))
    }

    /// A subscription that `is_wanted` accepts and that was refused since the connection was made.
    pub(super) fn refused_subscription(
        &self,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Option<Violation> {
        let subscriptions = self.0.subscriptions.lock();
        let (subject, _) = subscriptions
            .iter()
            .find(|(subject, _)| is_wanted(subject))?;
        Some(Violation {
            action: Action::Subscribe,
            subject: Arc::clone(subject),
        })
    }
}

impl Default for ConnectionEvents {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ConnectionEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionEvents").finish_non_exhaustive()
    }
}

/// The violations of a connection as they arrive. None ever arrives on a connection without events.
pub(crate) struct Violations(Option<broadcast::Receiver<Violation>>);

impl Violations {
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Waits for the next violation. Cancel safe.
    pub(crate) async fn next(&mut self) -> Violation {
        let Some(receiver) = &mut self.0 else {
            return future::pending().await;
        };
        loop {
            match receiver.recv().await {
                Ok(violation) => return violation,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return future::pending().await,
            }
        }
    }
}

/// What a connection may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) action: Action,
    pub(crate) subject: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Publish,
    Subscribe,
}

/// The reports of nats-server, up to the subject in quotes.
const REPORTS: [(&str, Action); 3] = [
    ("Permissions Violation for Publish to ", Action::Publish),
    (
        "Permissions Violation for Publish with Reply of ",
        Action::Publish,
    ),
    (
        "Permissions Violation for Subscription to ",
        Action::Subscribe,
    ),
];

impl Violation {
    fn parse(report: &str) -> Option<Self> {
        let (action, quoted) = REPORTS
            .iter()
            .find_map(|&(start, action)| Some((action, report.strip_prefix(start)?)))?;
        Some(Self {
            action,
            subject: unquoted(quoted)?.into(),
        })
    }

    pub(crate) fn is_publish_to(&self, subject: &str) -> bool {
        self.action == Action::Publish && *self.subject == *subject
    }
}

/// The text between the first quotes. nats-server writes quotes and backslashes of a subject behind a backslash.
fn unquoted(text: &str) -> Option<String> {
    let mut subject = String::new();
    let mut chars = text.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return Some(subject),
            '\\' => subject.push(chars.next()?),
            char => subject.push(char),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Publish => "publish",
            Action::Subscribe => "subscribe",
        };
        let subject = &self.subject;
        write!(
            f,
            "NATS does not permit this connection to {action} to `{subject}`"
        )
    }
}

impl std::error::Error for Violation {}

impl Violation {
    pub(crate) fn status(&self) -> Status {
        Status::permission_denied(self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(report: &str) -> Option<(Action, String)> {
        let Violation { action, subject } = Violation::parse(report)?;
        Some((action, subject.to_string()))
    }

    #[test]
    fn the_reports_of_nats_server_are_read() {
        let subscription = (Action::Subscribe, "api.v1.save".to_owned());
        let report = "Permissions Violation for Subscription to \"api.v1.save\"";
        assert_eq!(parse(report), Some(subscription.clone()));
        let in_group = format!("{report} using queue \"q\"");
        assert_eq!(parse(&in_group), Some(subscription));
        let report = r#"Permissions Violation for Publish to "a.\"b\\c""#;
        assert_eq!(parse(report), Some((Action::Publish, r#"a."b\c"#.into())));
        let report = "Permissions Violation for Publish with Reply of \"_INBOX.a\"";
        assert_eq!(parse(report), Some((Action::Publish, "_INBOX.a".into())));
    }

    #[test]
    fn other_reports_are_none() {
        for report in [
            "Stale Connection",
            "Permissions Violation for Publish to ",
            "Permissions Violation for Publish to \"a",
            "Permissions Violation for Publish to \"a\\",
        ] {
            assert_eq!(parse(report), None, "{report}");
        }
    }

    #[tokio::test]
    async fn the_connections_of_two_callbacks_are_told_apart() {
        let events = ConnectionEvents::new();
        let (one, two) = (events.callback(), events.callback());
        let report = "Permissions Violation for Subscription to \"a.b\"".to_owned();
        one(Event::ServerError(ServerError::Other(report))).await;
        two(Event::Connected).await;
        assert!(events.refused_subscription(|it| it == "a.b").is_some());
        one(Event::Connected).await;
        assert!(events.refused_subscription(|it| it == "a.b").is_none());
    }

    #[tokio::test]
    async fn a_refused_subscription_is_forgotten_with_its_connection() {
        let events = ConnectionEvents::new();
        let mut violations = events.violations();
        let report = "Permissions Violation for Subscription to \"a.b\"".to_owned();
        events.record(&Event::ServerError(ServerError::Other(report)));
        assert_eq!(&*violations.next().await.subject, "a.b");
        assert!(events.refused_subscription(|it| it == "a.b").is_some());
        assert!(events.refused_subscription(|it| it == "a.c").is_none());
        events.record(&Event::Connected);
        assert!(events.refused_subscription(|_| true).is_none());
    }
}
