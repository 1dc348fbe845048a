//! A feature on a nats-server whose users have the permissions of the guide: one has all of them, one those that are needed, and each
//! of the others lacks one.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use async_nats::{ConnectOptions, Event, jetstream};
use natsmicro::__private::permissions::{Feature, Names, Permissions, Right, Verb};
use natsmicro::store::{StoreError, StoreErrorKind};
use natsmicro::testing::NatsServer;
use natsmicro::{Client, ConnectionEvents, LostWrite, Server, ServerHandle};
use natsmicro_tests::common::soon;

/// The inbox prefix of the user on trial. That of everybody else is `_INBOX`.
pub(super) const OWN_INBOX: &str = "_INBOX_own";
/// Within this, a refusal is an error. Nothing that it is told in place of ends so soon.
const AT_ONCE: Duration = Duration::from_secs(2);
/// The timeout of what waits for a refused request without events.
const SHORT: Duration = Duration::from_millis(500);

/// What a feature does, or the texts of all errors.
pub(super) type Outcome = Result<(), String>;

/// The operation, whose error must have the kind of a refusal where refusals are told.
pub(super) fn outcome(done: Result<(), StoreError>) -> Outcome {
    done.map_err(|error| {
        let text = text(&error);
        if text.contains("does not permit") {
            assert_eq!(*error.kind(), StoreErrorKind::PermissionDenied, "{text}");
        }
        text
    })
}

/// The connections of one run.
pub(super) struct Run {
    /// That of the user on trial.
    pub(super) nats: async_nats::Client,
    /// That of a user without limits.
    pub(super) other: async_nats::Client,
    events: Option<ConnectionEvents>,
    violations: Arc<Mutex<Vec<String>>>,
    lost: Arc<Mutex<Vec<String>>>,
    timeout: Duration,
}

impl Run {
    async fn new(server: &NatsServer, user: &str, is_told: bool) -> Self {
        let events = is_told.then(ConnectionEvents::new);
        let violations = Arc::<Mutex<Vec<String>>>::default();
        let (recorded, reported) = (events.clone(), Arc::clone(&violations));
        let options = as_user(user)
            .custom_inbox_prefix(OWN_INBOX)
            .event_callback(move |event| {
                if let Some(events) = &recorded {
                    events.record(&event);
                }
                if let Event::ServerError(error) = event {
                    reported.lock().unwrap().push(error.to_string());
                }
                async {}
            });
        Self {
            nats: soon(server.connect_with(options)).await.unwrap(),
            other: soon(server.connect()).await.unwrap(),
            events,
            violations,
            lost: Arc::default(),
            timeout: if is_told {
                Duration::from_secs(60)
            } else {
                SHORT
            },
        }
    }

    fn jetstream(&self) -> Context {
        let mut context = jetstream::new(self.nats.clone());
        context.set_timeout(self.timeout);
        context
    }

    /// A server on the connection on trial.
    pub(super) fn server(&self) -> Server {
        let lost = Arc::clone(&self.lost);
        let persist_timeout = if self.events.is_some() {
            Duration::from_secs(60)
        } else {
            2 * SHORT
        };
        let server = Server::new(self.nats.clone())
            .with_jetstream(self.jetstream())
            .with_persist_timeout(persist_timeout)
            .with_drain_timeout(Duration::from_secs(2))
            .on_lost_write(move |write: &LostWrite| {
                lost.lock().unwrap().push(write.cause.clone());
            });
        match &self.events {
            Some(events) => server.with_connection_events(events.clone()),
            None => server,
        }
    }

    /// A client on the connection on trial.
    pub(super) fn client(&self) -> Client {
        let client = Client::new(self.nats.clone())
            .with_jetstream(jetstream::new(self.nats.clone()))
            .with_timeout(self.timeout);
        match &self.events {
            Some(events) => client.with_connection_events(events.clone()),
            None => client,
        }
    }

    /// A client without limits. It does not wait for a service that cannot reply.
    pub(super) fn other_client(&self) -> Client {
        Client::new(self.other.clone())
            .with_jetstream(jetstream::new(self.other.clone()))
            .with_timeout(Duration::from_secs(1))
    }

    /// What a server on trial did not do.
    pub(super) fn losses(&self, server: &ServerHandle) -> Outcome {
        let stats = server.stats();
        let endpoints = stats.iter().flat_map(|service| &service.endpoints);
        let errors = endpoints.map(|endpoint| endpoint.last_error.clone());
        let mut losses: Vec<_> = errors
            .filter(|error| !error.is_empty() && !error.starts_with("ALREADY_EXISTS:"))
            .collect();
        losses.append(&mut self.lost.lock().unwrap());
        if losses.is_empty() {
            Ok(())
        } else {
            Err(losses.join("; "))
        }
    }

    fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }
}

fn as_user(user: &str) -> ConnectOptions {
    ConnectOptions::with_user_and_password(user.to_owned(), "x".to_owned())
}

/// An error with its causes.
pub(super) fn text(error: impl Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text = format!("{text}: {current}");
        cause = current.source();
    }
    text
}

/// The errors of both.
pub(super) fn both(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Err(one), Err(other)) => Err(format!("{one}; {other}")),
        (Ok(()), outcome) | (outcome, Ok(())) => outcome,
    }
}

/// A nats-server for a feature, and its users.
pub(super) struct Trial {
    rights: Vec<Right>,
    names: Names<'static>,
    server: NatsServer,
}

impl Trial {
    /// With the rights of all these features. Whatever one of them needs is needed.
    pub(super) async fn of(features: &[Feature], names: Names<'static>) -> Self {
        let rights = features.iter().flat_map(|feature| feature.rights);
        Self::with(rights.copied(), names).await
    }

    /// The same without `allow_responses`: for a service that may publish to inboxes, or that gets no requests.
    pub(super) async fn without_responses(features: &[Feature], names: Names<'static>) -> Self {
        let rights = features.iter().flat_map(|feature| feature.rights);
        let rights = rights.filter(|right| right.verb != Verb::Respond);
        Self::with(rights.copied(), names).await
    }

    pub(super) async fn with(all: impl IntoIterator<Item = Right>, names: Names<'static>) -> Self {
        let mut rights: Vec<Right> = Vec::new();
        for right in all {
            let same =
                |other: &&mut Right| (other.verb, other.subject) == (right.verb, right.subject);
            match rights.iter_mut().find(same) {
                Some(known) if right.without.is_none() => *known = right,
                Some(_) => {}
                None => rights.push(right),
            }
        }
        let names = Names {
            inbox: OWN_INBOX,
            ..names
        };
        let needed = rights.iter().filter(|right| right.without.is_none());
        let mut users = user("all", &Permissions::default().with(&rights, &names));
        users += &user("needed", &Permissions::default().with(needed, &names));
        for lacking in 0..rights.len() {
            let others = rights.iter().enumerate();
            let others = others.filter_map(|(at, right)| (at != lacking).then_some(right));
            let permissions = Permissions::default().with(others, &names);
            users += &user(&format!("without-{lacking}"), &permissions);
        }
        let config = format!(
            "no_auth_user: admin\nauthorization {{ users: [\n{{ user: admin, password: x }}\n{users}] }}"
        );
        let server = NatsServer::builder().config(config).start().await.unwrap();
        Self {
            rights,
            names,
            server,
        }
    }

    /// A connection without limits.
    pub(super) async fn admin(&self) -> async_nats::Client {
        self.server.connect().await.unwrap()
    }

    /// The connections of a user whose refusals are not told.
    pub(super) async fn untold(&self, user: &str) -> Run {
        Run::new(&self.server, user, false).await
    }

    /// The connections of a user whose refusals are told.
    pub(super) async fn told(&self, user: &str) -> Run {
        Run::new(&self.server, user, true).await
    }

    /// Runs the feature with all rights, with those that are needed, and without each single one.
    pub(super) async fn run(&self, feature: impl AsyncFn(&Run) -> Outcome) {
        let run = Run::new(&self.server, "all", true).await;
        within(Duration::from_secs(30), feature(&run))
            .await
            .unwrap();
        assert_eq!(run.violations(), [""; 0], "with all rights");
        let run = Run::new(&self.server, "needed", true).await;
        within(Duration::from_secs(30), feature(&run))
            .await
            .unwrap();
        for (at, right) in self.rights.iter().enumerate() {
            let run = Run::new(&self.server, &format!("without-{at}"), true).await;
            let begin = Instant::now();
            let outcome = within(Duration::from_secs(30), feature(&run)).await;
            if right.without.is_some() {
                assert_eq!(outcome, Ok(()), "without the right to {right:?}");
                continue;
            }
            let elapsed = begin.elapsed();
            let Err(error) = outcome else {
                panic!("not needed: {right:?}; refused: {:?}", run.violations());
            };
            if right.verb == Verb::Respond {
                let named = "Publish to \"_INBOX.";
                let violations = run.violations().concat();
                assert!(violations.contains(named), "{violations}");
                continue;
            }
            let subjects = self.names.subjects(right);
            assert!(
                subjects.iter().any(|pattern| names_match(&error, pattern)),
                "no subject of {right:?} in: {error}; refused: {:?}",
                run.violations()
            );
            assert!(elapsed < AT_ONCE, "{elapsed:?} without {right:?}: {error}");
        }
    }

    /// Runs the feature without the right that has this template, and without events.
    pub(super) async fn run_untold(&self, lacking: &str, feature: impl AsyncFn(&Run) -> Outcome) {
        let is_lacking = |right: &Right| right.verb == Verb::Publish && right.subject == lacking;
        let at = self.rights.iter().position(is_lacking).unwrap();
        let run = Run::new(&self.server, &format!("without-{at}"), false).await;
        let outcome = within(Duration::from_secs(30), feature(&run)).await;
        let error = outcome.expect_err(lacking);
        let inbox = format!("{OWN_INBOX}.>");
        for hint in [
            "with_connection_events",
            "natsmicro::guide::permissions",
            &inbox,
        ] {
            assert!(error.contains(hint), "no {hint} in: {error}");
        }
    }
}

async fn within<F: Future>(time: Duration, future: F) -> F::Output {
    let done = tokio::time::timeout(time, future).await;
    done.expect("a run does not end")
}

fn user(name: &str, permissions: &Permissions) -> String {
    format!("{{ user: {name}, password: x, permissions: {permissions} }}\n")
}

/// Whether an error names a subject that matches.
pub(super) fn names_match(error: &str, pattern: &str) -> bool {
    let quoted = error.split('`').skip(1).step_by(2);
    error.contains("does not permit") && { quoted }.any(|subject| matches(pattern, subject))
}

fn matches(pattern: &str, subject: &str) -> bool {
    let (mut patterns, mut tokens) = (pattern.split('.'), subject.split('.'));
    loop {
        match (patterns.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(pattern), Some(token)) if pattern == token => {}
            _ => return false,
        }
    }
}
