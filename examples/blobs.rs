//! Blobs: files of any size, up and down, as streams of chunks.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use natsmicro::testing::NatsServer;
use natsmicro::{Chunk, Context, Server, Status, Streaming};
use tokio::fs::{self, File};

/// How many bytes travel in a message.
const CHUNK: usize = 64 * 1024;

#[derive(Clone, PartialEq, prost::Message)]
pub struct FileName {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Stored {
    #[prost(uint64, tag = "1")]
    pub size: u64,
}

/// Keeps files.
#[natsmicro::service]
pub trait Files {
    /// Stores a file under the name in the header `File-Name`. A stream carries nothing but its messages, so what belongs to it as
    /// a whole travels in headers.
    async fn upload(&self, cx: &Context, file: Streaming<Chunk>) -> Result<Stored, Status>;
    /// Sends a file.
    async fn download(&self, file: FileName) -> Result<Streaming<Chunk>, Status>;
}

struct Directory(PathBuf);

impl Directory {
    /// A name comes from outside: it must not lead to any other place.
    fn path(&self, name: &str) -> Result<PathBuf, Status> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(Status::invalid_argument("that is not the name of a file"));
        }
        Ok(self.0.join(name))
    }
}

impl Files for Directory {
    async fn upload(&self, cx: &Context, file: Streaming<Chunk>) -> Result<Stored, Status> {
        let path = self.path(cx.header("File-Name").unwrap_or_default())?;
        // The file that was there stays until the new one has arrived as a whole.
        let size = file.save_to(path).await?;
        Ok(Stored { size })
    }

    async fn download(&self, file: FileName) -> Result<Streaming<Chunk>, Status> {
        let file = File::open(self.path(&file.name)?).await;
        let file = file.map_err(|_| Status::not_found("there is no such file"))?;
        Ok(Streaming::from_reader(file, CHUNK))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join(format!("natsmicro-blobs-{}", std::process::id()));
    fs::create_dir_all(directory.join("service")).await?;
    let result = run(&directory).await;
    fs::remove_dir_all(directory).await?;
    result
}

async fn run(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let nats_server = NatsServer::from_env_or_start().await?;
    let server = Server::new(nats_server.connect().await?)
        .add_service(FilesServer::new(Directory(directory.join("service"))))
        .start()
        .await?;
    let files = FilesClient::new(nats_server.connect().await?);

    let original: Vec<u8> = (0..32_u32 << 20).map(|n| (n % 251) as u8).collect();
    fs::write(directory.join("original"), &original).await?;

    let start = Instant::now();
    let file = Streaming::from_reader(File::open(directory.join("original")).await?, CHUNK);
    let upload = files.upload(file).with_header("File-Name", "report");
    let size = upload.await?.size;
    println!("1. uploaded {size} bytes in {:.1?}", start.elapsed());

    let start = Instant::now();
    let name = "report".to_owned();
    let file = files.download(FileName { name }).await?;
    let size = file.save_to(directory.join("copy")).await?;
    println!("2. downloaded {size} bytes in {:.1?}", start.elapsed());
    assert!(fs::read(directory.join("copy")).await? == original);

    // Zeros without end, from a caller that loses patience.
    let zeros = Streaming::from_reader(tokio::io::repeat(0), CHUNK);
    let upload = files.upload(zeros).with_header("File-Name", "report");
    let late = upload.with_timeout(Duration::from_millis(300)).await;
    println!("3. an upload that was broken off: {}", late.unwrap_err());

    let name = "report".to_owned();
    let file = files.download(FileName { name }).await?;
    let mut now = Vec::new();
    file.write_to(&mut now).await?;
    assert!(now == original);
    println!("4. the file is what it was before");

    let name = "../../etc/passwd".to_owned();
    let error = files.download(FileName { name }).await.unwrap_err();
    println!("5. another name: {error}");

    server.stop().await?;
    Ok(())
}
