use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use super::error::{NatsServerError, NatsServerErrorKind};

/// A new directory in the system's temporary directory, removed with all it holds on drop.
#[derive(Debug)]
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn new() -> Result<Self, NatsServerError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let nanos = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.subsec_nanos());
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path =
                env::temp_dir().join(format!("natsmicro-{}-{number}-{nanos:x}", process::id()));
            match create_private(&path) {
                Ok(()) => return Ok(Self(path)),
                // A left-over of an earlier process with our id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot("create", &path, error)),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Nothing to do about a failure: the system clears its temporary directory sooner or later.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The temporary directory is shared with other users, who must not be able to read or change what is in ours.
fn create_private(path: &Path) -> io::Result<()> {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has a mode to set"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

pub(super) fn cannot(what: &str, path: &Path, error: io::Error) -> NatsServerError {
    NatsServerError::with_source(
        NatsServerErrorKind::Io,
        format!("cannot {what} `{}`", path.display()),
        error,
    )
}
