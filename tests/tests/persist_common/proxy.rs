//! A way to a nats-server that can be cut.

use std::sync::Mutex;

use async_nats::jetstream;
use natsmicro::testing::NatsServer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};

pub struct Proxy {
    port: u16,
    connections: std::sync::Arc<Mutex<Vec<AbortHandle>>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(server: &NatsServer) -> Self {
        let upstream = server.url().trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = std::sync::Arc::<Mutex<Vec<AbortHandle>>>::default();
        let open = connections.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let Ok(mut far) = TcpStream::connect(&upstream).await else {
                    continue;
                };
                let connection = tokio::spawn(async move {
                    // Its end is the end of the connection, whatever the cause.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
                open.lock().unwrap().push(connection.abort_handle());
            }
        });
        Self {
            port,
            connections,
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

    /// Ends all connections, whatever is on its way.
    pub fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}
