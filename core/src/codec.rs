//! How messages become payloads: the codecs, and the bounds on messages that generated code asserts.
//!
//! A leaf: uses nothing of the crate.

use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

/// Encodes and decodes the messages of a service: one codec per service, named by `#[service(codec = ..)]`.
///
/// [`Protobuf`](crate::Protobuf) and [`Json`](crate::Json) are built in. A codec of your own is a type that implements this
/// trait for every message type that it supports, and is named by its path: `codec = crate::MessagePack`.
///
/// ```
/// use bytes::Bytes;
/// use natsmicro::{Codec, CodecError};
///
/// /// Carries anything that can be printed and parsed.
/// pub struct Text;
///
/// impl<T> Codec<T> for Text
/// where
///     T: std::fmt::Display + std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
/// {
///     fn encode(message: &T) -> Result<Bytes, CodecError> {
///         Ok(message.to_string().into())
///     }
///
///     fn decode(payload: Bytes) -> Result<T, CodecError> {
///         let text = std::str::from_utf8(&payload).map_err(CodecError::new)?;
///         text.parse().map_err(CodecError::new)
///     }
/// }
/// # assert_eq!(<Text as Codec<u32>>::decode("7".into()).unwrap(), 7);
/// ```
///
/// A method without a request, or with `()` as its response, needs the codec to carry `()`.
#[diagnostic::on_unimplemented(
    message = "the codec `{Self}` cannot carry `{T}`",
    label = "not a codec for `{T}`",
    note = "implement `natsmicro::Codec<{T}>` for `{Self}`"
)]
pub trait Codec<T> {
    /// Encodes a message as a payload. Fails if the message cannot be represented.
    fn encode(message: &T) -> Result<Bytes, CodecError>;

    /// Decodes a message from a payload. Fails if the payload is not a message of this type. Where a value of a store is decoded, a panic
    /// counts as a failure.
    fn decode(payload: Bytes) -> Result<T, CodecError>;
}

/// Why a message could not be encoded or decoded.
///
/// The text of a failed decode is sent to the caller of a service, so it must not hold secrets.
#[derive(Debug)]
pub struct CodecError(Box<dyn StdError + Send + Sync>);

impl CodecError {
    /// Wraps the error of the library that does the encoding.
    pub fn new(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for CodecError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// Messages that derive [`prost::Message`]: `codec = "protobuf"`, the default.
#[cfg(feature = "protobuf")]
#[derive(Clone, Copy, Debug)]
pub enum Protobuf {}

#[cfg(feature = "protobuf")]
#[diagnostic::do_not_recommend]
impl<T: prost::Message + Default> Codec<T> for Protobuf {
    fn encode(message: &T) -> Result<Bytes, CodecError> {
        Ok(message.encode_to_vec().into())
    }

    fn decode(payload: Bytes) -> Result<T, CodecError> {
        T::decode(payload).map_err(CodecError::new)
    }
}

/// Messages that implement serde's traits, as JSON: `codec = "json"`.
///
/// The names are those that serde writes. To talk to peers whose messages are generated from `.proto` files, derive what
/// protojson does: `#[serde(rename_all = "camelCase", default)]`, `skip_serializing_if` for zero values, 64-bit integers as
/// strings, enums by name and bytes as base64.
///
/// `()` travels as `{}`, the empty message.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug)]
pub enum Json {}

#[cfg(feature = "json")]
#[diagnostic::do_not_recommend]
impl<T> Codec<T> for Json
where
    T: serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    fn encode(message: &T) -> Result<Bytes, CodecError> {
        if is_unit::<T>() {
            return Ok(Bytes::from_static(b"{}"));
        }
        serde_json::to_vec(message)
            .map(Bytes::from)
            .map_err(CodecError::new)
    }

    fn decode(payload: Bytes) -> Result<T, CodecError> {
        let json = if is_unit::<T>() {
            b"null"
        } else {
            &payload[..]
        };
        serde_json::from_slice(json).map_err(CodecError::new)
    }
}

#[cfg(feature = "json")]
fn is_unit<T: 'static>() -> bool {
    std::any::TypeId::of::<T>() == std::any::TypeId::of::<()>()
}

/// A codec bound to one message type, as plain functions: what a [`Method`](crate::descriptor::method::Method) carries, so that the
/// rest of the crate is generic over messages and not over codecs.
pub struct MessageCodec<T> {
    pub(crate) encode: fn(&T) -> Result<Bytes, CodecError>,
    pub(crate) decode: fn(Bytes) -> Result<T, CodecError>,
}

/// Passes payloads on unchanged.
pub(crate) const BYTES_CODEC: MessageCodec<Bytes> = MessageCodec {
    encode: |bytes| Ok(bytes.clone()),
    decode: Ok,
};

impl<T> MessageCodec<T> {
    /// Decodes what anybody may have written, for several readers or on a task of this crate: a panic of the codec is an error of this
    /// payload, and ends nothing else.
    pub(crate) fn decode_caught(&self, payload: Bytes) -> Result<T, CodecError> {
        catch_unwind(AssertUnwindSafe(|| (self.decode)(payload)))
            .unwrap_or_else(|_| Err(CodecError::new("the codec panicked")))
    }
}

impl<T> Clone for MessageCodec<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for MessageCodec<T> {}

impl<T> fmt::Debug for MessageCodec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageCodec<{}>", std::any::type_name::<T>())
    }
}

/// A message of a protobuf service. Generated code requires this rather than the [`Codec`], so that the error of rustc names the derive
/// that is missing.
#[cfg(feature = "protobuf")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a NATS message",
    label = "not a message type",
    note = "derive `prost::Message` for `{Self}`, or set `codec = \"json\"` on `#[natsmicro::service]` and derive `serde::Serialize` and `serde::Deserialize`"
)]
pub trait ProtobufMessage: Sized {
    /// The codec for this type.
    const CODEC: MessageCodec<Self>;
}

#[cfg(feature = "protobuf")]
#[diagnostic::do_not_recommend]
impl<T: prost::Message + Default> ProtobufMessage for T {
    const CODEC: MessageCodec<T> = message::<Protobuf, T>();
}

/// A message of a JSON service, as [`ProtobufMessage`].
#[cfg(feature = "json")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a NATS message",
    label = "not a message type",
    note = "derive `serde::Serialize` and `serde::Deserialize` for `{Self}`, which `codec = \"json\"` asks of messages"
)]
pub trait JsonMessage: Sized {
    /// The codec for this type.
    const CODEC: MessageCodec<Self>;
}

#[cfg(feature = "json")]
#[diagnostic::do_not_recommend]
impl<T> JsonMessage for T
where
    T: serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    const CODEC: MessageCodec<T> = message::<Json, T>();
}

/// Binds codec `C` to message type `T`.
#[must_use]
pub const fn message<C: Codec<T>, T>() -> MessageCodec<T> {
    MessageCodec {
        encode: C::encode,
        decode: C::decode,
    }
}
