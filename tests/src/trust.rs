//! A service with an endpoint of each kind, callers who may do little, and a subscriber who sees all that is published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{ConnectOptions, HeaderMap};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use natsmicro::testing::NatsServer;
use natsmicro::{RunningServer, Status, Streaming};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::common::{Nats, Text, error_of, soon, synced, text};

#[natsmicro::service(subject_prefix = "trust")]
pub trait Trust {
    async fn echo(&self, request: Text) -> Result<Text, Status>;
    async fn fail(&self, request: Text) -> Result<Text, Status>;
    /// Answers when the gate is open.
    #[endpoint(max_in_flight = 1)]
    async fn gated(&self, request: Text) -> Result<Text, Status>;
    /// Three messages and the end.
    async fn feed(&self, request: Text) -> Result<Streaming<Text>, Status>;
    /// Fails before there is a stream.
    async fn no_feed(&self, request: Text) -> Result<Streaming<Text>, Status>;
    /// A message every 20 ms, until it is dropped.
    async fn tick(&self, request: Text) -> Result<Streaming<Text>, Status>;
    /// Messages as fast as they go, until it is dropped.
    async fn torrent(&self, request: Text) -> Result<Streaming<Text>, Status>;
    /// As `tick`, one at a time.
    #[endpoint(max_in_flight = 1)]
    async fn only_one(&self, request: Text) -> Result<Streaming<Text>, Status>;
    /// Answers with the number of messages.
    #[endpoint(max_in_flight = 1024)]
    async fn sum(&self, messages: Streaming<Text>) -> Result<Text, Status>;
    /// Answers each message with itself.
    async fn chat(&self, messages: Streaming<Text>) -> Result<Streaming<Text>, Status>;
}

/// What the service shows of itself.
#[derive(Clone)]
pub struct Impl {
    /// How many endless streams of responses there are.
    pub live: Arc<AtomicUsize>,
    /// Closed to open it.
    pub gate: Arc<Semaphore>,
}

impl Default for Impl {
    fn default() -> Self {
        Self {
            live: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        }
    }
}

struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Impl {
    fn live(&self) -> Live {
        self.live.fetch_add(1, Ordering::SeqCst);
        Live(Arc::clone(&self.live))
    }

    fn ticks(&self) -> Streaming<Text> {
        let live = self.live();
        Streaming::new(futures::stream::repeat(()).then(move |()| {
            let _ = &live;
            async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(text("tick"))
            }
        }))
    }
}

impl Trust for Impl {
    async fn echo(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }

    async fn fail(&self, _request: Text) -> Result<Text, Status> {
        Err(Status::not_found("nothing is found"))
    }

    async fn gated(&self, request: Text) -> Result<Text, Status> {
        // Fails when it is closed: that is how it opens.
        let _ = self.gate.acquire().await;
        Ok(request)
    }

    async fn feed(&self, _request: Text) -> Result<Streaming<Text>, Status> {
        Ok(Streaming::iter(["1", "2", "3"].map(text)))
    }

    async fn no_feed(&self, _request: Text) -> Result<Streaming<Text>, Status> {
        Err(Status::not_found("nothing is found"))
    }

    async fn tick(&self, _request: Text) -> Result<Streaming<Text>, Status> {
        Ok(self.ticks())
    }

    async fn torrent(&self, _request: Text) -> Result<Streaming<Text>, Status> {
        let live = self.live();
        Ok(Streaming::iter(std::iter::repeat_with(move || {
            let _ = &live;
            text("drop")
        })))
    }

    async fn only_one(&self, _request: Text) -> Result<Streaming<Text>, Status> {
        Ok(self.ticks())
    }

    async fn sum(&self, mut messages: Streaming<Text>) -> Result<Text, Status> {
        let mut sum = 0;
        while messages.message().await?.is_some() {
            sum += 1;
        }
        Ok(text(sum.to_string()))
    }

    async fn chat(&self, messages: Streaming<Text>) -> Result<Streaming<Text>, Status> {
        Ok(messages)
    }
}

const USERS: &str = r#"
authorization {
    users: [
        { user: admin, password: "" }
        { user: service, password: "" }
        {
            user: caller, password: ""
            permissions: {
                publish: ["trust.>", "$SRV.>", "_INBOX.>"]
                subscribe: ["_INBOX.>"]
            }
        }
    ]
}
"#;

/// The header by which a message of a caller differs from what the service publishes.
const MARK: &str = "X-Of-A-Caller";

/// Headers of a caller's message.
pub fn marked(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(MARK, "yes");
    for (name, value) in pairs {
        headers.append(*name, *value);
    }
    headers
}

/// The service on a server, whose caller may publish to it, to discovery and to inboxes alone.
pub struct Fixture {
    pub nats: Nats,
    /// May do everything.
    pub admin: async_nats::Client,
    pub service: Impl,
    pub server: RunningServer,
}

impl Fixture {
    pub async fn start() -> Self {
        let server = NatsServer::builder().config(USERS).start().await.unwrap();
        let admin = connect(&server, "admin").await;
        let nats = Nats {
            service: connect(&server, "service").await,
            caller: connect(&server, "caller").await,
            server,
        };
        let service = Impl::default();
        let server = nats
            .server()
            .with_drain_timeout(Duration::from_secs(2))
            .add_service(TrustServer::new(service.clone()));
        let server = server.start().await.unwrap();
        Self {
            nats,
            admin,
            service,
            server,
        }
    }

    /// Another connection of a caller.
    pub async fn caller(&self) -> async_nats::Client {
        connect(&self.nats.server, "caller").await
    }

    /// Sends a caller's message. An empty `reply` is none.
    pub async fn send(
        &self,
        subject: &str,
        reply: &str,
        headers: &[(&str, &str)],
        payload: impl Into<Bytes>,
    ) {
        let (caller, subject) = (&self.nats.caller, subject.to_owned());
        let (headers, payload) = (marked(headers), payload.into());
        let sent = if reply.is_empty() {
            caller.publish_with_headers(subject, headers, payload).await
        } else {
            let reply = reply.to_owned();
            caller
                .publish_with_reply_and_headers(subject, reply, headers, payload)
                .await
        };
        sent.unwrap();
    }

    /// Sends calls to `gated` until one is refused: further ones are refused too.
    pub async fn overload(&self) {
        let inbox = self.nats.caller.new_inbox();
        let mut answers = self.nats.caller.subscribe(inbox.clone()).await.unwrap();
        let refused = async {
            loop {
                for _ in 0..500 {
                    self.send("trust.gated", &inbox, &[], text("").bytes())
                        .await;
                }
                synced(&self.nats.caller).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
                if let Some(answer) = answers.next().now_or_never().flatten() {
                    let (code, _) = error_of(&answer).expect("the gate is closed");
                    assert_eq!(code, "RESOURCE_EXHAUSTED");
                    return;
                }
            }
        };
        soon(refused).await;
    }

    /// Waits until no endless stream of responses is left.
    pub async fn no_live_stream(&self, what: &str) {
        let none = async {
            while self.service.live.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let none = tokio::time::timeout(Duration::from_secs(10), none).await;
        let live = self.service.live.load(Ordering::SeqCst);
        assert!(none.is_ok(), "{what}: {live} streams live after 10 seconds");
    }
}

async fn connect(server: &NatsServer, user: &str) -> async_nats::Client {
    let options = ConnectOptions::with_user_and_password(user.to_owned(), String::new());
    server.connect_with(options).await.unwrap()
}

/// Sees what is published on a server.
pub struct Spy {
    published: JoinHandle<BTreeMap<String, usize>>,
}

/// What ends the report of a [`Spy`].
const END: &str = "_end";

impl Spy {
    pub async fn start(fixture: &Fixture) -> Self {
        let mut all = fixture.admin.subscribe(">").await.unwrap();
        synced(&fixture.admin).await;
        let published = tokio::spawn(async move {
            let mut subjects = BTreeMap::new();
            while let Some(message) = all.next().await {
                let subject = message.subject.to_string();
                if subject == END {
                    return subjects;
                }
                let headers = message.headers.as_ref();
                // nats-server itself publishes advisories.
                let of_other = headers.is_some_and(|headers| headers.get(MARK).is_some())
                    || subject.starts_with("$JS.EVENT.");
                if !of_other && !subject.starts_with('_') {
                    *subjects.entry(subject).or_default() += 1;
                }
            }
            panic!("the connection is closed");
        });
        Self { published }
    }

    /// Ends the service, and fails if it has published anything to a subject that is no inbox. Gives what is left: the server,
    /// and the connection of the administrator.
    pub async fn saw_inboxes_only(self, fixture: Fixture) -> (Nats, async_nats::Client) {
        fixture.service.gate.close();
        // Answers what has arrived. Streams whose callers do nothing more are cut, which is an error here.
        let _ = soon(fixture.server.stop()).await;
        let service = &fixture.nats.service;
        service.publish(END, Bytes::new()).await.unwrap();
        let published = soon(self.published).await.unwrap();
        assert!(
            published.is_empty(),
            "the service has published to {published:?}"
        );
        (fixture.nats, fixture.admin)
    }
}
