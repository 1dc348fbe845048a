//! A way to a nats-server that fails when it is told to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_nats::jetstream;
use natsmicro::testing::NatsServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

/// What becomes of a message of the client, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before it.
    Lost,
    /// The server does not get it, and neither side learns of that.
    Swallowed,
    /// The server answers it, but nothing comes back any more; the client does not learn that the connection is of no use
    /// before [`Proxy::cut`].
    Unanswered,
    /// The connection of the client ends before it, and the server gets it at [`Proxy::release`].
    Late,
}

pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// What the server says does not arrive.
    is_muted: AtomicBool,
    connections: Mutex<Vec<AbortHandle>>,
    /// The message begins or goes on with this text.
    fault: Mutex<Option<(&'static str, Fault)>>,
    happened: Notify,
    release: Notify,
    released: Notify,
}

impl Proxy {
    pub async fn start(server: &NatsServer) -> Self {
        let upstream = server.url().trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::<Shared>::default();
        let of_connections = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&upstream).await else {
                    continue;
                };
                let shared = of_connections.clone();
                let connection = tokio::spawn(async move { shared.carry(near, far).await });
                let mut connections = of_connections.connections.lock().unwrap();
                connections.push(connection.abort_handle());
            }
        });
        Self {
            port,
            shared,
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
        self.shared.is_muted.store(true, Ordering::SeqCst);
    }

    /// What becomes of the next message with this text.
    pub fn fail(&self, text: &'static str, fault: Fault) {
        *self.shared.fault.lock().unwrap() = Some((text, fault));
    }

    /// Waits until it has become of it.
    pub async fn failed(&self) {
        self.shared.happened.notified().await;
    }

    /// Sends what is late, and waits for an answer to it.
    pub async fn release(&self) {
        self.shared.release.notify_one();
        self.shared.released.notified().await;
    }

    /// Ends all connections, whatever is on its way.
    pub fn cut(&self) {
        self.shared.is_muted.store(false, Ordering::SeqCst);
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }
}

impl Shared {
    /// Until either side ends it, or a fault does.
    async fn carry(&self, mut near: TcpStream, mut far: TcpStream) {
        let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut is_mute = false;
        loop {
            tokio::select! {
                read = near.read(&mut from_client) => {
                    let Ok(length @ 1..) = read else { return };
                    let data = &from_client[..length];
                    match self.fault_of(data) {
                        Some(Fault::Lost) => return self.happened.notify_one(),
                        Some(Fault::Swallowed) => {
                            self.happened.notify_one();
                            continue;
                        }
                        Some(Fault::Late) => {
                            drop(near);
                            self.happened.notify_one();
                            self.release.notified().await;
                            // What was answered before is no answer to this.
                            while far.try_read(&mut from_server).is_ok_and(|length| length > 0) {}
                            far.write_all(data).await.unwrap();
                            far.read_exact(&mut from_server[..1]).await.unwrap();
                            return self.released.notify_one();
                        }
                        Some(Fault::Unanswered) => is_mute = true,
                        None => {}
                    }
                    if far.write_all(data).await.is_err() {
                        return;
                    }
                }
                read = far.read(&mut from_server) => {
                    let Ok(length @ 1..) = read else { return };
                    if is_mute {
                        self.happened.notify_one();
                    }
                    let is_lost = is_mute || self.is_muted.load(Ordering::SeqCst);
                    if !is_lost && near.write_all(&from_server[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn fault_of(&self, data: &[u8]) -> Option<Fault> {
        let mut fault = self.fault.lock().unwrap();
        let (text, _) = (*fault)?;
        let text = text.as_bytes();
        if data.windows(text.len()).any(|window| window == text) {
            return fault.take().map(|(_, fault)| fault);
        }
        None
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}
