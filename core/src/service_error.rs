use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::log::warn_limited;
use crate::status::{Code, Status};

/// An error that a service method can return: it becomes a [`Status`] on the wire, and the client makes it from one.
///
/// Derive it with [`#[derive(natsmicro::ServiceError)]`](derive@crate::ServiceError) for an error enum. `from_status` must
/// accept every status, since the client also reports its own failures through it (no service, deadline, a malformed reply).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be reported to a NATS client",
    label = "not a service error",
    note = "add `#[derive(natsmicro::ServiceError)]` to `{Self}`, or return `natsmicro::Status`"
)]
pub trait ServiceError: Sized {
    /// What the caller is told.
    fn into_status(self) -> Status;

    /// The error that a caller sees for this status.
    fn from_status(status: Status) -> Self;

    /// Both as plain functions; not public API.
    #[doc(hidden)]
    const CODEC: ErrorCodec<Self> = ErrorCodec {
        into_status: Self::into_status,
        from_status: Self::from_status,
    };
}

impl ServiceError for Status {
    fn into_status(self) -> Status {
        self
    }

    fn from_status(status: Status) -> Self {
        status
    }
}

/// An error type as plain functions, for the same reason as [`MessageCodec`](crate::codec::MessageCodec).
pub struct ErrorCodec<E> {
    pub(crate) into_status: fn(E) -> Status,
    pub(crate) from_status: fn(Status) -> E,
}

impl<E> Clone for ErrorCodec<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for ErrorCodec<E> {}

impl<E> fmt::Debug for ErrorCodec<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorCodec<{}>", std::any::type_name::<E>())
    }
}

/// The return type of a service method, seen through aliases.
#[diagnostic::on_unimplemented(
    message = "a service method must return `Result<T, E>`, not `{Self}`",
    label = "expected `Result<T, E>` where `T` is a message"
)]
pub trait Outcome {
    /// The response.
    type Ok;
    /// The error.
    type Error;

    /// As the `Result` that it is.
    fn into_result(self) -> Result<Self::Ok, Self::Error>;

    /// The `Result` under its own name.
    fn from_result(result: Result<Self::Ok, Self::Error>) -> Self;

    /// What a client answers for a method that is not on NATS.
    fn unimplemented(service: &str, method: &str) -> Self
    where
        Self::Error: ServiceError;
}

impl<T, E> Outcome for Result<T, E> {
    type Ok = T;
    type Error = E;

    fn into_result(self) -> Self {
        self
    }

    fn from_result(result: Self) -> Self {
        result
    }

    fn unimplemented(service: &str, method: &str) -> Self
    where
        E: ServiceError,
    {
        Err(E::from_status(Status::unimplemented(format!(
            "`{method}` of `{service}` is not available over NATS"
        ))))
    }
}

/// The type of the variant that takes every other status.
#[diagnostic::on_unimplemented(
    message = "a variant with a `{Self}` cannot take every other status",
    label = "expected `natsmicro::Status`",
    note = "a variant without a code takes the statuses that no other does; give it a code to be one of them: `#[code(\"..\")]`"
)]
pub trait AnyStatus {
    /// The status it holds.
    fn into_status(self) -> Status;

    /// Holds this status.
    fn from_status(status: Status) -> Self;
}

impl AnyStatus for Status {
    fn into_status(self) -> Status {
        self
    }

    fn from_status(status: Status) -> Self {
        status
    }
}

/// The text of a service error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no text to tell the caller",
    label = "does not implement `Display`",
    note = "derive `thiserror::Error` and give each variant an `#[error(\"..\")]`, or implement `std::fmt::Display`"
)]
pub trait ErrorText {
    /// What the caller is told.
    fn text(&self) -> String;
}

#[diagnostic::do_not_recommend]
impl<E: fmt::Display> ErrorText for E {
    fn text(&self) -> String {
        self.to_string()
    }
}

/// A field of an error variant. It is written as text and read from text, as the JSON codec does with a message: what travels in a
/// message travels in an error, also a number of 128 bits, which a `serde_json::Value` cannot hold.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel in the body of an error reply",
    label = "serde cannot write and read this field",
    note = "derive `serde::Serialize` and `serde::Deserialize` for `{Self}`"
)]
pub trait ErrorField: Sized {
    /// The field as JSON.
    fn write(&self) -> serde_json::Result<String>;

    /// The field of this name, if it fits. A missing field reads as `null`, so that an `Option` that an older peer does not send is
    /// `None`.
    fn read(fields: &ErrorFields<'_>, name: &str) -> Option<Self>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> ErrorField for T {
    fn write(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    fn read(fields: &ErrorFields<'_>, name: &str) -> Option<Self> {
        let member = Member {
            name,
            value: PhantomData,
        };
        let value = fields.read(member).ok()?;
        value.or_else(|| serde_json::from_str("null").ok())
    }
}

/// Reads one member of a JSON object.
struct Member<'a, T> {
    name: &'a str,
    value: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Member<'_, T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Member<'_, T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a member per field")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut value = None;
        while let Some(name) = members.next_key::<String>()? {
            if name == self.name {
                value = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(value)
    }
}

/// The fields of an error variant on their way into the details of a [`Status`]: a JSON object with one member per field.
#[derive(Debug, Default)]
pub struct ErrorBody {
    members: Vec<String>,
    failed: bool,
}

impl ErrorBody {
    /// No fields yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field. One that serde cannot write drops the whole body, so that the client sees the plain status and never
    /// half a variant.
    #[must_use]
    pub fn field(mut self, name: &str, value: serde_json::Result<String>) -> Self {
        match value {
            Ok(value) => {
                let name = serde_json::Value::from(name);
                self.members.push(format!("{name}:{value}"));
            }
            Err(error) => {
                warn_limited!(field = name, %error, "a field of a service error cannot be written as JSON");
                self.failed = true;
            }
        }
        self
    }

    /// The status that carries these fields.
    #[must_use]
    pub fn into_status(self, code: &str, message: String) -> Status {
        let status = Status::new(Code::from(code), message);
        if self.failed || self.members.is_empty() {
            return status;
        }
        status.with_details(format!("{{{}}}", self.members.join(",")))
    }
}

/// The fields of an error variant on their way out of a [`Status`].
#[derive(Debug)]
pub struct ErrorFields<'a> {
    details: &'a [u8],
}

impl<'a> ErrorFields<'a> {
    /// The fields in the details of `status`, if these are a JSON object.
    #[must_use]
    pub fn parse(status: &'a Status) -> Option<Self> {
        let fields = Self {
            details: status.details(),
        };
        let nothing: Member<'_, IgnoredAny> = Member {
            name: "",
            value: PhantomData,
        };
        fields.read(nothing).ok()?;
        Some(fields)
    }

    fn read<T: DeserializeOwned>(&self, member: Member<'_, T>) -> serde_json::Result<Option<T>> {
        let mut details = serde_json::Deserializer::from_slice(self.details);
        let value = member.deserialize(&mut details)?;
        details.end()?;
        Ok(value)
    }
}
