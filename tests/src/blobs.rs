//! A service for blobs, and blobs that know how far they were read.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use natsmicro::{Chunk, RunningServer, Status, Streaming};
use tokio::io::{AsyncRead, AsyncReadExt, DuplexStream, ReadBuf};
use tokio::sync::{Mutex, mpsc};

use crate::common::{Nats, OnDrop};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Blob {
    #[prost(uint64, tag = "1")]
    pub size: u64,
    #[prost(uint64, tag = "2")]
    pub chunk_size: u64,
    /// Where its reader fails.
    #[prost(uint64, optional, tag = "3")]
    pub fails_at: Option<u64>,
}

pub fn blob(size: u64, chunk_size: u64) -> Blob {
    Blob {
        size,
        chunk_size,
        fails_at: None,
    }
}

#[natsmicro::service]
pub trait Blobs {
    async fn download(&self, blob: Blob) -> Result<Streaming<Chunk>, Status>;
    /// Saves it as `blob` in the directory of the service.
    async fn upload(&self, chunks: Streaming<Chunk>) -> Result<Blob, Status>;
    /// Writes it into the pipe of the service.
    async fn print(&self, chunks: Streaming<Chunk>) -> Result<Blob, Status>;
}

/// How many bytes were read of a blob, and how many are where it goes.
#[derive(Default)]
pub struct Progress {
    read: AtomicU64,
    arrived: AtomicU64,
    most_ahead: AtomicU64,
}

impl Progress {
    fn read(&self, bytes: usize) {
        let read = self.read.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let ahead = read - self.arrived.load(Ordering::Relaxed);
        self.most_ahead.fetch_max(ahead, Ordering::Relaxed);
    }

    fn arrived(&self, bytes: u64) {
        self.arrived.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn most_ahead(&self) -> u64 {
        self.most_ahead.load(Ordering::Relaxed)
    }
}

pub fn byte(position: u64) -> u8 {
    u8::try_from(position % 251).unwrap()
}

pub fn bytes(size: u64) -> Vec<u8> {
    (0..size).map(byte).collect()
}

/// Reads a blob, in pieces of odd sizes, and tells when it is dropped.
pub struct Source {
    blob: Blob,
    position: u64,
    progress: Arc<Progress>,
    _on_drop: OnDrop,
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.blob.fails_at == Some(self.position) {
            return Poll::Ready(Err(io::Error::other("cannot read `/home/ada/secret`")));
        }
        let end = self.blob.fails_at.unwrap_or(self.blob.size);
        let left = usize::try_from(end - self.position).unwrap();
        let len = left.min(buf.remaining()).min(4097);
        let piece: Vec<_> = (self.position..self.position + len as u64)
            .map(byte)
            .collect();
        buf.put_slice(&piece);
        self.position += len as u64;
        self.progress.read(len);
        Poll::Ready(Ok(()))
    }
}

pub struct Impl {
    progress: Arc<Progress>,
    dropped: mpsc::UnboundedSender<()>,
    directory: PathBuf,
    pipe: Mutex<DuplexStream>,
}

impl Blobs for Impl {
    async fn download(&self, blob: Blob) -> Result<Streaming<Chunk>, Status> {
        Ok(stream(blob, &self.progress, &self.dropped))
    }

    async fn upload(&self, chunks: Streaming<Chunk>) -> Result<Blob, Status> {
        let size = chunks.save_to(self.directory.join("blob")).await?;
        Ok(blob(size, 0))
    }

    async fn print(&self, chunks: Streaming<Chunk>) -> Result<Blob, Status> {
        let size = chunks.write_to(&mut *self.pipe.lock().await).await?;
        Ok(blob(size, 0))
    }
}

fn stream(
    blob: Blob,
    progress: &Arc<Progress>,
    dropped: &mpsc::UnboundedSender<()>,
) -> Streaming<Chunk> {
    let chunk_size = usize::try_from(blob.chunk_size).unwrap();
    let source = Source {
        blob,
        position: 0,
        progress: Arc::clone(progress),
        _on_drop: OnDrop(dropped.clone()),
    };
    Streaming::from_reader(source, chunk_size)
}

/// The service on a server, with a client, a directory and the other end of the pipe.
pub struct Fixture {
    _nats: Nats,
    _server: RunningServer,
    pub client: BlobsClient,
    pub directory: Directory,
    pub pipe: DuplexStream,
    pub progress: Arc<Progress>,
    /// Told when a [`Source`] is dropped.
    pub dropped: mpsc::UnboundedReceiver<()>,
    on_drop: mpsc::UnboundedSender<()>,
}

impl Fixture {
    pub async fn start() -> Self {
        let nats = Nats::start().await;
        let directory = Directory::create();
        let progress = Arc::new(Progress::default());
        let (on_drop, dropped) = mpsc::unbounded_channel();
        let (near, far) = tokio::io::duplex(16 * 1024);
        let service = Impl {
            progress: Arc::clone(&progress),
            dropped: on_drop.clone(),
            directory: directory.0.clone(),
            pipe: Mutex::new(far),
        };
        let server = nats.server().add_service(BlobsServer::new(service));
        Self {
            _server: server.start().await.unwrap(),
            client: BlobsClient::new(nats.caller.clone()),
            _nats: nats,
            directory,
            pipe: near,
            progress,
            dropped,
            on_drop,
        }
    }

    /// A blob to upload.
    pub fn blob(&self, blob: Blob) -> Streaming<Chunk> {
        stream(blob, &self.progress, &self.on_drop)
    }
}

/// Takes a blob out of a pipe, slower than it could come.
pub async fn drain_slowly(pipe: &mut DuplexStream, progress: &Progress, size: u64) {
    let mut piece = vec![0; 32 * 1024];
    let mut arrived = 0;
    while arrived < size {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let len = pipe.read(&mut piece).await.unwrap() as u64;
        progress.arrived(len);
        arrived += len;
    }
}

/// A directory of a test, removed at its end.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn create() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("natsmicro-blobs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

pub fn content(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
