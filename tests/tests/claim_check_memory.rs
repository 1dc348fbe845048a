//! A response of 64 MiB from one process to another, and what it costs them.
//!
//! A program of its own: what is read is the most memory that the process has had, which other tests would raise beforehand.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use natsmicro::Status;
use natsmicro_tests::persistence::{Nats, Save, TestResult, eventually};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
}

#[natsmicro::service(timeout = "60s")]
pub trait Blobs {
    #[object_store(bucket = "blobs", key = "<key>")]
    async fn blob(&self, request: Save) -> Result<Blob, Status>;

    /// How many bytes the process of the service has had in memory at most since it started to serve.
    async fn growth(&self) -> Result<u64, Status>;
}

struct Service {
    at_start: u64,
}

impl Blobs for Service {
    async fn blob(&self, _: Save) -> Result<Blob, Status> {
        Ok(Blob {
            bytes: vec![7; SIZE].into(),
        })
    }
    async fn growth(&self) -> Result<u64, Status> {
        Ok(peak() - self.at_start)
    }
}

const SIZE: usize = 64 << 20;
/// A side that kept a copy more than it needs would be beyond it. What is needed does not depend on time: the message and its
/// encoding, or what was fetched, and a few MiB on their way, since chunks are sent and asked for in windows.
const BOUND: u64 = 3 * SIZE as u64;
const URL: &str = "NATSMICRO_TEST_URL";

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() * 1024
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test of its own: what the test below starts this program for.
#[tokio::test]
async fn the_other_process() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let nats = async_nats::connect(url).await.unwrap();
    let service = Service { at_start: peak() };
    let server = natsmicro::Server::new(nats.clone())
        .with_jetstream(async_nats::jetstream::new(nats))
        .add_service(BlobsServer::new(service));
    let server = server.start().await.unwrap();
    std::future::pending::<()>().await;
    drop(server);
}

#[tokio::test]
async fn one_large_response_is_in_memory_once() -> TestResult {
    let nats = Nats::start().await;
    let service = Command::new(std::env::current_exe()?)
        .args(["--exact", "the_other_process"])
        .env(URL, nats.server.url())
        .stdout(Stdio::null())
        .spawn()?;
    let _service = Process(service);
    let client = BlobsClient::new(nats.client());
    eventually("the service is there", || async {
        client.growth().await.ok()
    })
    .await;

    let before = peak();
    let blob = client
        .blob(Save::new("a", ""))
        .with_timeout(Duration::from_secs(60))
        .await?;
    let growth = peak() - before;
    assert_eq!(blob.bytes.len(), SIZE);
    assert!(blob.bytes.iter().all(|byte| *byte == 7));
    assert!(growth < BOUND, "the client took {growth} bytes");
    let growth = client.growth().await?;
    assert!(growth < BOUND, "the service took {growth} bytes");
    Ok(())
}
