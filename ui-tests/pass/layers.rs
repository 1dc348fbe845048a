//! Layers: async functions, closures and services of tower, on servers, services and clients.
#![deny(warnings)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use natsmicro::Status;
use natsmicro::middleware::{Inner, Next, Reply, Request, from_fn};
use natsmicro_ui_tests::{SaveUser, User};
use tower::ServiceBuilder;
use tower::limit::ConcurrencyLimitLayer;
use tower::timeout::TimeoutLayer;
use tower_layer::{Identity, Layer, Stack, layer_fn};
use tower_service::Service;

#[natsmicro::service]
pub trait Users {
    async fn save(&self, request: SaveUser) -> Result<User, Status>;
}

pub struct InMemory;

impl Users for InMemory {
    async fn save(&self, request: SaveUser) -> Result<User, Status> {
        Ok(User {
            id: request.id,
            ..User::default()
        })
    }
}

async fn log(request: Request, next: Next) -> Result<Reply, Status> {
    println!("{}", request.method());
    next.run(request).await
}

/// Generic over the service within, as the services of tower are.
#[derive(Clone)]
pub struct Guard<S>(S);

impl<S: Service<Request, Response = Reply, Error = Status>> Service<Request> for Guard<S> {
    type Response = Reply;
    type Error = Status;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> S::Future {
        self.0.call(request)
    }
}

/// A layer in a function of its own.
fn guard() -> impl Layer<Inner, Service = Guard<Inner>> + Clone {
    layer_fn(Guard)
}

pub fn on_a_server(nats: async_nats::Client) -> natsmicro::Server {
    let limited = ServiceBuilder::new()
        .buffer(64)
        .rate_limit(100, Duration::from_secs(1));
    natsmicro::Server::new(nats)
        .layer(from_fn(log))
        .layer(ConcurrencyLimitLayer::new(500))
        .layer(limited)
        .add_service(UsersServer::new(InMemory))
}

pub fn on_a_service() -> UsersServer<InMemory> {
    let calls = Arc::new(AtomicU64::new(0));
    UsersServer::new(InMemory)
        .layer(from_fn(log))
        .layer(from_fn(move |request: Request, next: Next| {
            calls.fetch_add(1, Ordering::Relaxed);
            next.run(request)
        }))
        .layer(guard())
        .layer(Identity::new())
}

pub fn on_a_client(nats: async_nats::Client, token: &'static str) -> UsersClient {
    let add_token = from_fn(move |mut request: Request, next: Next| async move {
        request.insert_header("authorization", token)?;
        next.run(request).await
    });
    let client = natsmicro::Client::new(nats)
        .layer(Stack::new(add_token.clone(), from_fn(log)))
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .layer((add_token, from_fn(log)));
    UsersClient::new(client)
}
