//! Key templates, and the values that fill them.

use std::fmt;

use super::key::{InvalidKey, InvalidKeyKind, Key, MAX_KEY_LEN, is_token_char};

/// A value that can be one token of a store key: strings as they are, integers in decimal, `bool` as `true` or `false`.
///
/// Implement it for an identifier type of your own. What it writes is checked: letters, digits and any of `-`, `/`, `_`, `=`,
/// and at least one of them. Everything else is refused when the key is made, `.` too, since it would add a level.
///
/// ```
/// use std::fmt::{self, Write};
///
/// struct UserId(u64);
///
/// impl natsmicro::KeyToken for UserId {
///     fn write_token(&self, token: &mut dyn Write) -> fmt::Result {
///         write!(token, "u-{}", self.0)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a store key",
    label = "this key names a field of type `{Self}`",
    note = "key fields must be strings, integers, `bool` or a type that implements `natsmicro::KeyToken`"
)]
pub trait KeyToken {
    /// Writes the value as it stands in the key.
    fn write_token(&self, token: &mut dyn fmt::Write) -> fmt::Result;
}

#[diagnostic::do_not_recommend]
impl<T: KeyToken + ?Sized> KeyToken for &T {
    fn write_token(&self, token: &mut dyn fmt::Write) -> fmt::Result {
        (**self).write_token(token)
    }
}

macro_rules! displayed_tokens {
    ($($type:ty)*) => {$(
        #[diagnostic::do_not_recommend]
        impl KeyToken for $type {
            fn write_token(&self, token: &mut dyn fmt::Write) -> fmt::Result {
                write!(token, "{self}")
            }
        }
    )*};
}

displayed_tokens!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize bool);

macro_rules! string_tokens {
    ($($type:ty)*) => {$(
        #[diagnostic::do_not_recommend]
        impl KeyToken for $type {
            fn write_token(&self, token: &mut dyn fmt::Write) -> fmt::Result {
                token.write_str(self)
            }
        }
    )*};
}

string_tokens!(str String std::borrow::Cow<'_, str> Box<str> std::sync::Arc<str> std::rc::Rc<str>);

/// One piece of a key template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// Text that stands as it is.
    Literal(&'static str),
    /// A field of the request.
    Request(&'static str),
    /// A field of the response.
    Response(&'static str),
}

/// A key with placeholders, as parsed by the macro.
#[derive(Clone, Copy, Debug)]
pub struct KeyTemplate {
    text: &'static str,
    parts: &'static [KeyPart],
}

impl KeyTemplate {
    /// The template with this text, which consists of these parts.
    #[must_use]
    pub const fn new(text: &'static str, parts: &'static [KeyPart]) -> Self {
        Self { text, parts }
    }

    /// Fills in all placeholders, in the order in which they stand.
    pub fn fill(&self, values: &[&dyn KeyToken]) -> Result<Key, InvalidKey> {
        let mut values = values.iter();
        let mut key = PartialKey::default();
        for part in self.parts {
            match *part {
                KeyPart::Literal(text) => key.text.push_str(text),
                KeyPart::Request(field) | KeyPart::Response(field) => {
                    key.push(field, values.next())?;
                }
            }
        }
        key.finish()
    }

    /// Fills in the placeholders of the request, in the order in which they stand.
    pub fn bind(&self, values: &[&dyn KeyToken]) -> Result<PartialKey, InvalidKey> {
        let mut values = values.iter();
        let mut key = PartialKey::default();
        for part in self.parts {
            match *part {
                KeyPart::Literal(text) => key.text.push_str(text),
                KeyPart::Request(field) => key.push(field, values.next())?,
                KeyPart::Response(field) => key.holes.push((key.text.len(), field)),
            }
        }
        if key.text.len() > MAX_KEY_LEN {
            return Err(InvalidKey::new(InvalidKeyKind::TooLong));
        }
        Ok(key)
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// A key whose request fields are filled in, and whose response fields may still be open.
#[derive(Debug, Default)]
pub struct PartialKey {
    text: String,
    holes: Vec<(usize, &'static str)>,
}

impl PartialKey {
    /// The key as far as the request gives it: all of it for a template without response fields.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Fills in the placeholders of the response, in the order in which they stand.
    pub fn complete(self, values: &[&dyn KeyToken]) -> Result<Key, InvalidKey> {
        let mut values = values.iter();
        let mut key = Self::default();
        let mut copied = 0;
        for (at, field) in self.holes {
            key.text
                .push_str(self.text.get(copied..at).unwrap_or_default());
            key.push(field, values.next())?;
            copied = at;
        }
        key.text
            .push_str(self.text.get(copied..).unwrap_or_default());
        key.finish()
    }

    fn finish(self) -> Result<Key, InvalidKey> {
        if self.text.len() > MAX_KEY_LEN {
            return Err(InvalidKey::new(InvalidKeyKind::TooLong));
        }
        Ok(Key(self.text))
    }

    /// Appends one token, and looks at what was written rather than at the type that wrote it.
    fn push(
        &mut self,
        field: &'static str,
        value: Option<&&dyn KeyToken>,
    ) -> Result<(), InvalidKey> {
        let mut token = Token {
            key: &mut self.text,
            refused: None,
        };
        let start = token.key.len();
        let written = value.map_or(Err(fmt::Error), |value| value.write_token(&mut token));
        if let Some(kind) = token.refused {
            return Err(InvalidKey::of(field, kind));
        }
        if written.is_err() {
            return Err(InvalidKey::of(field, InvalidKeyKind::Format));
        }
        if self.text.len() == start {
            return Err(InvalidKey::of(field, InvalidKeyKind::Empty));
        }
        Ok(())
    }
}

/// Lets through what may stand in one token, and stops a value that writes without end.
struct Token<'a> {
    key: &'a mut String,
    refused: Option<InvalidKeyKind>,
}

impl fmt::Write for Token<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let refused = if let Some(c) = text.chars().find(|&c| !is_token_char(c)) {
            InvalidKeyKind::Character(c)
        } else if self.key.len() + text.len() > MAX_KEY_LEN {
            InvalidKeyKind::TooLong
        } else {
            self.key.push_str(text);
            return Ok(());
        };
        self.refused.get_or_insert(refused);
        Err(fmt::Error)
    }
}

/// How a method's key is made from its messages.
pub struct StoreKey<Req, Resp> {
    pub(crate) bind: fn(&Req) -> Result<PartialKey, InvalidKey>,
    pub(crate) complete: fn(&Resp, PartialKey) -> Result<Key, InvalidKey>,
}

impl<Req, Resp> StoreKey<Req, Resp> {
    /// A key from the request alone.
    pub const fn request(bind: fn(&Req) -> Result<PartialKey, InvalidKey>) -> Self {
        Self {
            bind,
            complete: |_, key| key.finish(),
        }
    }

    /// A key that also needs fields of the response.
    #[must_use]
    pub const fn response(
        mut self,
        complete: fn(&Resp, PartialKey) -> Result<Key, InvalidKey>,
    ) -> Self {
        self.complete = complete;
        self
    }
}

impl<Req, Resp> Clone for StoreKey<Req, Resp> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Req, Resp> Copy for StoreKey<Req, Resp> {}

impl<Req, Resp> fmt::Debug for StoreKey<Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: KeyTemplate = KeyTemplate::new(
        "<region>.user.<response.id>.<region>",
        &[
            KeyPart::Request("region"),
            KeyPart::Literal(".user."),
            KeyPart::Response("id"),
            KeyPart::Literal("."),
            KeyPart::Request("region"),
        ],
    );

    #[test]
    fn binds_the_request_before_the_response() {
        let partial = PROFILE.bind(&[&"eu", &7_u8]).unwrap();
        assert_eq!(
            partial.complete(&[&"ada"]).unwrap().as_str(),
            "eu.user.ada.7"
        );
        assert_eq!(
            PROFILE.fill(&[&"eu", &"ada", &true]).unwrap().as_str(),
            "eu.user.ada.true"
        );
    }

    #[test]
    fn refuses_values_that_are_not_one_token() {
        for (value, kind) in [
            ("a.b", InvalidKeyKind::Character('.')),
            ("*", InvalidKeyKind::Character('*')),
            (">", InvalidKeyKind::Character('>')),
            ("a b", InvalidKeyKind::Character(' ')),
            ("", InvalidKeyKind::Empty),
            ("é", InvalidKeyKind::Character('é')),
            ("a\r\nb", InvalidKeyKind::Character('\r')),
            ("$x", InvalidKeyKind::Character('$')),
        ] {
            let error = PROFILE.bind(&[&value, &"eu"]).unwrap_err();
            assert_eq!(
                (error.kind(), error.field()),
                (&kind, Some("region")),
                "{value:?}"
            );
        }
        let long = "x".repeat(5_000);
        let error = PROFILE.bind(&[&long, &"eu"]).unwrap_err();
        assert_eq!(
            (error.kind(), error.field()),
            (&InvalidKeyKind::TooLong, Some("region"))
        );
    }

    #[test]
    fn a_long_key_of_short_tokens_is_refused_too() {
        let token = "x".repeat(MAX_KEY_LEN / 2);
        let error = PROFILE.fill(&[&token, &token, &token]).unwrap_err();
        assert_eq!(error.kind(), &InvalidKeyKind::TooLong);
    }
}
