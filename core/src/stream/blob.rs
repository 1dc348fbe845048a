//! Blobs: byte readers and writers as streams of chunks.
//!
//! Uses [`Streaming`] and the file system only. No more than one chunk is held in memory beyond the window of the stream, and a file
//! is replaced as a whole or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io, process};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::log::warn_limited;
use crate::status::Status;
use crate::stream::streaming::Streaming;

/// The largest chunk in bytes. As base64 it still fits into a message of 1 MiB, the default limit of NATS. Two of them fit into the
/// window of a stream, so one is in transit while the other is written.
const MAX_CHUNK: usize = 512 * 1024;

/// A part of a blob: a message that carries bytes and nothing else.
///
/// [`Streaming::from_reader`] splits a blob into such messages; [`Streaming::write_to`] and [`Streaming::save_to`] join them again.
/// They work with every message type that converts from and into [`Bytes`] (`From<Bytes>`, `Into<Bytes>`); this one is for services
/// without a type of their own.
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
    /// The bytes that follow those of the previous chunk.
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
    /// Sends the bytes of `reader` until its end, in messages of `chunk_size` bytes; the last one may be smaller. An empty blob is a
    /// stream without messages.
    ///
    /// A message is sent when it is full. Use a [`channel`](Self::channel) for data that arrives slowly and must be sent at once. The
    /// reader is read at most one chunk ahead of the window of the other side, so a blob of any size takes little memory. (A
    /// generated peer has no flow control, and gets the blob as fast as the connection takes it.)
    ///
    /// A good `chunk_size` is 64 KiB. It is clamped to the range from 1 byte to 512 KiB: more would not fit into a message of NATS,
    /// which has at most 1 MiB by default. If the NATS server is configured to take less than a chunk, the stream ends with
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
                        // The reader is dropped here: some readers yield bytes again after their end.
                        let last = (!chunk.is_empty()).then(|| T::from(chunk.freeze()));
                        return Ok(last.map(|last| (last, None)));
                    }
                }
                Ok(Some((T::from(chunk.freeze()), Some(reader))))
            },
        ))
    }

    /// Writes the bytes of all messages to `writer` and flushes it; returns their number. It does not shut the writer down.
    ///
    /// Each message is written before the next one is taken from the stream, so a slow writer slows the sender down.
    ///
    /// Fails with the error of the stream. If the writer fails, the code is `RESOURCE_EXHAUSTED` if it has no space and `INTERNAL`
    /// otherwise, and the message names the [kind](io::ErrorKind) of the error. The error itself is only logged, since a handler may
    /// return this status to its caller. In both cases, and when this future is dropped, a part of the bytes may be written, and the
    /// stream is cancelled at the other side.
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

    /// Writes the bytes of all messages to a new file, and replaces `path` with it when the stream has ended without an error; returns
    /// their number.
    ///
    /// `path` is replaced atomically: a process that opens it gets the old file or the complete new one, also after a power failure.
    /// The bytes are written to a file in the same directory whose name begins with `.natsmicro-`. It is removed if anything fails, and
    /// when this future is dropped; only a process that is killed leaves it behind. When this returns, the file is synced to the disk.
    /// It has the permissions of a new file, not those of the old one.
    ///
    /// Fails as [`write_to`](Self::write_to) does. `path` is not checked: check it first if it is made from the data of a caller.
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

/// Logs an error and returns the status for it. The status may go to the other side, so it does not have the text of the error, which
/// may name a path.
fn failed(doing: &str, path: Option<&Path>, error: &io::Error) -> Status {
    warn_limited!(path = path.map(tracing::field::debug), %error, "cannot {doing}");
    let message = format!("cannot {doing}: {}", error.kind());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Status::resource_exhausted(message)
        }
        _ => Status::internal(message),
    }
}

/// Runs `work` on a thread for blocking work. If the future is dropped, `work` still runs to its end, and its result is dropped.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A new file that will replace `target`. It is removed on drop, unless it was renamed.
struct Unfinished {
    /// The temporary path; `None` after the rename.
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
                // Left by a killed process, or in use by a process with the same id in another container.
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
        // Syncs the new name. Not all file systems support this; without it, `target` is still either the old or the new file.
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
            warn_limited!(?path, %error, "cannot remove an unfinished file");
        }
    }
}

/// Bytes as in protojson: written as base64; read from base64 in either alphabet, with or without padding, or from `null`.
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
        // `deserialize` reads an option, and binary formats encode an option differently from a string.
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
