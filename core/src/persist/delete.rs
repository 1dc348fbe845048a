//! One attempt to delete an entry that a call has made stale.

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;

use crate::persist::queue::WriteStart;
use crate::persist::target::is_after;
use crate::store::error::WriteError;
use crate::store::kv::bucket::{KvBucket, is_marker};

/// How an entry is deleted.
#[derive(Clone, Copy)]
pub(crate) struct DeleteOptions {
    /// Removes the older revisions too.
    pub(crate) purge: bool,
    /// How long the marker of a purge stays; `None` for ever.
    pub(crate) purge_ttl: Option<Duration>,
}

/// Writes a marker over the value of a key, or in place of all its revisions. Returns the revision that it has read, 0 for none.
///
/// If the acknowledgement of a marker is lost, the marker has most likely been stored. A repetition therefore reads the key and writes
/// only over the revision that it has read, so that an attempt that arrives late cannot remove a newer value. Neither does it remove a
/// value that was written since the first attempt, at `repeats`.
pub(crate) async fn delete(
    bucket: &KvBucket,
    key: &str,
    options: DeleteOptions,
    repeats: Option<WriteStart>,
) -> Result<u64, WriteError> {
    let mut expected = None;
    if let Some(start) = repeats {
        let Some(newest) = bucket.newest(key).await? else {
            return Ok(0);
        };
        let is_newer = !is_marker(&newest) && is_after(bucket, &newest, start).await? == Some(true);
        if is_newer || is_done(&newest, options.purge) {
            return Ok(newest.sequence);
        }
        expected = Some(newest.sequence);
    }
    if options.purge {
        bucket.purge(key, expected, options.purge_ttl).await?;
    } else {
        bucket.delete(key, expected).await?;
    }
    Ok(expected.unwrap_or(0))
}

/// Whether the key is deleted as requested. The marker of a deletion without purge keeps older revisions, which a purge must remove.
fn is_done(newest: &StreamMessage, purge: bool) -> bool {
    let operation = newest.headers.get("KV-Operation");
    let is_deletion = operation.is_some_and(|operation| operation.as_str() == "DEL");
    is_marker(newest) && !(is_deletion && purge)
}
