//! Key templates, and the values that fill them.

use std::fmt;

use crate::descriptor::key::{
    InvalidKey, InvalidKeyKind, Key, MAX_KEY_LEN, is_reserved, is_token_char,
};

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
/// impl natsmicro::store::KeyToken for UserId {
///     fn write_token(&self, token: &mut dyn Write) -> fmt::Result {
///         write!(token, "u-{}", self.0)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a store key",
    label = "this key names a field of type `{Self}`",
    note = "key fields must be strings, integers, `bool` or a type that implements `natsmicro::store::KeyToken`"
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

/// One piece of a key template such as `user.<id>`, as the macro has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// Stands in every key.
    Text(&'static str),
    /// A field of the request.
    Request(&'static str),
    /// A field of the response.
    Response(&'static str),
}

/// A key with placeholders.
#[derive(Clone, Copy, Debug)]
pub struct KeyTemplate {
    parts: &'static [KeyPart],
    /// What most of the keys need.
    capacity: usize,
}

/// How much room a field gets at first: that of a UUID.
const FIELD: usize = 36;

/// Where a field of the response will stand; no key has it.
const HOLE: char = '<';

impl KeyTemplate {
    const fn new(parts: &'static [KeyPart]) -> Self {
        let mut capacity = 0;
        let mut rest = parts;
        while let [part, after @ ..] = rest {
            capacity += match part {
                KeyPart::Text(text) => text.len(),
                KeyPart::Request(_) => FIELD,
                KeyPart::Response(_) => HOLE.len_utf8(),
            };
            rest = after;
        }
        Self { parts, capacity }
    }

    /// Fills in all placeholders, in the order in which they stand.
    pub(crate) fn fill(self, values: &[&dyn KeyToken]) -> Result<Key, InvalidKey> {
        self.text(values.iter().map(|value| Some(*value))).map(Key)
    }

    /// The template with these values in its placeholders, in the order in which they stand; `*` stands for one that is none.
    pub(crate) fn text<'a>(
        self,
        mut values: impl Iterator<Item = Option<&'a dyn KeyToken>>,
    ) -> Result<String, InvalidKey> {
        let mut text = String::with_capacity(self.capacity);
        for part in self.parts {
            match part {
                KeyPart::Text(part) => text.push_str(part),
                KeyPart::Request(field) | KeyPart::Response(field) => match values.next() {
                    Some(None) => text.push('*'),
                    value => push(&mut text, field, value.flatten().as_ref())?,
                },
            }
        }
        check(&text, text.len())?;
        Ok(text)
    }

    /// Fills in the placeholders of the request, in the order in which they stand.
    pub fn bind(self, values: &[&dyn KeyToken]) -> Result<PartialKey, InvalidKey> {
        let mut values = values.iter();
        let mut text = String::with_capacity(self.capacity);
        let mut known = None;
        for part in self.parts {
            match part {
                KeyPart::Text(part) => text.push_str(part),
                KeyPart::Request(field) => push(&mut text, field, values.next())?,
                KeyPart::Response(_) => {
                    known.get_or_insert(text.len());
                    text.push(HOLE);
                }
            }
        }
        check(&text, known.unwrap_or(text.len()))?;
        Ok(PartialKey {
            template: self,
            text,
        })
    }

    fn response_fields(self) -> impl Iterator<Item = &'static str> {
        self.parts.iter().filter_map(|part| match part {
            KeyPart::Response(field) => Some(*field),
            KeyPart::Text(_) | KeyPart::Request(_) => None,
        })
    }
}

/// A key whose request fields are filled in, and whose response fields may still be open.
#[derive(Debug)]
pub struct PartialKey {
    template: KeyTemplate,
    text: String,
}

impl PartialKey {
    /// The key as far as the request gives it: all of it for a template without response fields.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Fills in the placeholders of the response, in the order in which they stand.
    pub fn complete(self, values: &[&dyn KeyToken]) -> Result<Key, InvalidKey> {
        let mut key = String::with_capacity(self.text.len() + FIELD * values.len());
        let mut values = values.iter();
        let mut known = self.text.split(HOLE);
        key.push_str(known.next().unwrap_or_default());
        for (field, known) in self.template.response_fields().zip(known) {
            push(&mut key, field, values.next())?;
            key.push_str(known);
        }
        check(&key, key.len())?;
        Ok(Key(key))
    }
}

/// Appends one token, and looks at what was written rather than at the type that wrote it.
fn push(
    key: &mut String,
    field: &'static str,
    value: Option<&&dyn KeyToken>,
) -> Result<(), InvalidKey> {
    let start = key.len();
    let mut token = Token { key, refused: None };
    let written = value.map_or(Err(fmt::Error), |value| value.write_token(&mut token));
    if let Some(kind) = token.refused {
        return Err(InvalidKey::of(field, kind));
    }
    if written.is_err() {
        return Err(InvalidKey::of(field, InvalidKeyKind::Format));
    }
    match key.get(start..) {
        None | Some("") => Err(InvalidKey::of(field, InvalidKeyKind::Empty)),
        Some(token) if start == 0 && is_reserved(token) => {
            Err(InvalidKey::of(field, InvalidKeyKind::Reserved))
        }
        Some(_) => Ok(()),
    }
}

/// What cannot be said of one token alone; the key is known up to `start`.
fn check(key: &str, start: usize) -> Result<(), InvalidKey> {
    let kind = if key.is_empty() {
        InvalidKeyKind::Empty
    } else if key.len() > MAX_KEY_LEN {
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
    /// Makes no key, as of a store that a method does not have: a key without parts is refused as empty.
    pub(crate) const NONE: Self = Self::new(&[], |_, key| key.bind(&[]));

    /// A key from the request alone.
    pub const fn new(template: &'static [KeyPart], bind: Bind<Req>) -> Self {
        Self::with_response(template, bind, |_, key| Ok(Key(key.text)))
    }

    /// A key that also needs fields of the response.
    pub const fn with_response(
        template: &'static [KeyPart],
        bind: Bind<Req>,
        complete: Complete<Resp>,
    ) -> Self {
        Self {
            template: KeyTemplate::new(template),
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
        f.debug_tuple("StoreKey")
            .field(&self.template.parts)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::template::KeyPart::{Request, Response, Text};

    const PROFILE: KeyTemplate = KeyTemplate::new(&[
        Request("region"),
        Text(".user."),
        Response("id"),
        Text("."),
        Request("region"),
    ]);

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
        let reserved = |parts, values: &[&dyn KeyToken]| {
            let error = KeyTemplate::new(parts).bind(values).unwrap_err();
            assert_eq!(error.kind(), &InvalidKeyKind::Reserved, "{parts:?}");
            error.field().map(ToOwned::to_owned)
        };
        let id = Some("id".to_owned());
        assert_eq!(reserved(&[Request("id"), Text(".a")], &[&"_kv"]), id);
        assert_eq!(reserved(&[Request("id")], &[&"_kvx"]), id);
        assert_eq!(reserved(&[Text("_"), Request("id")], &[&"kv"]), None);
        let open = &[Text("_"), Request("id"), Text("."), Response("id")];
        assert_eq!(reserved(open, &[&"kv"]), None);
        let template = KeyTemplate::new(&[Text("_"), Response("id"), Text("v")]);
        let partial = template.bind(&[]).unwrap();
        assert!(partial.complete(&[&"k"]).is_err());
        let second = KeyTemplate::new(&[Text("a."), Request("id")]);
        assert!(second.bind(&[&"_kv"]).is_ok());
    }

    #[test]
    fn a_key_of_usual_fields_is_made_in_the_room_that_was_taken_for_it() {
        let template =
            KeyTemplate::new(&[Text("order."), Request("region"), Text("."), Request("id")]);
        let uuid = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
        let key = template.bind(&[&uuid, &u64::MAX]).unwrap().text;
        assert_eq!(key, format!("order.{uuid}.{}", u64::MAX));
        assert_eq!(key.capacity(), template.capacity);
    }

    #[test]
    fn a_long_key_of_short_tokens_is_refused_too() {
        let token = "x".repeat(MAX_KEY_LEN / 2);
        let error = PROFILE.fill(&[&token, &token, &token]).unwrap_err();
        assert_eq!(error.kind(), &InvalidKeyKind::TooLong);
    }
}
