//! The errors of stores, and the classification of failed writes: in conflict, refused, too large, without room, or uncertain.

use std::error::Error as StdError;
use std::fmt;

use async_nats::client::RequestError;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    GetStreamError, GetStreamErrorKind, PublishError, PublishErrorKind,
};
use async_nats::jetstream::stream::{
    ConsumerError, ConsumerErrorKind, LastRawMessageError, LastRawMessageErrorKind, PurgeError,
    PurgeErrorKind,
};
use bytes::Bytes;

use crate::codec::CodecError;
use crate::descriptor::bucket::StoreKind;
use crate::descriptor::key::InvalidKey;
use crate::error::{Error, chain};
use crate::transport::events::Violation;
use crate::transport::gate::Gate;
use crate::transport::mux;

/// Why reading or writing a store failed.
pub type StoreError = Error<StoreErrorKind>;

/// The kinds of [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The client was made without [`with_jetstream`](crate::client::Client::with_jetstream).
    JetStreamNotConfigured,
    /// The bucket does not exist. A service creates the buckets that it writes to when it starts;
    /// [`create_bucket`](crate::store::kv::handle::KvStore::create_bucket) makes those that are `client_only`.
    BucketNotFound,
    /// `create_bucket` found a bucket with other settings, or one that cannot be written to; the text names each difference.
    BucketMismatch,
    /// There is a stream of the bucket's name, and it is no bucket: it has other subjects, acknowledges nothing, is a work queue, allows no
    /// rollups, or replaces no message; the text says what. It is not changed. Of a bucket that an operator makes such a stream while it is
    /// used, writers know within 5 seconds, and write nothing from then on.
    NotABucket,
    /// The key is invalid; the source is an [`InvalidKey`].
    InvalidKey,
    /// `create` found an entry.
    AlreadyExists,
    /// `update`, `delete_expect_revision` or `purge_expect_revision` found another revision than the one given.
    WrongRevision,
    /// The value is larger than the bucket or the server takes.
    TooLarge,
    /// The bucket is full: the value does not fit into its `max_bytes`, or into what the account or the disk of the server has. Nothing
    /// was stored.
    Full,
    /// Others keep writing to the same key or object, and were faster each time. Nothing was stored; a later attempt may succeed.
    Contended,
    /// The value could not be encoded.
    Encode,
    /// The stored value is not a message of the expected type.
    Decode,
    /// The cache does not hold this key, and does not know whether it has a value; see [`KvCache`](crate::store::KvCache).
    NotCached,
    /// The reader of the value to store has failed; the source is the [`std::io::Error`] of the reader.
    Reader,
    /// An object's data is missing or does not match its digest.
    Incomplete,
    /// The server or the bucket cannot do this: a TTL on a bucket that takes none, or a write to a bucket that is sealed, for example.
    Unsupported,
    /// There was no reply in time. A write may have been stored.
    TimedOut,
    /// The permissions of the connection do not cover a request; the text names its subject. Known with
    /// [`Client::with_connection_events`](crate::Client::with_connection_events) only; otherwise such a request ends with
    /// [`TimedOut`](Self::TimedOut) or [`Nats`](Self::Nats), and the text says what may be missing. What is needed is listed in
    /// [`guide::permissions`](crate::guide::permissions).
    PermissionDenied,
    /// The connection is over for good: it was drained or closed, or async-nats's task for it has panicked. Only a new connection helps.
    ConnectionLost,
    /// Any other failure of NATS.
    Nats,
}

impl StoreError {
    pub(crate) fn not_configured() -> Self {
        Self::new(
            StoreErrorKind::JetStreamNotConfigured,
            "this client has no JetStream: call `natsmicro::Client::with_jetstream`",
        )
    }

    pub(crate) fn timed_out() -> Self {
        Self::new(StoreErrorKind::TimedOut, "the store did not answer in time")
    }

    /// The same, with what may be missing if this is a timeout.
    pub(crate) fn explained(self, missing_permissions: Option<String>) -> Self {
        let is_timeout = *self.kind() == StoreErrorKind::TimedOut || is_timed_out(&self);
        match missing_permissions {
            Some(hint) if is_timeout && !self.to_string().contains(&hint) => self.with_hint(&hint),
            _ => self,
        }
    }

    pub(crate) fn connection_lost() -> Self {
        let text = "the connection to NATS is lost for good: connect again";
        Self::new(StoreErrorKind::ConnectionLost, text)
    }

    pub(crate) fn encode(error: CodecError) -> Self {
        Self::new(StoreErrorKind::Encode, "the value could not be encoded").with_source(error)
    }

    pub(crate) fn decode(key: &str, revision: u64, value: Bytes, error: CodecError) -> Self {
        Self::new(
            StoreErrorKind::Decode,
            format!("`{key}` holds something else than such a message"),
        )
        .with_source(UndecodableValue {
            key: key.to_owned(),
            revision,
            value,
            source: error,
        })
    }

    /// An entry whose headers cannot be read.
    pub(crate) fn malformed(key: &str, revision: u64, value: Bytes) -> Self {
        Self::decode(
            key,
            revision,
            value,
            CodecError::new("its headers are malformed"),
        )
    }

    /// The value that cannot be decoded, if the kind is [`Decode`](StoreErrorKind::Decode).
    #[must_use]
    pub fn undecodable(&self) -> Option<&UndecodableValue> {
        self.source()?.downcast_ref()
    }

    pub(crate) fn unsupported(text: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::new(StoreErrorKind::Unsupported, text)
    }

    /// A request without an answer: NATS has refused it, or it has failed.
    pub(crate) fn unanswered(action: &'static str, error: RequestError) -> Self {
        match mux::violation(&error) {
            Some(violation) => violation.clone().into(),
            None => Self::nats(action, error),
        }
    }

    pub(crate) fn nats(action: &'static str, error: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(StoreErrorKind::Nats, action).with_source(error)
    }
}

pub(crate) fn cannot_open(
    bucket: &str,
    error: impl StdError + Send + Sync + 'static,
) -> StoreError {
    if is_no_stream(&error) {
        return no_such_bucket(bucket);
    }
    StoreError::nats("cannot open the bucket", error)
}

pub(crate) fn no_such_bucket(bucket: &str) -> StoreError {
    let text = format!(
        "there is no bucket `{bucket}`; a service creates those it writes to when it starts, and `create_bucket` makes any"
    );
    StoreError::new(StoreErrorKind::BucketNotFound, text)
}

/// Whether the server reported that there is no such stream. async-nats puts this into the kind of some errors and the source of
/// others.
pub(crate) fn is_no_stream(error: &(dyn StdError + 'static)) -> bool {
    let refused = if let Some(error) = error.downcast_ref::<GetStreamError>()
        && let GetStreamErrorKind::JetStream(refused) = error.kind()
    {
        Some(refused)
    } else if let Some(error) = error.downcast_ref::<ConsumerError>()
        && let ConsumerErrorKind::JetStream(refused) = error.kind()
    {
        Some(refused)
    } else if let Some(error) = error.downcast_ref::<LastRawMessageError>()
        && let LastRawMessageErrorKind::JetStream(refused) = error.kind()
    {
        Some(refused)
    } else if let Some(error) = error.downcast_ref::<PurgeError>()
        && let PurgeErrorKind::JetStream(refused) = error.kind()
    {
        Some(refused)
    } else {
        error
            .downcast_ref::<async_nats::jetstream::Error>()
            .cloned()
    };
    refused.is_some_and(|refused| refused.error_code() == ErrorCode::STREAM_NOT_FOUND)
        || error.source().is_some_and(is_no_stream)
}

/// Whether a request of async-nats got no answer. Each of its types of errors has a kind of its own for that, and all have this text.
fn is_timed_out(error: &(dyn StdError + 'static)) -> bool {
    let source = error.source();
    source.is_some_and(|source| source.to_string().contains("timed out") || is_timed_out(source))
}

/// Which permissions may be missing if a bucket that is written to below `subjects` does not answer. `None` with connection events, by
/// which it is known.
pub(crate) fn missing_permissions(
    gate: &Gate,
    subjects: &str,
    kind: StoreKind,
    bucket: &str,
) -> Option<String> {
    if gate.has_events() {
        return None;
    }
    let stream = kind.stream_name(bucket);
    let inbox = gate.inbox_prefix();
    Some(format!(
        "the permissions of the connection may lack `{subjects}`, the requests to the JetStream API for stream `{stream}`, or the \
         subscription to `{inbox}.>`: `with_connection_events` tells which, and `natsmicro::guide::permissions` lists them"
    ))
}

/// A stored value that cannot be decoded as a message of the expected type, in bytes; see [`StoreError::undecodable`].
///
/// ```
/// # use natsmicro::store::StoreError;
/// fn report(error: &StoreError) {
///     if let Some(found) = error.undecodable() {
///         eprintln!("{} at revision {}: {:?}", found.key, found.revision, found.value);
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct UndecodableValue {
    /// The key, or the name of the object.
    pub key: String,
    /// The revision at which it was written.
    pub revision: u64,
    /// The stored bytes.
    pub value: Bytes,
    source: CodecError,
}

impl fmt::Display for UndecodableValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {} cannot be decoded", self.revision)
    }
}

impl StdError for UndecodableValue {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}

impl From<InvalidKey> for StoreError {
    fn from(error: InvalidKey) -> Self {
        Self::new(StoreErrorKind::InvalidKey, "the key is refused").with_source(error)
    }
}

/// How a write failed. The variants differ in what the writer may do next.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The entry is at another revision than expected.
    Conflict(BoxError),
    /// The same, each time that it was tried. Nothing is stored.
    Contended,
    /// A retry would fail too.
    Refused(BoxError),
    /// The value exceeds the limit of the bucket or the server.
    TooLarge(BoxError),
    /// The bucket, the account or the server has no room for the value.
    Full(BoxError),
    /// Nobody took the message, so that it is not stored: the stream has no leader now, or there is no stream.
    NotTaken(BoxError),
    /// The value may or may not have been stored.
    Uncertain(BoxError),
}

type BoxError = Box<dyn StdError + Send + Sync>;

impl WriteError {
    /// Classifies an error of async-nats by the innermost publish or server error in its chain; the outer errors differ by operation.
    pub(crate) fn new(error: impl StdError + Send + Sync + 'static) -> Self {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
        let mut classify: fn(BoxError) -> Self = Self::Uncertain;
        while let Some(current) = cause {
            if let Some(publish) = current.downcast_ref::<PublishError>() {
                match publish.kind() {
                    PublishErrorKind::WrongLastSequence => classify = Self::Conflict,
                    PublishErrorKind::MaxPayloadExceeded => classify = Self::TooLarge,
                    PublishErrorKind::StreamNotFound => classify = Self::NotTaken,
                    _ => {}
                }
            } else if let Some(refused) = current.downcast_ref::<async_nats::jetstream::Error>() {
                classify = match refused.error_code() {
                    // Clusters answer with the second code.
                    ErrorCode::STREAM_WRONG_LAST_SEQUENCE
                    | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => Self::Conflict,
                    ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Self::TooLarge,
                    ErrorCode::STREAM_STORE_FAILED
                    | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
                    | ErrorCode::INSUFFICIENT_RESOURCES
                    | ErrorCode::MEMORY_RESOURCES_EXCEEDED
                    | ErrorCode::STORAGE_RESOURCES_EXCEEDED => Self::Full,
                    ErrorCode::STREAM_NOT_FOUND => Self::NotTaken,
                    // The bucket allows no rollups any more, which has a code of transient failures.
                    ErrorCode::STREAM_ROLLUP_FAILED => Self::Refused,
                    // Transient refusals, such as an overloaded server.
                    _ if matches!(refused.code(), 408 | 409 | 429) => Self::Uncertain,
                    _ if (400..500).contains(&refused.code()) => Self::Refused,
                    _ => Self::Uncertain,
                };
            }
            cause = current.source();
        }
        classify(Box::new(error))
    }

    /// Whether the message is not stored, and will not be.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Conflict(_)
            | Self::Contended
            | Self::Refused(_)
            | Self::TooLarge(_)
            | Self::Full(_)
            | Self::NotTaken(_) => true,
            Self::Uncertain(_) => false,
        }
    }

    /// The error with its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        match self {
            Self::Contended => "others keep writing to the same key".to_owned(),
            Self::Conflict(source)
            | Self::Refused(source)
            | Self::TooLarge(source)
            | Self::Full(source)
            | Self::NotTaken(source)
            | Self::Uncertain(source) => chain(source.as_ref()),
        }
    }
}

/// A read that belongs to a write has failed. It is repeated, unless it may not be made.
impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::PermissionDenied => Self::Refused(error.into()),
            StoreErrorKind::NotABucket => Self::NotTaken(error.into()),
            _ if is_no_stream(&error) => Self::NotTaken(error.into()),
            _ => Self::Uncertain(error.into()),
        }
    }
}

impl From<Violation> for StoreError {
    fn from(violation: Violation) -> Self {
        Self::new(StoreErrorKind::PermissionDenied, violation.to_string())
    }
}

impl From<Violation> for WriteError {
    fn from(violation: Violation) -> Self {
        StoreError::from(violation).into()
    }
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Conflict(source) => {
                Self::new(StoreErrorKind::WrongRevision, "the entry has changed")
                    .with_source(source)
            }
            WriteError::TooLarge(source) => Self::new(
                StoreErrorKind::TooLarge,
                "the value is too large for the store",
            )
            .with_source(source),
            WriteError::Full(source) => {
                Self::new(StoreErrorKind::Full, "the bucket has no room for the value")
                    .with_source(source)
            }
            WriteError::Contended => Self::new(
                StoreErrorKind::Contended,
                "others keep writing to the same key",
            ),
            WriteError::Refused(source) if has_code(source.as_ref(), &TTL_REFUSED) => {
                Self::unsupported("the bucket does not take this TTL").with_source(source)
            }
            WriteError::Refused(source)
                if has_code(source.as_ref(), &[ErrorCode::STREAM_SEALED]) =>
            {
                Self::unsupported("the bucket is sealed: nothing can be written to it")
                    .with_source(source)
            }
            WriteError::Refused(source) => match source.downcast::<Self>() {
                Ok(error) => *error,
                Err(source) => Self::new(StoreErrorKind::Nats, "the server refused the write")
                    .with_source(source),
            },
            WriteError::NotTaken(source) | WriteError::Uncertain(source) => match source
                .downcast::<Self>()
            {
                Ok(error) => *error,
                Err(source) => Self::new(StoreErrorKind::Nats, "the write was not acknowledged")
                    .with_source(source),
            },
        }
    }
}

const TTL_REFUSED: [ErrorCode; 2] = [
    ErrorCode::MESSAGE_TTL_DISABLED,
    ErrorCode::MESSAGE_TTL_INVALID,
];

/// Whether the server refused something with one of these codes.
fn has_code(error: &(dyn StdError + 'static), codes: &[ErrorCode]) -> bool {
    let refused = error.downcast_ref::<async_nats::jetstream::Error>();
    refused.is_some_and(|refused| codes.contains(&refused.error_code()))
        || error.source().is_some_and(|source| has_code(source, codes))
}
