//! Why the buckets of a server could not be opened.

use crate::error::Error;
use crate::store::error::{StoreError, StoreErrorKind};

/// Why the buckets of a server could not be opened.
pub(crate) type OpenError = Error<OpenErrorKind>;

/// The kinds of [`OpenError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenErrorKind {
    /// A method must write before it replies, and there is no JetStream.
    JetStreamRequired,
    /// Two methods disagree on the settings of a bucket, or the bucket has others, cannot be written to, or is none.
    BucketMismatch,
    /// A bucket is missing, and may not or cannot be created.
    BucketNotFound,
    /// The NATS server is too old for a setting, or the way to it does not allow it.
    Unsupported,
    /// NATS refuses a request for a bucket.
    PermissionDenied,
    /// NATS did not do what was asked, or not in time.
    Nats,
}

pub(crate) fn not_provisioned(error: StoreError) -> OpenError {
    error.map_kind(|kind| match kind {
        StoreErrorKind::BucketNotFound => OpenErrorKind::BucketNotFound,
        StoreErrorKind::BucketMismatch | StoreErrorKind::NotABucket => {
            OpenErrorKind::BucketMismatch
        }
        StoreErrorKind::Unsupported => OpenErrorKind::Unsupported,
        StoreErrorKind::PermissionDenied => OpenErrorKind::PermissionDenied,
        _ => OpenErrorKind::Nats,
    })
}
