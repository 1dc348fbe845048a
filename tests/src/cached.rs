//! A service whose responses are read through its stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use natsmicro::{Cached, CachedCall, Context, Origin, RunningServer, Status};

use crate::persistence::{Gate, Nats, Save, Saved};

#[natsmicro::service]
pub trait Prices {
    #[kv_store(
        bucket = "prices",
        key = "price.<key>",
        persist = "before_response",
        marker_ttl = "1s"
    )]
    async fn price(&self, cx: &Context, request: Save) -> Result<Saved, Status>;

    #[kv_delete(bucket = "prices", key = "price.<key>", persist = "before_response")]
    async fn withdraw(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "behind", key = "<key>")]
    async fn behind(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "quotes", key = "<key>", client_only)]
    async fn quote(&self, request: Save) -> Result<Saved, Status>;

    #[object_store(bucket = "reports", key = "report.<key>", persist = "before_response")]
    async fn report(&self, request: Save) -> Result<Saved, Status>;

    #[object_store(bucket = "drafts", key = "<key>", client_only)]
    async fn draft(&self, request: Save) -> Result<Saved, Status>;

    #[kv_store(bucket = "both", key = "<key>", persist = "before_response")]
    #[object_store(bucket = "both", key = "<key>", persist = "before_response")]
    async fn both(&self, request: Save) -> Result<Saved, Status>;

    /// Only the name of the object is known before the response.
    #[kv_store(bucket = "both", key = "<response.text>", persist = "before_response")]
    #[object_store(bucket = "both", key = "<key>", persist = "before_response")]
    async fn split(&self, request: Save) -> Result<Saved, Status>;

    #[allow(deprecated, reason = "one entry is what is meant")]
    #[kv_store(bucket = "both", key = "today", persist = "before_response")]
    async fn today(&self) -> Result<Saved, Status>;
}

/// Answers with the number of the call. The text `fail` is a failure, `wait` waits at the gate, the first `hang first`
/// never ends, and `large` is too large for a reply.
#[derive(Default)]
pub struct Service {
    pub calls: AtomicU64,
    pub gate: Gate,
}

impl Service {
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn answer(&self, request: Save) -> Result<Saved, Status> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if request.text == "wait" {
            self.gate.pass().await;
        }
        if request.text == "hang first" && call == 1 {
            std::future::pending::<()>().await;
        }
        let mut saved = request.answer()?;
        if saved.text == "large" {
            saved.text = "x".repeat(2 << 20);
        }
        saved.n = call;
        Ok(saved)
    }
}

impl Prices for Service {
    async fn price(&self, cx: &Context, request: Save) -> Result<Saved, Status> {
        let mut saved = self.answer(request).await?;
        if let Some(language) = cx.header("Accept-Language") {
            language.clone_into(&mut saved.text);
        }
        if let Some(trace) = cx.header("traceparent") {
            trace.clone_into(&mut saved.text);
        }
        if let Some(deadline) = cx.header("Natsmicro-Timeout-Ms") {
            return Err(Status::internal(format!("told of a deadline: {deadline}")));
        }
        Ok(saved)
    }
    async fn withdraw(&self, request: Save) -> Result<Saved, Status> {
        request.answer()
    }
    async fn behind(&self, request: Save) -> Result<Saved, Status> {
        self.answer(request).await
    }
    async fn quote(&self, request: Save) -> Result<Saved, Status> {
        self.answer(request).await
    }
    async fn report(&self, request: Save) -> Result<Saved, Status> {
        self.answer(request).await
    }
    async fn draft(&self, request: Save) -> Result<Saved, Status> {
        self.answer(request).await
    }
    async fn both(&self, request: Save) -> Result<Saved, Status> {
        self.answer(request).await
    }
    async fn split(&self, request: Save) -> Result<Saved, Status> {
        self.answer(request).await
    }
    async fn today(&self) -> Result<Saved, Status> {
        self.answer(Save::new("today", "")).await
    }
}

/// A nats-server with the service, and a client of it.
pub struct Running {
    pub nats: Nats,
    pub server: RunningServer,
    pub service: Arc<Service>,
    pub client: PricesClient,
}

impl Running {
    pub async fn start() -> Self {
        let nats = Nats::start().await;
        let service = Arc::new(Service::default());
        let server = nats.service().await;
        let server = server
            .add_service(PricesServer::from_arc(Arc::clone(&service)))
            .start()
            .await
            .unwrap();
        let client = PricesClient::new(nats.client());
        Self {
            nats,
            server,
            service,
            client,
        }
    }

    /// A call that ends when the gate is opened.
    pub fn slow(&self) -> CachedCall<Saved> {
        self.client.price_cached(Save::new("a", "wait"))
    }

    /// Opens the gate when this many calls of the service wait there.
    pub async fn open_for(&self, calls: usize) {
        let reached = self.service.gate.reached_by(calls);
        let reached = tokio::time::timeout(Duration::from_secs(10), reached).await;
        self.service.gate.open();
        reached.expect("fewer calls than expected");
    }
}

/// What came from the service: the number of the call.
#[track_caller]
pub fn called(found: &Cached<Saved>) -> u64 {
    assert_eq!(found.origin, Origin::Service);
    found.n
}

/// What came from the store: the number of the call that it is the response of, and the revision.
#[track_caller]
pub fn stored(found: &Cached<Saved>) -> (u64, u64) {
    let Origin::Store { revision, .. } = found.origin else {
        panic!("not from the store: {found:?}")
    };
    (found.n, revision)
}
