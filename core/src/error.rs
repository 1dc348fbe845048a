use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// An error that is matched by its kind, in the manner of async-nats.
///
/// [`StartError`](crate::StartError) and [`StoreError`](crate::store::StoreError) are this type with their own kinds.
/// [`kind`](Error::kind) is for the program, and the `Display` text is for a person. What caused the error is its
/// [`source`](StdError::source) and not part of the text, so that a report which prints the whole chain (as those of anyhow,
/// eyre and tracing do) prints each cause once.
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

    /// The same with more in its text.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.message = format!("{}; {hint}", self.message).into();
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
        f.write_str(&self.message)
    }
}

impl<K: fmt::Debug> StdError for Error<K> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

/// An error and its causes in one text, for logs and wherever only a text can travel.
///
/// The errors of async-nats and others hold their source in their own text: it is not repeated.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let current_text = current.to_string();
        if !text.ends_with(&current_text) {
            text.push_str(": ");
            text.push_str(&current_text);
        }
        cause = current.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caused_by(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error<()> {
        Error::new((), "the bucket cannot be made").with_source(source)
    }

    #[test]
    fn the_text_leaves_the_cause_to_the_source() {
        let error = caused_by("no room");
        assert_eq!(error.to_string(), "the bucket cannot be made");
        assert_eq!(error.source().unwrap().to_string(), "no room");
    }

    #[test]
    fn a_chain_tells_each_cause_once() {
        let repeats_its_source = std::io::Error::other(caused_by("no room"));
        let error = Error::new((), "the server did not start").with_source(repeats_its_source);
        assert_eq!(
            chain(&error),
            "the server did not start: the bucket cannot be made: no room"
        );
    }
}
