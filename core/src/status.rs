//! The status of a failed call, and its code.
//!
//! A leaf: uses nothing of the crate.

use std::fmt;

use bytes::Bytes;

/// The result of a service method that reports its failures as a [`Status`].
///
/// ```
/// fn half(n: u64) -> natsmicro::Result<u64> {
///     if n % 2 == 1 {
///         return Err(natsmicro::Status::invalid_argument("`n` must be even"));
///     }
///     Ok(n / 2)
/// }
/// ```
pub type Result<T, E = Status> = std::result::Result<T, E>;

/// The error that a failed call reports to its caller: a [`Code`], a message and optional details.
///
/// On the wire the code and the message travel in the headers `Nats-Service-Error-Code` and `Nats-Service-Error`, and the
/// details are the body of the reply. The caller sees all of it, and nothing else of the failure.
///
/// ```
/// use natsmicro::{Code, Status};
///
/// let status = Status::not_found("no profile `ada`");
/// assert_eq!(status.code(), &Code::NotFound);
/// assert_eq!(status.to_string(), "NOT_FOUND: no profile `ada`");
///
/// let locked = Status::new("USER_LOCKED", "try again tomorrow").with_details("2026-01-01");
/// assert_eq!(locked.code(), &Code::Custom("USER_LOCKED".into()));
/// assert_eq!(&locked.details()[..], b"2026-01-01");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    code: Code,
    message: String,
    details: Bytes,
}

impl Status {
    /// A status with this code and message. The code may be a [`Code`] or its text, so that services can have codes of
    /// their own.
    pub fn new(code: impl Into<Code>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            details: Bytes::new(),
        }
    }

    /// Attaches the body of the error reply: bytes whose meaning service and caller have agreed on.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<Bytes>) -> Self {
        self.details = details.into();
        self
    }

    /// The kind of failure.
    #[must_use]
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// The message, written for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The body of the error reply; empty if there was none.
    #[must_use]
    pub fn details(&self) -> &Bytes {
        &self.details
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Status {}

/// The kind of a failure: a status code of gRPC, or one of the service's own.
///
/// ```
/// use natsmicro::Code;
///
/// assert_eq!(Code::from("NOT_FOUND"), Code::NotFound);
/// assert_eq!(Code::from("ORDER_EXPIRED").as_str(), "ORDER_EXPIRED");
/// // Plain NATS micro-services send numbers; they are kept as they came.
/// assert_eq!(Code::from("404"), Code::Custom("404".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The caller gave up on the call.
    Cancelled,
    /// A failure without a better code.
    Unknown,
    /// The request itself is wrong; sending it again will not help.
    InvalidArgument,
    /// The call took longer than it was allowed to. It may have had effects.
    DeadlineExceeded,
    /// The requested entity does not exist.
    NotFound,
    /// The entity to create exists already.
    AlreadyExists,
    /// The caller is authenticated, and lacks the permission.
    PermissionDenied,
    /// A resource is exhausted: the service is overloaded, a quota is used up, or a message is too large.
    ResourceExhausted,
    /// The system is not in the state that the call needs.
    FailedPrecondition,
    /// Another caller changed the same entity at the same time; read it again and retry.
    Aborted,
    /// A value is outside the valid range.
    OutOfRange,
    /// The service does not implement this operation.
    Unimplemented,
    /// A bug or an outage behind the service.
    Internal,
    /// The service is not reachable at the moment; retry later.
    Unavailable,
    /// Data is lost or corrupt.
    DataLoss,
    /// The caller is not authenticated.
    Unauthenticated,
    /// A code of the service's own.
    Custom(String),
}

macro_rules! codes {
    ($($variant:ident $text:literal $constructor:ident;)*) => {
        impl Code {
            /// The text of the code in the header of a reply.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Custom(code) => code,
                }
            }

            fn known(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl Status {
            $(
                #[doc = concat!("A status with the code `", $text, "`: see [`Code::", stringify!($variant), "`].")]
                pub fn $constructor(message: impl Into<String>) -> Self {
                    Self::new(Code::$variant, message)
                }
            )*
        }
    };
}

codes! {
    Cancelled "CANCELLED" cancelled;
    Unknown "UNKNOWN" unknown;
    InvalidArgument "INVALID_ARGUMENT" invalid_argument;
    DeadlineExceeded "DEADLINE_EXCEEDED" deadline_exceeded;
    NotFound "NOT_FOUND" not_found;
    AlreadyExists "ALREADY_EXISTS" already_exists;
    PermissionDenied "PERMISSION_DENIED" permission_denied;
    ResourceExhausted "RESOURCE_EXHAUSTED" resource_exhausted;
    FailedPrecondition "FAILED_PRECONDITION" failed_precondition;
    Aborted "ABORTED" aborted;
    OutOfRange "OUT_OF_RANGE" out_of_range;
    Unimplemented "UNIMPLEMENTED" unimplemented;
    Internal "INTERNAL" internal;
    Unavailable "UNAVAILABLE" unavailable;
    DataLoss "DATA_LOSS" data_loss;
    Unauthenticated "UNAUTHENTICATED" unauthenticated;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&str> for Code {
    fn from(text: &str) -> Self {
        Self::known(text).unwrap_or_else(|| Self::Custom(text.to_owned()))
    }
}

impl From<String> for Code {
    fn from(text: String) -> Self {
        Self::known(&text).unwrap_or(Self::Custom(text))
    }
}
