//! Connections as companies have them: with few permissions, refused subscriptions, and an end.

mod lost;
mod minimal;
mod poisoned;
mod refused;

use std::time::Duration;

use async_nats::ConnectOptions;
use futures::StreamExt;
use natsmicro::testing::NatsServer;
use natsmicro::{ConnectionEvents, Context, Status, Streaming};
use natsmicro_tests::common::{Text, soon, text};

#[natsmicro::service(subject_prefix = "con")]
pub trait Con {
    async fn echo(&self, request: Text) -> Result<Text, Status>;
    /// Does not return.
    async fn hang(&self, request: Text) -> Result<Text, Status>;
    /// Endless.
    async fn tick(&self, request: Text) -> Result<Streaming<Text>, Status>;
    #[kv_store(bucket = "con", key = "<text>", persist = "before_response")]
    async fn save(&self, request: Text) -> Result<Text, Status>;
    #[kv_store(bucket = "con", key = "<text>")]
    async fn save_later(&self, request: Text) -> Result<Text, Status>;
}

#[derive(Clone, Default)]
struct Impl;

impl Con for Impl {
    async fn echo(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
    async fn hang(&self, _request: Text) -> Result<Text, Status> {
        std::future::pending().await
    }
    async fn tick(&self, _request: Text) -> Result<Streaming<Text>, Status> {
        Ok(Streaming::new(futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok(text("tick")), ()))
        })))
    }
    async fn save(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
    async fn save_later(&self, request: Text) -> Result<Text, Status> {
        Ok(request)
    }
}

/// The endpoints that need no store.
#[natsmicro::service(subject_prefix = "con")]
pub trait Plain {
    async fn echo(&self, request: Text) -> Result<Text, Status>;
    async fn tick(&self, request: Text) -> Result<Streaming<Text>, Status>;
    /// Ends when the server does.
    async fn until_stop(&self, cx: &Context, request: Text) -> Result<Streaming<Text>, Status>;
}

impl Plain for Impl {
    async fn until_stop(&self, cx: &Context, request: Text) -> Result<Streaming<Text>, Status> {
        let ticks = Con::tick(self, request).await?;
        Ok(Streaming::new(ticks.take_until(cx.stopping())))
    }
    async fn echo(&self, request: Text) -> Result<Text, Status> {
        Con::echo(self, request).await
    }
    async fn tick(&self, request: Text) -> Result<Streaming<Text>, Status> {
        Con::tick(self, request).await
    }
}

/// A nats-server on which `service` has these permissions, and `caller` all.
async fn server_with(permissions: &str) -> NatsServer {
    let config = format!(
        "no_auth_user: caller\nauthorization {{ users: [\n\
         {{ user: service, password: s, permissions: {{ {permissions} }} }}\n\
         {{ user: caller, password: c }}\n] }}"
    );
    NatsServer::builder().config(config).start().await.unwrap()
}

fn as_service() -> ConnectOptions {
    ConnectOptions::with_user_and_password("service".to_owned(), "s".to_owned())
}

/// A connection whose refusals are told.
async fn told(
    server: &NatsServer,
    options: ConnectOptions,
) -> (async_nats::Client, ConnectionEvents) {
    let events = ConnectionEvents::new();
    let options = options.event_callback(events.callback());
    (soon(server.connect_with(options)).await.unwrap(), events)
}
