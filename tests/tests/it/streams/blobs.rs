//! Blobs as streams: from readers, to writers, and into files.

use bytes::Bytes;
use futures::StreamExt;
use natsmicro::{Chunk, Code, Codec, Json, Server, Status, Streaming};
use tokio::io::AsyncReadExt;

use natsmicro_tests::blobs::{Blob, Directory, Fixture, blob, bytes, content, drain_slowly};
use natsmicro_tests::common::{Nats, code_of, soon};

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn a_caller_downloads_into_a_file() {
    let fixture = Fixture::start().await;
    let size = 5 * MIB + 7;
    let chunks = fixture.client.download(blob(size, 65_536)).await.unwrap();
    let path = fixture.directory.path("copy");
    assert_eq!(soon(chunks.save_to(&path)).await, Ok(size));
    assert!(content(path) == bytes(size));
    assert_eq!(fixture.directory.names(), ["copy"]);
}

#[tokio::test]
async fn a_caller_uploads_into_a_file() {
    let fixture = Fixture::start().await;
    let path = fixture.directory.path("blob");
    std::fs::write(&path, bytes(6 * MIB)).unwrap();
    let size = 5 * MIB + 7;
    let chunks = fixture.blob(blob(size, 65_536));
    let stored = soon(fixture.client.upload(chunks).into_future()).await;
    assert_eq!(stored.unwrap().size, size);
    assert!(content(path) == bytes(size));
    assert_eq!(fixture.directory.names(), ["blob"]);
}

#[tokio::test]
async fn chunks_are_full_but_the_last() {
    let fixture = Fixture::start().await;
    for (size, expected) in [
        (0, vec![]),
        (1, vec![1]),
        (9_999, vec![9_999]),
        (10_000, vec![10_000]),
        (10_001, vec![10_000, 1]),
        (20_000, vec![10_000, 10_000]),
        (25_000, vec![10_000, 10_000, 5_000]),
    ] {
        let chunks = fixture.client.download(blob(size, 10_000)).await.unwrap();
        let chunks: Vec<_> = soon(chunks.map(|chunk| chunk.unwrap().data).collect()).await;
        let sizes: Vec<_> = chunks.iter().map(Bytes::len).collect();
        assert_eq!(sizes, expected);
        assert_eq!(chunks.concat(), bytes(size));

        let upload = fixture.client.upload(fixture.blob(blob(size, 10_000)));
        assert_eq!(soon(upload.into_future()).await.unwrap().size, size);
        assert_eq!(content(fixture.directory.path("blob")), bytes(size));
    }
}

#[tokio::test]
async fn chunk_sizes_have_bounds() {
    let fixture = Fixture::start().await;
    for (size, chunk_size, expected) in [(3, 0, 1), (MIB, u64::MAX, 512 * 1024)] {
        let chunks = fixture
            .client
            .download(blob(size, chunk_size))
            .await
            .unwrap();
        let sizes: Vec<_> = soon(chunks.map(|chunk| chunk.unwrap().data.len()).collect()).await;
        assert!(sizes.iter().all(|size| *size == expected), "{sizes:?}");
    }
}

#[tokio::test]
async fn a_reader_that_fails() {
    let fixture = Fixture::start().await;
    let failing = Blob {
        fails_at: Some(300_000),
        ..blob(MIB, 65_536)
    };
    let expected = Status::internal("cannot read the blob: other error");
    let path = fixture.directory.path("blob");
    std::fs::write(&path, "what was there").unwrap();

    let chunks = fixture.client.download(failing.clone()).await.unwrap();
    assert_eq!(soon(chunks.save_to(&path)).await, Err(expected.clone()));
    assert_eq!(content(&path), b"what was there");
    assert_eq!(fixture.directory.names(), ["blob"]);

    let upload = fixture.client.upload(fixture.blob(failing));
    assert_eq!(soon(upload.into_future()).await, Err(expected));
    assert_eq!(content(&path), b"what was there");
    assert_eq!(fixture.directory.names(), ["blob"]);
}

#[tokio::test]
async fn a_writer_that_fails_stops_the_sender() {
    let mut fixture = Fixture::start().await;
    let expected = Err(Status::internal("cannot write the blob: broken pipe"));
    // Far more than what may be on its way.
    let endless = blob(1 << 40, 65_536);

    let (mut near, mut far) = tokio::io::duplex(16 * 1024);
    let chunks = fixture.client.download(endless.clone()).await.unwrap();
    let print = tokio::spawn(async move { chunks.write_to(&mut far).await });
    soon(near.read_exact(&mut [0; 100_000])).await.unwrap();
    drop(near);
    assert_eq!(soon(print).await.unwrap(), expected);
    soon(fixture.dropped.recv()).await.unwrap();

    let chunks = fixture.blob(endless);
    let print = tokio::spawn(fixture.client.print(chunks).into_future());
    soon(fixture.pipe.read_exact(&mut [0; 100_000]))
        .await
        .unwrap();
    drop(fixture.pipe);
    assert_eq!(soon(print).await.unwrap().map(|blob| blob.size), expected);
    soon(fixture.dropped.recv()).await.unwrap();
}

/// The window, and what is between the reader and it, and between it and the writer.
const MOST_AHEAD: u64 = MIB + 4 * 65_536;

#[tokio::test]
async fn a_slow_caller_holds_the_reader_back() {
    let fixture = Fixture::start().await;
    let size = 4 * MIB;
    let chunks = fixture.client.download(blob(size, 65_536)).await.unwrap();
    let (mut near, mut far) = tokio::io::duplex(16 * 1024);
    let print = tokio::spawn(async move { chunks.write_to(&mut far).await });
    until(|| fixture.progress.most_ahead() >= MIB).await;
    drain_slowly(&mut near, &fixture.progress, size).await;
    assert_eq!(soon(print).await.unwrap(), Ok(size));
    let ahead = fixture.progress.most_ahead();
    assert!(ahead < MOST_AHEAD, "{ahead}");
}

#[tokio::test]
async fn a_slow_service_holds_the_reader_back() {
    let mut fixture = Fixture::start().await;
    let size = 4 * MIB;
    let chunks = fixture.blob(blob(size, 65_536));
    let print = tokio::spawn(fixture.client.print(chunks).into_future());
    until(|| fixture.progress.most_ahead() >= MIB).await;
    drain_slowly(&mut fixture.pipe, &fixture.progress, size).await;
    assert_eq!(soon(print).await.unwrap().unwrap().size, size);
    let ahead = fixture.progress.most_ahead();
    assert!(ahead < MOST_AHEAD, "{ahead}");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_behind() {
    let mut fixture = Fixture::start().await;
    let path = fixture.directory.path("blob");
    std::fs::write(&path, "what was there").unwrap();
    let chunks = fixture.blob(blob(1 << 40, 65_536));
    let upload = tokio::spawn(fixture.client.upload(chunks).into_future());
    until(|| fixture.directory.names().len() == 2).await;
    let unfinished = fixture.directory.names().remove(0);
    assert!(unfinished.starts_with(".natsmicro-"), "{unfinished}");
    upload.abort();
    soon(fixture.dropped.recv()).await.unwrap();
    until(|| fixture.directory.names() == ["blob"]).await;
    assert_eq!(content(&path), b"what was there");
}

/// Also at the moments when the file is being created, written and renamed on another thread.
#[test]
fn a_dropped_save_leaves_nothing_behind() {
    let directory = Directory::create();
    for polls in 0..8 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let chunks = Streaming::iter([Chunk::from(Bytes::from(bytes(MIB)))]);
            let mut save = Box::pin(chunks.save_to(directory.path("blob")));
            for _ in 0..polls {
                if futures::poll!(&mut save).is_ready() {
                    break;
                }
                std::thread::yield_now();
            }
        });
        // Waits for the other thread.
        drop(runtime);
        let names = directory.names();
        assert!(names.is_empty() || names == ["blob"], "{names:?}");
        if names == ["blob"] {
            assert!(content(directory.path("blob")) == bytes(MIB));
        }
    }
}

#[tokio::test]
async fn places_where_nothing_can_be_saved() {
    let directory = Directory::create();
    let blob = || Streaming::iter([Chunk::from(Bytes::from_static(b"data"))]);
    for (path, message) in [
        (
            directory.path("none/blob"),
            "cannot save the blob: entity not found",
        ),
        (directory.0.clone(), "cannot save the blob: is a directory"),
        (directory.path(".."), "cannot save the blob: is a directory"),
        ("".into(), "cannot save the blob: is a directory"),
    ] {
        let error = soon(blob().save_to(path)).await.unwrap_err();
        assert_eq!(error, Status::internal(message));
    }
    assert!(directory.names().is_empty());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk() {
    let mut full = tokio::fs::File::create("/dev/full").await.unwrap();
    let blob = Streaming::iter([Chunk::from(Bytes::from_static(b"data"))]);
    let error = soon(blob.write_to(&mut full)).await.unwrap_err();
    assert_eq!(error.code(), &Code::ResourceExhausted, "{error}");
}

#[test]
fn chunks_are_what_protojson_writes() {
    let chunk = |data: &'static [u8]| Chunk::from(Bytes::from_static(data));
    let json = |chunk: &Chunk| <Json as Codec<Chunk>>::encode(chunk).unwrap();
    assert_eq!(json(&chunk(b"\xfb\xff!!")), r#"{"data":"+/8hIQ=="}"#);
    assert_eq!(json(&chunk(b"")), r#"{"data":""}"#);
    let read =
        |json: &'static str| <Json as Codec<Chunk>>::decode(Bytes::from_static(json.as_bytes()));
    for (json, data) in [
        (r#"{"data":"+/8hIQ=="}"#, &b"\xfb\xff!!"[..]),
        (r#"{"data":"+\/8hIQ"}"#, b"\xfb\xff!!"),
        (r#"{"data":"-_8hIQ=="}"#, b"\xfb\xff!!"),
        (r#"{"data":"-_8hIQ"}"#, b"\xfb\xff!!"),
        (r#"{"data":""}"#, b""),
        (r#"{"data":null}"#, b""),
        ("{}", b""),
    ] {
        assert_eq!(read(json).unwrap(), chunk(data), "{json}");
    }
    for json in [r#"{"data":"+_8hIQ=="}"#, r#"{"data":"?"}"#, r#"{"data":1}"#] {
        let error = read(json).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}

/// A message of one's own.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Part {
    bytes: Vec<u8>,
}

impl From<Bytes> for Part {
    fn from(bytes: Bytes) -> Self {
        let bytes = bytes.into();
        Self { bytes }
    }
}

impl From<Part> for Bytes {
    fn from(part: Part) -> Self {
        part.bytes.into()
    }
}

#[natsmicro::service(codec = "json")]
pub trait JsonBlobs {
    async fn chunks(&self, chunks: Streaming<Chunk>) -> Result<Streaming<Chunk>, Status>;
    async fn parts(&self, parts: Streaming<Part>) -> Result<Streaming<Part>, Status>;
}

struct Echo;

impl JsonBlobs for Echo {
    async fn chunks(&self, chunks: Streaming<Chunk>) -> Result<Streaming<Chunk>, Status> {
        Ok(chunks)
    }

    async fn parts(&self, parts: Streaming<Part>) -> Result<Streaming<Part>, Status> {
        Ok(parts)
    }
}

#[tokio::test]
async fn json_and_other_messages() {
    let nats = Nats::start().await;
    let server = Server::new(nats.service.clone()).add_service(JsonBlobsServer::new(Echo));
    let _server = server.start().await.unwrap();
    let client = JsonBlobsClient::new(nats.caller.clone());
    let data: &[u8] = bytes(MIB).leak();

    // The largest chunks there are.
    let chunks = client.chunks(Streaming::from_reader(data, usize::MAX));
    let mut copy = Vec::new();
    let size = soon(chunks.await.unwrap().write_to(&mut copy)).await;
    assert_eq!(size, Ok(MIB));
    assert!(copy == data);

    let data = &data[..25_000];
    let parts = client.parts(Streaming::from_reader(data, 10_000));
    let mut copy = Vec::new();
    let size = soon(parts.await.unwrap().write_to(&mut copy)).await;
    assert_eq!(size, Ok(25_000));
    assert!(copy == data);
}

#[tokio::test]
async fn a_server_that_takes_less_than_a_chunk() {
    let nats = Nats::with(natsmicro::testing::NatsServer::builder().max_payload(65_536)).await;
    let server = Server::new(nats.service.clone()).add_service(JsonBlobsServer::new(Echo));
    let _server = server.start().await.unwrap();
    let client = JsonBlobsClient::new(nats.caller.clone());
    let chunks = client.chunks(Streaming::from_reader(tokio::io::repeat(0), 100_000));
    let chunks = soon(chunks.into_future()).await.unwrap();
    let result = soon(chunks.write_to(&mut tokio::io::sink())).await;
    assert_eq!(code_of(result), "RESOURCE_EXHAUSTED");
}

/// Waits for what happens elsewhere.
async fn until(mut condition: impl FnMut() -> bool) {
    let seen = async {
        while !condition() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    soon(seen).await;
}
