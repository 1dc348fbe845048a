//! One try to delete an entry that a call has made stale.

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;

use crate::persist::queue::WriteStart;
use crate::persist::target::is_after;
use crate::store::error::WriteError;
use crate::store::kv::bucket::{KvBucket, is_marker};

/// How an entry is deleted.
#[derive(Clone, Copy)]
pub(crate) struct Deletion {
    /// Takes away the older revisions too.
    pub(crate) purge: bool,
    /// How long the marker of a purge stays; `None` for ever.
    pub(crate) purge_ttl: Option<Duration>,
}

/// Puts a marker over the value of a key, or in place of all its revisions. Gives the revision that it looked at, 0 for none.
///
/// A marker whose acknowledgement did not come has most likely been stored. A repetition therefore looks, and is only made over
/// what it saw, so that a try that arrives late cannot take away a newer value; nor does it take away what somebody has written
/// since the deletion that it `repeats` was begun.
pub(crate) async fn delete(
    bucket: &KvBucket,
    key: &str,
    deletion: Deletion,
    repeats: Option<WriteStart>,
) -> Result<u64, WriteError> {
    let mut seen = None;
    if let Some(start) = repeats {
        let Some(newest) = bucket.newest(key).await? else {
            return Ok(0);
        };
        let is_newer = !is_marker(&newest) && is_after(bucket, &newest, start).await? == Some(true);
        if is_newer || is_done(&newest, deletion.purge) {
            return Ok(newest.sequence);
        }
        seen = Some(newest.sequence);
    }
    if deletion.purge {
        bucket.purge(key, seen, deletion.purge_ttl).await?;
    } else {
        bucket.delete(key, seen).await?;
    }
    Ok(seen.unwrap_or(0))
}

/// Whether nothing is left to do. Under the marker of a mere deletion there may be older revisions, which a purge is to take away.
fn is_done(newest: &StreamMessage, purge: bool) -> bool {
    let operation = newest.headers.get("KV-Operation");
    let is_deletion = operation.is_some_and(|operation| operation.as_str() == "DEL");
    is_marker(newest) && !(is_deletion && purge)
}
