//! What a client sends again, and what never.

mod attempts;
mod cached;
mod killed;
mod limits;
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use futures::StreamExt;
use natsmicro::{Client, Context, Retry, Server, Status};
use natsmicro_tests::common::{Nats, Text, soon, text};
use natsmicro_tests::persistence::Gate;

/// Each kind of method as one that may be handled more than once, and as one that may not.
#[natsmicro::service(subject_prefix = "r")]
pub(crate) trait Work {
    async fn once(&self, cx: &Context, request: Text) -> Result<Text, Status>;

    #[endpoint(idempotent)]
    async fn again(&self, cx: &Context, request: Text) -> Result<Text, Status>;

    #[endpoint(max_in_flight = 1)]
    async fn once_in_turn(&self, cx: &Context, request: Text) -> Result<Text, Status> {
        self.once(cx, request).await
    }

    #[endpoint(max_in_flight = 1, idempotent)]
    async fn again_in_turn(&self, cx: &Context, request: Text) -> Result<Text, Status> {
        self.once(cx, request).await
    }
}

/// Counts the calls that it handles. Those whose text is `wait` wait for the gate.
#[derive(Clone, Default)]
pub(crate) struct Worker {
    runs: Arc<AtomicUsize>,
    gate: Arc<Gate>,
}

impl Worker {
    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

impl Work for Worker {
    async fn once(&self, _cx: &Context, request: Text) -> Result<Text, Status> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        if request.text == "wait" {
            self.gate.pass().await;
        }
        Ok(text(format!("answer to {}", request.text)))
    }

    async fn again(&self, cx: &Context, request: Text) -> Result<Text, Status> {
        self.once(cx, request).await
    }
}

/// Starts an instance on a connection of its own.
async fn start(nats: &Nats, worker: &Worker) -> natsmicro::RunningServer {
    Server::new(nats.server.connect().await.unwrap())
        .with_drain_timeout(Duration::ZERO)
        .add_service(WorkServer::new(worker.clone()))
        .start()
        .await
        .unwrap()
}

/// Retries that do not let a test wait.
fn quick(max_retries: u32) -> Retry {
    Retry::exponential(max_retries)
        .first_pause(Duration::from_millis(1))
        .max_pause(Duration::from_millis(20))
        .budget(0, u32::MAX)
}

/// A client with these retries, and what counts them.
fn retrying(nats: &Nats, retry: Retry) -> (WorkClient, Client) {
    let client = Client::new(nats.caller.clone()).with_retry(retry);
    (WorkClient::new(client.clone()), client)
}

/// A call of one of the two methods.
fn call(client: &WorkClient, idempotent: bool, request: &str) -> natsmicro::Call<Text> {
    if idempotent {
        client.again(text(request))
    } else {
        client.once(text(request))
    }
}

/// A service that answers as the test says.
struct Peer {
    nats: async_nats::Client,
    requests: Subscriber,
}

impl Peer {
    async fn listen(nats: &Nats, subject: &str) -> Self {
        Self {
            nats: nats.service.clone(),
            requests: nats.peer(subject).await,
        }
    }

    async fn request(&mut self) -> Message {
        soon(self.requests.next()).await.unwrap()
    }

    async fn answer(&self, request: Message, headers: &[(&str, &str)], payload: &str) {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.insert(*name, *value);
        }
        let reply = request.reply.unwrap();
        let sent = self
            .nats
            .publish_with_headers(reply, all, text(payload).bytes());
        sent.await.unwrap();
    }

    /// Answers the next request with an error.
    async fn fail(&mut self, code: &str) {
        let request = self.request().await;
        let headers = [
            ("Nats-Service-Error", "as asked"),
            ("Nats-Service-Error-Code", code),
        ];
        self.answer(request, &headers, "").await;
    }

    /// Answers the next request with a response.
    async fn succeed(&mut self, payload: &str) {
        let request = self.request().await;
        self.answer(request, &[], payload).await;
    }

    /// Fails if there was another request: the next one is that of `client`, which is made now.
    async fn check_no_more(&mut self, client: &Client, idempotent: bool) {
        let client = WorkClient::new(client.clone());
        let last = tokio::spawn(call(&client, idempotent, "the last").into_future());
        let request = self.request().await;
        assert_eq!(request.payload, text("the last").bytes());
        self.answer(request, &[], "").await;
        soon(last).await.unwrap().unwrap();
    }
}

fn subject(idempotent: bool) -> &'static str {
    if idempotent { "r.again" } else { "r.once" }
}
