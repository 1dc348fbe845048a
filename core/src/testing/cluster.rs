use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use async_nats::{Client, ConnectOptions};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{
    error::{NatsServerError, NatsServerErrorKind},
    server::{self, NatsServer},
};

/// How long the servers may take to elect a leader for JetStream. It takes some seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// How often all is started anew because another process took a port meanwhile.
const ATTEMPTS: u32 = 5;
/// The most replicas that nats-server allows.
const MAX_REPLICAS: usize = 5;

/// Several nats-servers that form a cluster with replicated JetStream, and live as long as this handle.
///
/// Each is a [`NatsServer`] in itself, that can be killed, restarted and paused.
///
/// ```no_run
/// use natsmicro::testing::NatsCluster;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = NatsCluster::start(3).await?;
/// let client = cluster.connect().await?;
/// cluster.servers()[0].kill()?; // the other two go on
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<NatsServer>,
    url: String,
}

impl NatsCluster {
    /// Starts a cluster of `size` servers, at least two, and returns when a stream with a replica on each of them (on
    /// five of them, if there are more) can be created. This takes 2 seconds, or 8 if the servers do not agree on a
    /// leader at once.
    pub async fn start(size: usize) -> Result<Self, NatsServerError> {
        if size < 2 {
            let message = format!("a cluster of {size} is none, it takes at least 2 servers");
            return Err(NatsServerError::new(NatsServerErrorKind::Start, message));
        }
        let mut attempt = 1;
        let servers = loop {
            match start_servers(size).await {
                Err(error)
                    if attempt < ATTEMPTS
                        && error.to_string().contains("address already in use") =>
                {
                    attempt += 1;
                }
                outcome => break outcome?,
            }
        };
        let url = servers
            .iter()
            .map(NatsServer::url)
            .collect::<Vec<_>>()
            .join(",");
        let cluster = Self { servers, url };
        cluster.ready().await?;
        Ok(cluster)
    }

    /// The servers, in an order that does not change.
    #[must_use]
    pub fn servers(&self) -> &[NatsServer] {
        &self.servers
    }

    /// The URLs of all servers with commas between them, as `NATS_URL` takes them. (async-nats wants a list:
    /// `url.split(',').collect::<Vec<_>>()`.)
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connects a new client to one of the servers; it goes on with another one if that fails.
    pub async fn connect(&self) -> Result<Client, NatsServerError> {
        self.connect_with(ConnectOptions::new()).await
    }

    /// Connects a new client with these options to one of the servers.
    pub async fn connect_with(&self, options: ConnectOptions) -> Result<Client, NatsServerError> {
        server::connect(&self.url, options).await
    }

    /// Waits until a stream with all replicas can be created, then until each server answers for it, then deletes it.
    async fn ready(&self) -> Result<(), NatsServerError> {
        const STREAM: &str = "NATSMICRO_TESTING_READY";

        let since = Instant::now();
        let config = json!({
            "name": STREAM,
            "subjects": ["natsmicro.testing.ready"],
            "storage": "memory",
            "num_replicas": self.servers.len().min(MAX_REPLICAS),
        });
        let clients = try_join_all(self.servers.iter().map(NatsServer::connect)).await?;
        self.until(
            since,
            &clients[0],
            &format!("STREAM.CREATE.{STREAM}"),
            &config,
        )
        .await?;
        for client in &clients {
            self.until(
                since,
                client,
                &format!("STREAM.INFO.{STREAM}"),
                &Value::Null,
            )
            .await?;
        }
        self.until(
            since,
            &clients[0],
            &format!("STREAM.DELETE.{STREAM}"),
            &Value::Null,
        )
        .await
    }

    /// Repeats a request to JetStream until it succeeds.
    async fn until(
        &self,
        since: Instant,
        client: &Client,
        api: &str,
        body: &Value,
    ) -> Result<(), NatsServerError> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        loop {
            let request = async_nats::Request::new()
                .payload(body.clone().into())
                .timeout(Some(Duration::from_secs(2)));
            #[allow(
                clippy::disallowed_methods,
                reason = "a connection of its own, on which nothing else waits"
            )]
            let answer = match client.send_request(format!("$JS.API.{api}"), request).await {
                Ok(message) => match serde_json::from_slice::<Value>(&message.payload) {
                    Ok(answer) if answer.get("error").is_none() => return Ok(()),
                    Ok(answer) => answer["error"].to_string(),
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            if since.elapsed() > READY_TIMEOUT {
                let logs: Vec<_> = self.servers.iter().map(NatsServer::log_tail).collect();
                let message = format!(
                    "the cluster was not ready after {READY_TIMEOUT:?}: `{api}` is answered with {answer}\n{}",
                    logs.join("\n")
                );
                return Err(NatsServerError::new(NatsServerErrorKind::Start, message));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn start_servers(size: usize) -> Result<Vec<NatsServer>, NatsServerError> {
    let ports = free_ports(size).map_err(|error| {
        NatsServerError::with_source(
            NatsServerErrorKind::Io,
            "cannot find free ports for the cluster",
            error,
        )
    })?;
    let routes: Vec<_> = ports
        .iter()
        .map(|port| format!("nats://127.0.0.1:{port}"))
        .collect();
    let routes = routes.join(", ");
    let servers = ports.iter().enumerate().map(|(index, port)| {
        NatsServer::builder()
            .config(format!("server_name: natsmicro-{index}"))
            .config(format!(
                "cluster {{ name: natsmicro, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}"
            ))
            .start()
    });
    try_join_all(servers).await
}

/// Ports for the routes between the servers. Each server has to know all of them before the first one starts, so
/// they cannot be left to the servers.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    // All are held until the last one is known, so that they differ.
    let listeners = (0..count)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<Result<Vec<_>, _>>()?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}
