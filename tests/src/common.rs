//! What several test files need: a nats-server with two connections, messages, and waiting for events.

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use futures::StreamExt;
use natsmicro::Status;
use natsmicro::testing::{NatsServer, NatsServerBuilder};
use prost::Message as _;

pub type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Long enough for everything that works.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A nats-server, a connection for the service, and one for its callers.
pub struct Nats {
    pub server: NatsServer,
    pub service: async_nats::Client,
    pub caller: async_nats::Client,
}

impl Nats {
    pub async fn start() -> Self {
        Self::with(NatsServer::builder()).await
    }

    /// With the protocol in the log.
    pub async fn traced() -> Self {
        Self::with(NatsServer::builder().debug_trace(true)).await
    }

    pub async fn with(builder: NatsServerBuilder) -> Self {
        let server = builder.start().await.unwrap();
        let service = server.connect().await.unwrap();
        let caller = server.connect().await.unwrap();
        Self {
            server,
            service,
            caller,
        }
    }

    /// A server without services on the connection of the service.
    pub fn server(&self) -> natsmicro::Server {
        natsmicro::Server::new(self.service.clone())
    }

    /// The same with `JetStream`.
    pub fn persisting(&self) -> natsmicro::Server {
        self.server()
            .with_jetstream(async_nats::jetstream::new(self.service.clone()))
    }

    pub fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(self.caller.clone())
    }

    /// A request as a peer without natsmicro makes it.
    pub async fn ask(&self, subject: &str, payload: impl Into<Bytes>) -> Message {
        let request = self.caller.request(subject.to_owned(), payload.into());
        soon(request).await.unwrap()
    }

    pub async fn ask_with(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: impl Into<Bytes>,
    ) -> Message {
        let request = self
            .caller
            .request_with_headers(subject.to_owned(), headers, payload.into());
        soon(request).await.unwrap()
    }

    /// A peer that listens on `subject`, and that requests from any connection reach.
    pub async fn peer(&self, subject: &str) -> async_nats::Subscriber {
        let requests = self.service.subscribe(subject.to_owned()).await.unwrap();
        synced(&self.service).await;
        requests
    }

    /// The server writes its log a moment after the client has seen the effect.
    pub async fn log_has(&self, line: &str) {
        let seen = async {
            while !self.server.log().contains(line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        assert!(seen.is_ok(), "no `{line}` in:\n{}", self.server.log());
    }
}

/// Fails the test if `future` takes so long that it must hang.
#[track_caller]
pub fn soon<F: IntoFuture>(future: F) -> impl Future<Output = F::Output> {
    let at = std::panic::Location::caller();
    async move {
        let Ok(output) = tokio::time::timeout(PATIENCE, future).await else {
            panic!("nothing happened within {PATIENCE:?} after {at}");
        };
        output
    }
}

/// Waits until the NATS server has processed everything that was sent on this connection: subscriptions, too. `flush` only waits for
/// the socket.
pub async fn synced(nats: &async_nats::Client) {
    let inbox = nats.new_inbox();
    let mut echo = nats.subscribe(inbox.clone()).await.unwrap();
    nats.publish(inbox, Bytes::new()).await.unwrap();
    soon(echo.next()).await.unwrap();
}

/// What the test harness calls a test, for a process that is to run it alone; `module` is the `module_path!()` of the test.
pub fn test_name(module: &str, test: &str) -> String {
    let (_program, module) = module.split_once("::").unwrap();
    format!("{module}::{test}")
}

/// The code and the message of an error reply.
pub fn error_of(message: &Message) -> Option<(&str, &str)> {
    let headers = message.headers.as_ref()?;
    let code = headers.get("Nats-Service-Error-Code")?.as_str();
    Some((code, headers.get("Nats-Service-Error")?.as_str()))
}

pub fn code_of<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    result.unwrap_err().code().to_string()
}

/// All answers to a discovery request: those that come until one of a later request does.
pub async fn discover(
    nats: &async_nats::Client,
    subject: &str,
    n: usize,
) -> Vec<serde_json::Value> {
    let inbox = nats.new_inbox();
    let mut answers = nats.subscribe(inbox.clone()).await.unwrap();
    nats.publish_with_reply(subject.to_owned(), inbox, Bytes::new())
        .await
        .unwrap();
    let mut found = Vec::new();
    for _ in 0..n {
        let answer = soon(answers.next()).await.unwrap();
        found.push(serde_json::from_slice(&answer.payload).unwrap());
    }
    found
}

/// A message with one text.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Text {
    #[prost(string, tag = "1")]
    pub text: String,
}

pub fn text(text: impl Into<String>) -> Text {
    Text { text: text.into() }
}

impl Text {
    pub fn bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }
}

/// Tells when it is dropped.
pub struct OnDrop(pub tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}
