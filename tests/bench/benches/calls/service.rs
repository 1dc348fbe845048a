//! The service process: ours, and the same written by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use natsmicro::{RunningServer, Server, Status};
use natsmicro_bench::Serving;

use crate::api::{Batched, BatchedServer, Item, Ours, OursServer, PENDING, compute};
use crate::by_hand;

struct Service;

impl Ours for Service {
    async fn echo(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
    async fn wait(&self, request: Item) -> Result<Item, Status> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(request)
    }
    async fn compute(&self, request: Item) -> Result<Item, Status> {
        compute();
        Ok(request)
    }
    async fn after(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
    async fn before(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
    async fn object(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
}

impl Batched for Service {
    async fn after(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
    async fn before(&self, request: Item) -> Result<Item, Status> {
        Ok(request)
    }
}

pub(crate) async fn run(serving: Serving) {
    let nats = serving.nats.clone();
    let jetstream = async_nats::jetstream::new(nats.clone());
    let server = Server::new(nats.clone())
        .with_jetstream(jetstream.clone())
        .add_service(OursServer::new(Service))
        .start()
        .await
        .unwrap();
    let batched = Server::new(nats.clone())
        .with_jetstream(jetstream.clone())
        .with_batches(true)
        .add_service(BatchedServer::new(Service))
        .start()
        .await
        .unwrap();
    let servers = vec![server, batched];
    let behind = Arc::new(AtomicUsize::new(0));
    by_hand::serve(&nats, &jetstream, &behind).await;
    tokio::spawn(tell_pending(nats.clone(), servers, behind));
    // A subscription is there when the server has answered something that was sent after it.
    jetstream.query_account().await.unwrap();
    serving.ready().await;
}

/// Answers how many writes are on their way or wait, ours and those of the hand-written service.
async fn tell_pending(
    nats: async_nats::Client,
    servers: Vec<RunningServer>,
    behind: Arc<AtomicUsize>,
) {
    let mut questions = nats.subscribe(PENDING).await.unwrap();
    while let Some(question) = questions.next().await {
        let stats = servers.iter().flat_map(RunningServer::stats);
        let endpoints = stats.flat_map(|service| service.endpoints);
        let ours: u64 = endpoints
            .filter_map(|endpoint| endpoint.persistence)
            .map(|stores| stores.persist_pending)
            .sum();
        let pending = ours + behind.load(Ordering::Acquire) as u64;
        let answer = pending.to_string().into();
        nats.publish(question.reply.unwrap(), answer).await.unwrap();
    }
}
