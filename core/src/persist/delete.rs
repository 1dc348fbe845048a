//! One attempt to delete an entry that a call has made stale.

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;

use crate::persist::age::Age;
use crate::persist::attempts::{Stored, read_newest};
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

/// Writes a marker over the value of a key, or in place of all its revisions.
///
/// With an `age` it reads the key first: since the deletion is late, or because an attempt whose acknowledgement was lost has most likely
/// stored the marker. It then writes only over the revision that it has read, so that an attempt that arrives late cannot remove a newer
/// value. Neither does it remove a value that was written since the deletion was queued. `is_sending` is set before the marker is sent.
pub(crate) async fn delete(
    bucket: &KvBucket,
    key: &str,
    options: DeleteOptions,
    age: Option<&Age>,
    is_sending: &mut bool,
) -> Result<Stored, WriteError> {
    let mut expected = None;
    if let Some(age) = age {
        let Some(newest) = read_newest(bucket, key).await? else {
            return Ok(Stored::Nothing);
        };
        if !is_marker(&newest) && age.is_before(bucket, &newest).await? == Some(true) {
            return Ok(Stored::Kept(newest.sequence));
        }
        if is_done(&newest, options.purge) {
            return Ok(Stored::Found(newest.sequence));
        }
        expected = Some(newest.sequence);
    }
    *is_sending = true;
    let revision = if options.purge {
        bucket.purge(key, expected, options.purge_ttl).await?
    } else {
        bucket.delete(key, expected).await?
    };
    Ok(Stored::At(revision))
}

/// Whether the key is deleted as requested. The marker of a deletion without purge keeps older revisions, which a purge must remove.
fn is_done(newest: &StreamMessage, purge: bool) -> bool {
    let operation = newest.headers.get("KV-Operation");
    let is_deletion = operation.is_some_and(|operation| operation.as_str() == "DEL");
    is_marker(newest) && !(is_deletion && purge)
}
