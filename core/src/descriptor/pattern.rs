//! Patterns of keys, from templates whose placeholders may be left open.

use std::fmt;

use crate::descriptor::key;
use crate::descriptor::key::{InvalidKey, Key};
use crate::descriptor::template::{KeyTemplate, KeyToken};
use crate::transport::subject;

/// Leaves a placeholder of a pattern open: any token will do. See [`Pattern`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Any;

/// What can stand for a placeholder in a [`Pattern`]: a [`KeyToken`], or [`Any`].
///
/// A type of your own implements [`KeyToken`], and so this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a pattern of store keys",
    label = "neither a value nor `natsmicro::store::Any`",
    note = "values are strings, integers, `bool` or a type that implements `natsmicro::store::KeyToken`"
)]
pub trait PatternToken {
    /// The value; `None` if any will do.
    fn token(&self) -> Option<&dyn KeyToken>;
}

#[diagnostic::do_not_recommend]
impl<T: KeyToken> PatternToken for T {
    fn token(&self) -> Option<&dyn KeyToken> {
        Some(self)
    }
}

impl PatternToken for Any {
    fn token(&self) -> Option<&dyn KeyToken> {
        None
    }
}

/// A checked pattern of the keys of a Key-Value bucket, in which `*` stands for one token and a final `>` for all that follow.
///
/// Made by the `..._pattern` functions of a generated client, which take a value or [`Any`] for each placeholder of the key, or
/// from a string. [`watch`](crate::store::kv::handle::KvStore::watch), [`keys`](crate::store::kv::handle::KvStore::keys) and
/// [`with_pattern`](crate::store::kv::cache::CacheBuilder::with_pattern) take it; they also take strings, and check them then.
///
/// ```
/// # use natsmicro::Status;
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct Order {
/// #     #[prost(string, tag = "1")] pub region: String, #[prost(uint64, tag = "2")] pub number: u64,
/// # }
/// use natsmicro::store::{Any, Pattern};
///
/// #[natsmicro::service]
/// pub trait Orders {
///     #[kv_store(bucket = "orders", key = "order.<region>.<number>")]
///     async fn place(&self, request: Order) -> Result<Order, Status>;
/// }
///
/// let european = OrdersClient::place_pattern("eu", Any)?;
/// assert_eq!(european.as_str(), "order.eu.*");
/// let all: Pattern = "order.>".parse()?;
/// assert!(OrdersClient::place_pattern("*", 7).is_err());
/// # Ok::<(), natsmicro::store::InvalidKey>(())
/// ```
///
/// Only a whole token can be left open: for `<id>` in `user-<id>` the function takes a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a key is one of those that the pattern stands for.
    ///
    /// ```
    /// use natsmicro::store::Pattern;
    /// use natsmicro::Key;
    ///
    /// let users: Pattern = "user.*".parse()?;
    /// assert!(users.matches(&"user.ada".parse::<Key>()?));
    /// # Ok::<(), natsmicro::store::InvalidKey>(())
    /// ```
    #[must_use]
    pub fn matches(&self, key: &Key) -> bool {
        subject::matches(&self.0, key.as_str())
    }
}

impl AsRef<str> for Pattern {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

/// A key stands for itself.
impl From<Key> for Pattern {
    fn from(key: Key) -> Self {
        Self(key.into())
    }
}

impl std::str::FromStr for Pattern {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        key::check_pattern(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Pattern {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        key::check_pattern(&text)?;
        Ok(Self(text))
    }
}

impl KeyTemplate {
    /// Fills in all placeholders, in the order in which they stand, or leaves them open.
    pub(crate) fn pattern(self, values: &[&dyn PatternToken]) -> Result<Pattern, InvalidKey> {
        self.text(values.iter().map(|value| value.token()))
            .map(Pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::template::{KeyPart, StoreKey};

    #[test]
    fn open_and_filled() {
        const PARTS: &[KeyPart] = &[
            KeyPart::Request("region"),
            KeyPart::Text(".user-"),
            KeyPart::Request("id"),
            KeyPart::Text("."),
            KeyPart::Response("number"),
            KeyPart::Text("."),
            KeyPart::Request("region"),
        ];
        let template = StoreKey::<(), ()>::new(PARTS, |(), key| key.bind(&[])).template();
        let pattern = |values: &[&dyn PatternToken]| template.pattern(values);
        assert_eq!(
            pattern(&[&"eu", &7, &Any, &"eu"]).unwrap().as_str(),
            "eu.user-7.*.eu"
        );
        assert_eq!(
            pattern(&[&Any, &"a", &true, &Any]).unwrap().as_str(),
            "*.user-a.true.*"
        );
        for bad in ["*", ">", "a.b", "", "a b"] {
            let error = pattern(&[&Any, &bad, &Any, &Any]).unwrap_err();
            assert_eq!(error.field(), Some("id"), "{bad:?}");
        }
        let long = "x".repeat(key::MAX_KEY_LEN / 2);
        assert!(pattern(&[&long, &long, &Any, &long]).is_err());
    }
}
