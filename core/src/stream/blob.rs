//! Blobs: bytes of any number, as a stream of messages that hold a piece each.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io, process};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::status::Status;
use crate::stream::streaming::Streaming;

/// The largest chunk. As base64 it still fits into a message of 1 MiB, the most that NATS takes by default; and of larger ones,
/// none would be on its way while another is written.
const MAX_CHUNK: usize = 512 * 1024;

/// A piece of a blob: the message of a stream that carries bytes and nothing else.
///
/// [`Streaming::from_reader`] cuts a blob into such messages, [`Streaming::write_to`] and [`Streaming::save_to`] put it together
/// again. They take every message that is made from [`Bytes`] and turned into them (`From<Bytes>`, `Into<Bytes>`); this one is
/// for services without one of their own.
///
/// With the codec `protobuf` it is `message Chunk { bytes data = 1; }`, with `json` the same as protojson has it:
/// `{"data":"<base64>"}`.
///
/// ```
/// use natsmicro::{Chunk, Status, Streaming};
/// use tokio::fs::File;
///
/// #[natsmicro::service]
/// pub trait Backups {
///     /// Sends the backup.
///     async fn fetch(&self) -> Result<Streaming<Chunk>, Status>;
///     /// Replaces the backup; the old one stays if the new one does not arrive as a whole.
///     async fn store(&self, backup: Streaming<Chunk>) -> Result<(), Status>;
/// }
///
/// struct Directory;
///
/// impl Backups for Directory {
///     async fn fetch(&self) -> Result<Streaming<Chunk>, Status> {
///         let backup = File::open("/var/backups/latest").await;
///         let backup = backup.map_err(|_| Status::not_found("there is no backup yet"))?;
///         Ok(Streaming::from_reader(backup, 64 * 1024))
///     }
///
///     async fn store(&self, backup: Streaming<Chunk>) -> Result<(), Status> {
///         let size = backup.save_to("/var/backups/latest").await?;
///         println!("stored {size} bytes");
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "protobuf", derive(prost::Message))]
#[cfg_attr(not(feature = "protobuf"), derive(Debug, Default))]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct Chunk {
    /// The bytes that follow those of the message before.
    #[cfg_attr(feature = "protobuf", prost(bytes = "bytes", tag = "1"))]
    #[cfg_attr(feature = "json", serde(default, with = "base64_text"))]
    pub data: Bytes,
}

impl From<Bytes> for Chunk {
    fn from(data: Bytes) -> Self {
        Self { data }
    }
}

impl From<Chunk> for Bytes {
    fn from(chunk: Chunk) -> Self {
        chunk.data
    }
}

impl<T> Streaming<T> {
    /// Sends what `reader` yields until its end, in messages of `chunk_size` bytes, of which the last may have less. An empty blob
    /// is a stream without messages.
    ///
    /// A message is sent when it is full: data that trickles in and is wanted at once goes through a [`channel`](Self::channel).
    /// The reader is asked for no more than one chunk beyond what the other side has room for, so a blob of any size takes little
    /// memory. (A generated peer cannot say what it has room for, and gets the blob as fast as the connection takes it.)
    ///
    /// A good `chunk_size` is 64 KiB. It is brought into the range from 1 byte to 512 KiB: more would not fit into a message of
    /// NATS, which has 1 MiB by default. On a NATS server that is configured to take less than a chunk, the stream ends with
    /// `RESOURCE_EXHAUSTED`.
    ///
    /// An error of the reader ends the stream with `INTERNAL` and its [kind](io::ErrorKind); the error itself is only logged, as
    /// it may name a file.
    ///
    /// ```
    /// use natsmicro::{Chunk, Status, Streaming};
    ///
    /// async fn download() -> Result<Streaming<Chunk>, Status> {
    ///     let report = tokio::fs::File::open("report.pdf").await;
    ///     let report = report.map_err(|_| Status::not_found("there is no report"))?;
    ///     Ok(Streaming::from_reader(report, 64 * 1024))
    /// }
    /// ```
    pub fn from_reader(reader: impl AsyncRead + Send + 'static, chunk_size: usize) -> Self
    where
        T: From<Bytes> + 'static,
    {
        let size = chunk_size.clamp(1, MAX_CHUNK);
        let reader = Some(Box::pin(reader));
        Self::new(futures::stream::try_unfold(
            reader,
            move |reader| async move {
                let Some(mut reader) = reader else {
                    return Ok(None);
                };
                let mut chunk = BytesMut::with_capacity(size);
                while chunk.len() < size {
                    let room = size - chunk.len();
                    let read = reader.read_buf(&mut (&mut chunk).limit(room)).await;
                    if read.map_err(|error| failed("read the blob", None, &error))? == 0 {
                        // Some readers go on after their end.
                        let last = (!chunk.is_empty()).then(|| T::from(chunk.freeze()));
                        return Ok(last.map(|last| (last, None)));
                    }
                }
                Ok(Some((T::from(chunk.freeze()), Some(reader))))
            },
        ))
    }

    /// Writes the bytes of all messages to `writer` and flushes it; gives their number. It does not shut the writer down.
    ///
    /// Each message is written before the next one is taken from the stream, so a writer that is slow holds the sender back.
    ///
    /// Fails with the error of the stream. If the writer fails, that is `RESOURCE_EXHAUSTED` for one without space and `INTERNAL`
    /// for all else, with the [kind](io::ErrorKind) of the error, which is itself only logged: what a handler returns goes to its
    /// caller. In both cases, and when this future is dropped, a part of the bytes may be written, and the other side is told
    /// that the stream is no longer read.
    ///
    /// ```
    /// use natsmicro::{Chunk, Status, Streaming};
    ///
    /// async fn print(chunks: Streaming<Chunk>) -> Result<(), Status> {
    ///     let size = chunks.write_to(&mut tokio::io::stdout()).await?;
    ///     eprintln!("{size} bytes");
    ///     Ok(())
    /// }
    /// ```
    pub async fn write_to(
        self,
        writer: &mut (impl AsyncWrite + Unpin + ?Sized),
    ) -> Result<u64, Status>
    where
        T: Into<Bytes>,
    {
        copy(self, writer, |error| failed("write the blob", None, &error)).await
    }

    /// Writes the bytes of all messages to a new file, and puts that in the place of `path` when the stream has ended well; gives
    /// their number.
    ///
    /// Until then, what was at `path` stays there untouched, and whoever opens it sees the old file or the whole new one, also
    /// after a power failure. The bytes go to a file beside it, whose name begins with `.natsmicro-`; it is removed if anything
    /// fails, and when this future is dropped (only a process that is killed leaves it). When this returns, the file is synced to
    /// the disk. It has the permissions that new files get, whatever those of the old one were.
    ///
    /// Fails as [`write_to`](Self::write_to) does. `path` is used as it is: one that is made from what a caller has sent has to
    /// be checked before.
    ///
    /// ```
    /// use natsmicro::{Chunk, Status, Streaming};
    ///
    /// async fn upload(chunks: Streaming<Chunk>) -> Result<(), Status> {
    ///     let size = chunks.save_to("report.pdf").await?;
    ///     println!("the report has {size} bytes");
    ///     Ok(())
    /// }
    /// ```
    pub async fn save_to(self, path: impl AsRef<Path>) -> Result<u64, Status>
    where
        T: Into<Bytes>,
    {
        let path = path.as_ref().to_owned();
        let failed = |error| failed("save the blob", Some(&path), &error);
        let target = path.clone();
        let created = blocking(move || Unfinished::create(target)).await;
        let (unfinished, file) = created.map_err(failed)?;
        let mut file = tokio::fs::File::from_std(file);
        let size = copy(self, &mut file, failed).await?;
        let file = file.into_std().await;
        let finished = blocking(move || unfinished.finish(file)).await;
        finished.map_err(failed)?;
        Ok(size)
    }
}

async fn copy<T: Into<Bytes>>(
    mut stream: Streaming<T>,
    writer: &mut (impl AsyncWrite + Unpin + ?Sized),
    failed: impl Fn(io::Error) -> Status,
) -> Result<u64, Status> {
    let mut size = 0;
    while let Some(chunk) = stream.message().await? {
        let data = chunk.into();
        writer.write_all(&data).await.map_err(&failed)?;
        size += data.len() as u64;
    }
    writer.flush().await.map_err(failed)?;
    Ok(size)
}

/// What the other side may know of a failure on this one: not the text of the error, which may hold a path.
fn failed(doing: &str, path: Option<&Path>, error: &io::Error) -> Status {
    tracing::warn!(path = path.map(tracing::field::debug), %error, "cannot {doing}");
    let message = format!("cannot {doing}: {}", error.kind());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Status::resource_exhausted(message)
        }
        _ => Status::internal(message),
    }
}

/// Runs to its end even if nobody waits for it any more; what it gives is dropped then.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A file that is to take the place of another, removed on drop.
struct Unfinished {
    /// Where it is, until it has moved.
    path: Option<PathBuf>,
    target: PathBuf,
}

impl Unfinished {
    fn create(target: PathBuf) -> io::Result<(Self, File)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if target.file_name().is_none() || target.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = target.with_file_name(format!(".natsmicro-{}-{number}", process::id()));
            match File::create_new(&path) {
                Ok(file) => {
                    let path = Some(path);
                    return Ok((Self { path, target }, file));
                }
                // Of a process that was killed, or one with the same id in another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn finish(mut self, file: File) -> io::Result<()> {
        file.sync_all()?;
        drop(file);
        if let Some(path) = &self.path {
            fs::rename(path, &self.target)?;
            self.path = None;
        }
        // So that the new name is on the disk, too. Not all file systems can do this, and what they hold is whole without it.
        #[cfg(unix)]
        if let Some(directory) = self.target.parent() {
            let directory = if directory.as_os_str().is_empty() {
                Path::new(".")
            } else {
                directory
            };
            let _ = File::open(directory).and_then(|directory| directory.sync_all());
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!(?path, %error, "cannot remove an unfinished file");
        }
    }
}

/// Bytes as protojson writes and reads them: base64, and when reading, either alphabet, with or without padding, or `null`.
#[cfg(feature = "json")]
mod base64_text {
    use base64::Engine as _;
    use base64::alphabet::{STANDARD, URL_SAFE};
    use base64::engine::general_purpose::{GeneralPurpose, PAD};
    use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
    use bytes::Bytes;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    const LENIENT: GeneralPurposeConfig =
        PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
    const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

    pub(crate) fn serialize<S: Serializer>(data: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        // What is read is an option, which formats without names tell from a string.
        serializer.serialize_some(&BASE64.encode(data))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        let engine = if text.contains(['-', '_']) {
            BASE64_URL
        } else {
            BASE64
        };
        engine
            .decode(text)
            .map(Bytes::from)
            .map_err(D::Error::custom)
    }
}
