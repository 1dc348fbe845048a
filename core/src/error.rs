use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// An error that is matched by its kind, in the manner of async-nats.
///
/// [`StartError`](crate::StartError), [`StopError`](crate::StopError) and [`StoreError`](crate::StoreError) are this type
/// with their own kinds. [`kind`](Error::kind) is for the program, the `Display` text is for a person, and
/// [`source`](StdError::source) is what caused it.
///
/// ```
/// use natsmicro::{StartError, StartErrorKind};
///
/// fn worth_retrying(error: &StartError) -> bool {
///     matches!(error.kind(), StartErrorKind::Nats)
/// }
/// ```
pub struct Error<K> {
    kind: K,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl<K> Error<K> {
    pub(crate) fn new(kind: K, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same as an error with other kinds.
    pub(crate) fn map_kind<L>(self, map: impl FnOnce(K) -> L) -> Error<L> {
        Error {
            kind: map(self.kind),
            message: self.message,
            source: self.source,
        }
    }

    /// What went wrong, for a program to match on.
    pub fn kind(&self) -> &K {
        &self.kind
    }
}

impl<K: fmt::Debug> fmt::Debug for Error<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish()
    }
}

impl<K> fmt::Display for Error<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl<K: fmt::Debug> StdError for Error<K> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
