//! A way to a nats-server that can be cut.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::jetstream;
use natsmicro::testing::NatsServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};

pub struct Proxy {
    port: u16,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    /// What the server says does not arrive.
    is_muted: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(server: &NatsServer) -> Self {
        let upstream = server.url().trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::<Mutex<Vec<AbortHandle>>>::default();
        let is_muted = Arc::<AtomicBool>::default();
        let (open, muted) = (connections.clone(), is_muted.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&upstream).await else {
                    continue;
                };
                let (mut from_near, to_near) = near.into_split();
                let (from_far, mut to_far) = far.into_split();
                let muted = muted.clone();
                let connection = tokio::spawn(async move {
                    // The end of either is the end of the connection, whatever the cause.
                    tokio::select! {
                        _ = tokio::io::copy(&mut from_near, &mut to_far) => {}
                        _ = copy_unless(&muted, from_far, to_near) => {}
                    }
                });
                open.lock().unwrap().push(connection.abort_handle());
            }
        });
        Self {
            port,
            connections,
            is_muted,
            accepting,
        }
    }

    /// A connection that goes this way.
    pub async fn connect(&self) -> async_nats::Client {
        let url = format!("nats://127.0.0.1:{}", self.port);
        async_nats::connect(url).await.unwrap()
    }

    /// A server with JetStream whose connection goes this way.
    pub async fn service(&self) -> natsmicro::Server {
        let nats = self.connect().await;
        natsmicro::Server::new(nats.clone()).with_jetstream(jetstream::new(nats))
    }

    /// Loses what the server says, until the connections are cut.
    pub fn mute(&self) {
        self.is_muted.store(true, Ordering::SeqCst);
    }

    /// Ends all connections, whatever is on its way.
    pub fn cut(&self) {
        self.is_muted.store(false, Ordering::SeqCst);
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }
}

async fn copy_unless(
    muted: &AtomicBool,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        if !muted.load(Ordering::SeqCst) {
            to.write_all(&buffer[..length]).await?;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}
