//! Key templates, and the values that fill them.

use std::fmt;

use super::key::{InvalidKey, InvalidKeyKind, Key, MAX_KEY_LEN, is_reserved, is_token_char};

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

/// A key with placeholders, `user.<id>`, as the macro has checked it.
#[derive(Clone, Copy, Debug)]
pub struct KeyTemplate(&'static str);

/// One piece of a key template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyPart {
    /// Text that stands as it is.
    Literal(&'static str),
    /// A field of the request.
    Request(&'static str),
    /// A field of the response.
    Response(&'static str),
}

impl KeyTemplate {
    /// Fills in all placeholders, in the order in which they stand.
    pub(crate) fn fill(self, values: &[&dyn KeyToken]) -> Result<Key, InvalidKey> {
        let mut values = values.iter();
        let mut key = PartialKey::default();
        for part in self.parts() {
            match part {
                KeyPart::Literal(text) => key.text.push_str(text),
                KeyPart::Request(field) | KeyPart::Response(field) => {
                    key.push(field, values.next())?;
                }
            }
        }
        key.finish()
    }

    /// Fills in the placeholders of the request, in the order in which they stand.
    pub fn bind(self, values: &[&dyn KeyToken]) -> Result<PartialKey, InvalidKey> {
        let mut values = values.iter();
        let mut key = PartialKey::default();
        for part in self.parts() {
            match part {
                KeyPart::Literal(text) => key.text.push_str(text),
                KeyPart::Request(field) => key.push(field, values.next())?,
                KeyPart::Response(field) => key.holes.push((key.text.len(), field)),
            }
        }
        let start = key.holes.first().map_or(key.text.len(), |(at, _)| *at);
        check(&key.text, start)?;
        Ok(key)
    }

    fn parts(self) -> impl Iterator<Item = KeyPart> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (part, after) = if let Some(placeholder) = rest.strip_prefix(['<', '{']) {
                let (field, after) = placeholder.split_once(['>', '}'])?;
                let part = match field.strip_prefix("response.") {
                    Some(field) => KeyPart::Response(unraw(field)),
                    None => KeyPart::Request(unraw(field)),
                };
                (part, after)
            } else {
                let end = rest.find(['<', '{']).unwrap_or(rest.len());
                let (text, after) = rest.split_at(end);
                (KeyPart::Literal(text), after)
            };
            let is_part = !rest.is_empty();
            rest = after;
            is_part.then_some(part)
        })
    }
}

fn unraw(field: &str) -> &str {
    field.strip_prefix("r#").unwrap_or(field)
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
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
        check(&self.text, self.text.len())?;
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
        match self.text.get(start..) {
            None | Some("") => Err(InvalidKey::of(field, InvalidKeyKind::Empty)),
            Some(token) if start == 0 && is_reserved(token) => {
                Err(InvalidKey::of(field, InvalidKeyKind::Reserved))
            }
            Some(_) => Ok(()),
        }
    }
}

/// What cannot be said of one token alone; the key is known up to `start`.
fn check(key: &str, start: usize) -> Result<(), InvalidKey> {
    let kind = if key.len() > MAX_KEY_LEN {
        InvalidKeyKind::TooLong
    } else if key.get(..start).is_some_and(is_reserved) {
        InvalidKeyKind::Reserved
    } else {
        return Ok(());
    };
    Err(InvalidKey::new(kind))
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
    template: KeyTemplate,
    bind: Bind<Req>,
    complete: Complete<Resp>,
}

type Bind<Req> = fn(&Req, KeyTemplate) -> Result<PartialKey, InvalidKey>;
type Complete<Resp> = fn(&Resp, PartialKey) -> Result<Key, InvalidKey>;

impl<Req, Resp> StoreKey<Req, Resp> {
    /// A key from the request alone.
    pub const fn new(template: &'static str, bind: Bind<Req>) -> Self {
        Self::with_response(template, bind, |_, key| key.finish())
    }

    /// A key that also needs fields of the response.
    pub const fn with_response(
        template: &'static str,
        bind: Bind<Req>,
        complete: Complete<Resp>,
    ) -> Self {
        Self {
            template: KeyTemplate(template),
            bind,
            complete,
        }
    }

    pub(crate) fn template(&self) -> KeyTemplate {
        self.template
    }

    /// The key as far as the request gives it.
    pub(crate) fn bind(&self, request: &Req) -> Result<PartialKey, InvalidKey> {
        (self.bind)(request, self.template)
    }

    /// The rest of the key, from the response.
    pub(crate) fn complete(&self, response: &Resp, key: PartialKey) -> Result<Key, InvalidKey> {
        (self.complete)(response, key)
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
        f.debug_tuple("StoreKey").field(&self.template.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: KeyTemplate = KeyTemplate("<region>.user.{response.id}.<region>");

    #[test]
    fn parts_of_templates() {
        for (text, parts) in [
            ("", &[][..]),
            ("today", &[KeyPart::Literal("today")]),
            ("<a>{b}", &[KeyPart::Request("a"), KeyPart::Request("b")]),
            (
                "a.<r#type>.{response.r#if}.b",
                &[
                    KeyPart::Literal("a."),
                    KeyPart::Request("type"),
                    KeyPart::Literal("."),
                    KeyPart::Response("if"),
                    KeyPart::Literal(".b"),
                ],
            ),
            ("<response>", &[KeyPart::Request("response")]),
        ] {
            assert_eq!(
                KeyTemplate(text).parts().collect::<Vec<_>>(),
                parts,
                "{text}"
            );
        }
    }

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
    fn refuses_what_nats_keeps_for_itself() {
        let reserved = |template, values: &[&dyn KeyToken]| {
            let error = KeyTemplate(template).bind(values).unwrap_err();
            assert_eq!(error.kind(), &InvalidKeyKind::Reserved, "{template}");
            error.field().map(ToOwned::to_owned)
        };
        assert_eq!(reserved("<id>.a", &[&"_kv"]), Some("id".to_owned()));
        assert_eq!(reserved("<id>", &[&"_kvx"]), Some("id".to_owned()));
        assert_eq!(reserved("_<id>", &[&"kv"]), None);
        assert_eq!(reserved("_<id>.<response.id>", &[&"kv"]), None);
        let partial = KeyTemplate("_<response.id>v").bind(&[]).unwrap();
        assert!(partial.complete(&[&"k"]).is_err());
        assert!(KeyTemplate("a.<id>").bind(&[&"_kv"]).is_ok());
    }

    #[test]
    fn a_long_key_of_short_tokens_is_refused_too() {
        let token = "x".repeat(MAX_KEY_LEN / 2);
        let error = PROFILE.fill(&[&token, &token, &token]).unwrap_err();
        assert_eq!(error.kind(), &InvalidKeyKind::TooLong);
    }
}
