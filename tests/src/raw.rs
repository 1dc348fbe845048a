//! A peer that writes the NATS protocol to a socket, with no client library between it and the server.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;

use crate::common::{PATIENCE, synced};

/// One connection to a nats-server. Its methods block the thread.
pub struct RawPeer {
    socket: TcpStream,
}

impl RawPeer {
    /// `url` is what [`NatsServer::url`](natsmicro::testing::NatsServer::url) gives.
    pub fn connect(url: &str) -> Self {
        Self::connect_as(url, "")
    }

    /// Connects as a user without a password.
    pub fn connect_as(url: &str, user: &str) -> Self {
        let socket = TcpStream::connect(url.trim_start_matches("nats://")).unwrap();
        let mut peer = Self { socket };
        let options =
            format!(r#"{{"verbose":false,"headers":true,"no_responders":true,"user":"{user}"}}"#);
        peer.write(format!("CONNECT {options}\r\n").as_bytes());
        peer.round_trip();
        peer
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Writes until the server closes the connection or all is written; says whether all was.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// Writes, and returns when the server has read all.
    pub fn write_and_close(mut self, bytes: &[u8]) {
        self.write(bytes);
        self.round_trip();
    }

    pub fn subscribe(&mut self, subject: &str) {
        self.write(format!("SUB {subject} 1\r\n").as_bytes());
    }

    /// Returns when the server has processed what was written before. For a peer that receives no messages.
    pub fn round_trip(&mut self) {
        self.write(b"PING\r\n");
        let mut reader = BufReader::new(&self.socket);
        let mut line = String::new();
        while line != "PONG\r\n" {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "closed");
            assert!(!line.starts_with("-ERR"), "{line}");
        }
    }

    /// Reads and forgets what the server sends, on a thread of its own, so that the server does not take the peer for a slow
    /// one.
    pub fn discard_input(&self) {
        let mut socket = self.socket.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            loop {
                match socket.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        });
    }
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        // The thread that reads has a handle of its own, which would keep the connection open.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// Keeps a sender from being so far ahead of a connection that the NATS server cuts that.
#[derive(Clone)]
pub struct Pace {
    arrived: Arc<AtomicUsize>,
}

impl Pace {
    const MARKER: &str = "pace.marker";

    /// Counts markers that come over this connection, between the other messages.
    pub async fn of(nats: &async_nats::Client) -> Self {
        let mut markers = nats.subscribe(Self::MARKER).await.unwrap();
        synced(nats).await;
        let arrived = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&arrived);
        tokio::spawn(async move {
            while markers.next().await.is_some() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { arrived }
    }

    /// Writes the chunks one after the other, at most `ahead` of them before one arrives, and returns when all have arrived.
    pub fn write(
        &self,
        peer: &mut RawPeer,
        chunks: impl IntoIterator<Item = Vec<u8>>,
        ahead: usize,
    ) {
        let marker = message(Self::MARKER, "", &[], b"");
        let before = self.arrived.load(Ordering::SeqCst);
        let mut written = 0;
        for chunk in chunks {
            peer.write(&chunk);
            peer.write(&marker);
            written += 1;
            self.wait_for((before + written).saturating_sub(ahead));
        }
        self.wait_for(before + written);
    }

    fn wait_for(&self, number: usize) {
        let since = Instant::now();
        while self.arrived.load(Ordering::SeqCst) < number {
            assert!(since.elapsed() < PATIENCE, "nothing arrives any more");
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// The bytes that publish a message.
pub fn message(subject: &str, reply: &str, headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let reply = if reply.is_empty() {
        String::new()
    } else {
        format!("{reply} ")
    };
    let mut bytes = if headers.is_empty() {
        format!("PUB {subject} {reply}{}\r\n", payload.len()).into_bytes()
    } else {
        let mut block = "NATS/1.0\r\n".to_owned();
        for (name, value) in headers {
            block += &format!("{name}: {value}\r\n");
        }
        block += "\r\n";
        let (head, all) = (block.len(), block.len() + payload.len());
        format!("HPUB {subject} {reply}{head} {all}\r\n{block}").into_bytes()
    };
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\r\n");
    bytes
}
