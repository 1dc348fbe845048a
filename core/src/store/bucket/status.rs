//! The state and the settings of a bucket, as the server reports them.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::stream::{Compression, Info};

use crate::descriptor::bucket::Storage;

/// A bucket as the server describes it; see [`KvStore::status`](crate::store::kv::handle::KvStore::status).
///
/// ```no_run
/// # use natsmicro::store::StoreError;
/// # use natsmicro::KvStore;
/// # async fn example(profiles: KvStore<String>) -> Result<(), StoreError> {
/// let status = profiles.status().await?;
/// println!("{} revisions in {} bytes", status.values, status.bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketStatus {
    /// The name of the bucket.
    pub bucket: String,
    /// The description, if it has one.
    pub description: Option<String>,
    /// How many messages it holds. In a Key-Value bucket, these are all revisions and the markers of deletions; in an Object
    /// Store, chunks and metadata.
    pub values: u64,
    /// The bytes that these messages take.
    pub bytes: u64,
    /// The newest revision that was ever written, 0 for none.
    pub last_revision: u64,
    /// How many values a key keeps. Means nothing for an Object Store.
    pub history: u64,
    /// How long an entry lives; `None` for ever.
    pub ttl: Option<Duration>,
    /// Whether single entries may have a TTL of their own.
    pub allows_entry_ttl: bool,
    /// How long the markers of expired entries stay; `None` if there are none.
    pub marker_ttl: Option<Duration>,
    /// Whether it is compressed.
    pub is_compressed: bool,
    /// Whether it is stored in files or in memory.
    pub storage: Storage,
    /// The number of servers that store it.
    pub replicas: usize,
    /// How many bytes it may take; `None` if there is no bound.
    pub max_bytes: Option<u64>,
    /// How many bytes a value may have; `None` if there is no bound but the server's.
    pub max_value_size: Option<u64>,
    /// How many consumers it may have, of which every open watch is one; `None` if the bucket sets no bound.
    pub max_consumers: Option<u64>,
    /// Its metadata, that of the server included.
    pub metadata: HashMap<String, String>,
    /// When it was created, by the clock of the server.
    pub created: SystemTime,
}

impl BucketStatus {
    pub(crate) fn new(bucket: &str, info: Info) -> Self {
        let Info {
            config,
            created,
            state,
            ..
        } = info;
        Self {
            bucket: bucket.to_owned(),
            description: config.description.filter(|text| !text.is_empty()),
            values: state.messages,
            bytes: state.bytes,
            last_revision: state.last_sequence,
            history: u64::try_from(config.max_messages_per_subject).unwrap_or_default(),
            ttl: positive(config.max_age),
            allows_entry_ttl: config.allow_message_ttl,
            marker_ttl: config.subject_delete_marker_ttl.and_then(positive),
            is_compressed: config.compression == Some(Compression::S2),
            storage: Storage::of(config.storage),
            replicas: config.num_replicas,
            // The server uses -1 or 0 for no bound.
            max_bytes: u64::try_from(config.max_bytes).ok().filter(|&max| max > 0),
            max_value_size: u64::try_from(config.max_message_size)
                .ok()
                .filter(|&max| max > 0),
            max_consumers: u64::try_from(config.max_consumers)
                .ok()
                .filter(|&max| max > 0),
            metadata: config.metadata,
            created: created.into(),
        }
    }
}

fn positive(age: Duration) -> Option<Duration> {
    (!age.is_zero()).then_some(age)
}
