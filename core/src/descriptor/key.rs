//! Keys of the stores, and what NATS accepts as one.

use std::fmt;

/// The longest key in bytes. A key becomes part of a subject, and nats-server closes a connection for good when a protocol
/// line exceeds 4,096 bytes; the longest such line names bucket and key twice.
pub const MAX_KEY_LEN: usize = 1024;

/// A checked key of a Key-Value bucket or name in an Object Store.
///
/// Made by the `..._key` functions of a generated client, or from a string:
///
/// ```
/// use natsmicro::Key;
///
/// let key: Key = "user.ada".parse()?;
/// assert_eq!(key.as_str(), "user.ada");
/// assert!("user..ada".parse::<Key>().is_err());
/// assert!("user.*".parse::<Key>().is_err());
/// # Ok::<(), natsmicro::store::InvalidKey>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub(crate) String);

impl Key {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

impl std::str::FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        check(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Key {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        check(&text)?;
        Ok(Self(text))
    }
}

/// Why something cannot be a key. Names the field of the message at fault, if one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidKey {
    field: Option<&'static str>,
    kind: InvalidKeyKind,
}

/// The kinds of [`InvalidKey`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidKeyKind {
    /// There is nothing where a token of the key should be.
    Empty,
    /// A character that a key, or one token of it, cannot hold.
    Character(char),
    /// The key starts with `_kv`.
    Reserved,
    /// The key has more than [`MAX_KEY_LEN`] bytes.
    TooLong,
    /// A field's value could not be formatted.
    Format,
}

impl InvalidKey {
    pub(crate) fn new(kind: InvalidKeyKind) -> Self {
        Self { field: None, kind }
    }

    pub(crate) fn of(field: &'static str, kind: InvalidKeyKind) -> Self {
        Self {
            field: Some(field),
            kind,
        }
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> &InvalidKeyKind {
        &self.kind
    }

    /// The field whose value is at fault, if the key was made from a template.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field
    }
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            Some(field) => write!(f, "field `{field}` cannot be part of a store key: ")?,
            None => f.write_str("not a store key: ")?,
        }
        match (&self.kind, self.field) {
            (InvalidKeyKind::Empty, Some(_)) => f.write_str("it is empty"),
            (InvalidKeyKind::Empty, None) => f.write_str("a token is empty"),
            (InvalidKeyKind::Character(c), Some(_)) => write!(
                f,
                "it has the character {c:?}, and may have letters, digits and any of `-`, `/`, `_` and `=`"
            ),
            (InvalidKeyKind::Character(c), None) => write!(
                f,
                "it has the character {c:?}, and may have letters, digits and any of `-`, `/`, `_`, `=` and `.`"
            ),
            (InvalidKeyKind::Reserved, _) => {
                f.write_str("the key would start with `_kv`, which NATS keeps for itself")
            }
            (InvalidKeyKind::TooLong, _) => {
                write!(f, "the key would have more than {MAX_KEY_LEN} bytes")
            }
            (InvalidKeyKind::Format, _) => f.write_str("it could not be formatted"),
        }
    }
}

impl std::error::Error for InvalidKey {}

impl From<InvalidKey> for crate::status::Status {
    fn from(error: InvalidKey) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

pub(crate) fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '_' | '=')
}

/// Whether NATS keeps keys that start like `text` for itself.
pub(crate) fn is_reserved(text: &str) -> bool {
    text.starts_with("_kv")
}

/// Whether `text` is a key as it stands.
pub(crate) fn check(text: &str) -> Result<(), InvalidKey> {
    let kind = if text.len() > MAX_KEY_LEN {
        InvalidKeyKind::TooLong
    } else if let Some(c) = text.chars().find(|&c| !is_token_char(c) && c != '.') {
        InvalidKeyKind::Character(c)
    } else if text.split('.').any(str::is_empty) {
        InvalidKeyKind::Empty
    } else if is_reserved(text) {
        InvalidKeyKind::Reserved
    } else {
        return Ok(());
    };
    Err(InvalidKey::new(kind))
}

/// Whether `text` is a key in which `*` may stand for a token and a final `>` for all that follow.
pub(crate) fn check_pattern(text: &str) -> Result<(), InvalidKey> {
    // A pattern is a key once something stands for each wildcard.
    let last = text.split('.').count() - 1;
    let tokens = text.split('.').enumerate();
    let filled = tokens.map(|(i, token)| match token {
        "*" => "x",
        ">" if i == last => "x",
        token => token,
    });
    check(&filled.collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_up_to_1024_bytes() {
        assert_eq!(check(&"x".repeat(1_024)), Ok(()));
        let error = check(&"x".repeat(1_025)).unwrap_err();
        assert_eq!(*error.kind(), InvalidKeyKind::TooLong);
        assert!(error.to_string().contains("1024"), "{error}");
    }

    #[test]
    fn checks_keys_and_patterns() {
        for good in ["a", "a.b", "A-z_0/9=.x"] {
            assert!(check(good).is_ok(), "{good}");
            assert!(check_pattern(good).is_ok(), "{good}");
        }
        for bad in [
            "", ".a", "a.", "a..b", "a b", "a.*", "a.>", "ü", "a\n", "_kv", "_kv.a",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for good in [">", "a.>", "*", "a.*.b", "*.>"] {
            assert!(check_pattern(good).is_ok(), "{good}");
        }
        for bad in ["", "a>", ">.a", "a.>.b", "a*", ".>", "a..>", "_kv.>"] {
            assert!(check_pattern(bad).is_err(), "{bad:?}");
        }
    }
}
