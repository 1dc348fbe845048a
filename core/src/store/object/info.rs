//! The metadata of objects: as ADR-20 stores it, and as users see it.

use std::collections::HashMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, MessageCodec};
use crate::descriptor::key::MAX_KEY_LEN;
use crate::descriptor::operation::Operation;
use crate::store::bucket::handle::decode;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::entry::Entry;
use crate::store::reader::delivery::BucketMessage;

/// The longest name of an object in bytes; it is part of a subject, as a key is.
const MAX_NAME_LEN: usize = MAX_KEY_LEN;

/// The description of an object without its bytes; see [`ObjectStore::info`](crate::store::object::handle::ObjectStore::info).
///
/// ```no_run
/// # use natsmicro::store::StoreError;
/// # use natsmicro::ObjectStore;
/// # async fn example(reports: ObjectStore<String>) -> Result<(), StoreError> {
/// if let Some(info) = reports.info("report.monthly").await? {
///     println!("{} has {} bytes", info.name, info.size);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// The name.
    pub name: String,
    /// The description, if it has one.
    pub description: Option<String>,
    /// The metadata that was set when it was stored.
    pub metadata: HashMap<String, String>,
    /// The size in bytes.
    pub size: u64,
    /// The number of chunks in which the bytes are stored.
    pub chunks: u64,
    /// The digest of the bytes, `SHA-256=` and base64.
    pub digest: Option<String>,
    /// The revision of its metadata, which grows with every write to the bucket.
    pub revision: u64,
    /// When it was written, by the clock of the server.
    pub modified: SystemTime,
    /// Whether it refers to another object, and has no bytes of its own. Links are not followed.
    pub is_link: bool,
}

/// The metadata of an object as it is stored, with its revision.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) meta: Meta,
    pub(crate) revision: u64,
    pub(crate) modified: SystemTime,
}

/// What a change finds under a name, which may be metadata that cannot be read: another client has written it, and a change goes over it.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) revision: u64,
    /// The id of its chunks; `None` if even that cannot be read.
    pub(crate) nuid: Option<String>,
    /// `None` if it cannot be read.
    pub(crate) meta: Option<Meta>,
}

/// The metadata of ADR-20. Its modification time is not read: the time of the message is used, since a client can write any time.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<HashMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) headers: Option<HashMap<String, Vec<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) options: Option<Options>,
    pub(crate) bucket: String,
    #[serde(default)]
    pub(crate) nuid: String,
    #[serde(default)]
    pub(crate) size: usize,
    #[serde(default)]
    pub(crate) chunks: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) deleted: bool,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Options {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<Link>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_chunk_size: Option<usize>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Link {
    bucket: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

const META_CODEC: MessageCodec<Meta> = MessageCodec {
    encode: |meta| {
        serde_json::to_vec(meta)
            .map(Into::into)
            .map_err(CodecError::new)
    },
    decode: |json| serde_json::from_slice(&json).map_err(CodecError::new),
};

pub(crate) fn encode_meta(meta: &Meta) -> Result<bytes::Bytes, CodecError> {
    (META_CODEC.encode)(meta)
}

impl Current {
    /// What the server has written in place of metadata that has expired, or that an operator has removed.
    pub(crate) fn marker(bucket: &str, name: &str, revision: u64) -> Self {
        Self {
            revision,
            nuid: None,
            meta: Some(Meta::deleted(bucket, name, String::new())),
        }
    }

    pub(crate) fn read(message: &BucketMessage) -> Self {
        #[derive(Deserialize)]
        struct Chunks {
            nuid: String,
        }
        let meta: Option<Meta> = serde_json::from_slice(&message.payload).ok();
        let nuid = match &meta {
            Some(meta) => Some(meta.nuid.clone()),
            None => serde_json::from_slice(&message.payload)
                .ok()
                .map(|Chunks { nuid }| nuid),
        };
        Self {
            revision: message.sequence,
            nuid,
            meta,
        }
    }
}

impl Meta {
    /// The metadata of an object that is deleted, without more that is known of it.
    pub(crate) fn deleted(bucket: &str, name: &str, nuid: String) -> Self {
        Self {
            name: name.to_owned(),
            description: None,
            metadata: None,
            headers: None,
            options: None,
            bucket: bucket.to_owned(),
            nuid,
            size: 0,
            chunks: 0,
            digest: None,
            deleted: true,
        }
    }
}

impl Stored {
    pub(crate) fn read(
        name: &str,
        revision: u64,
        modified: SystemTime,
        json: bytes::Bytes,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            meta: decode(&META_CODEC, name, revision, json)?,
            revision,
            modified,
        })
    }

    pub(crate) fn is_link(&self) -> bool {
        let options = self.meta.options.as_ref();
        options.is_some_and(|options| options.link.is_some())
    }

    pub(crate) fn info(self) -> ObjectInfo {
        let is_link = self.is_link();
        let Meta {
            name,
            description,
            metadata,
            size,
            chunks,
            digest,
            ..
        } = self.meta;
        ObjectInfo {
            name,
            description: description.filter(|text| !text.is_empty()),
            metadata: metadata.unwrap_or_default(),
            size: size as u64,
            chunks: chunks as u64,
            digest: digest.filter(|text| !text.is_empty()),
            revision: self.revision,
            modified: self.modified,
            is_link,
        }
    }
}

/// Reads a metadata message as an entry.
pub(crate) fn entry(message: BucketMessage) -> Result<Entry<ObjectInfo>, StoreError> {
    let operation = message.operation();
    let BucketMessage {
        subject,
        payload,
        sequence,
        published,
        is_malformed,
        is_repeated: _,
        headers: _,
    } = message;
    if is_malformed {
        return Err(StoreError::malformed(&subject, sequence, payload));
    }
    if operation != Operation::Put {
        return Ok(Entry {
            key: name_of(&subject),
            value: None,
            revision: sequence,
            created: published,
            operation,
        });
    }
    let stored = Stored::read(&subject, sequence, published, payload)?;
    let deleted = stored.meta.deleted;
    let info = stored.info();
    Ok(Entry {
        key: info.name.clone(),
        revision: sequence,
        created: published,
        operation: if deleted {
            Operation::Delete
        } else {
            Operation::Put
        },
        value: (!deleted).then_some(info),
    })
}

/// The name of the object whose metadata has this subject; the end of the subject if it is none.
fn name_of(subject: &str) -> String {
    let token = subject.rsplit('.').next().unwrap_or_default();
    let name = URL_SAFE.decode(token).ok();
    let name = name.and_then(|name| String::from_utf8(name).ok());
    name.unwrap_or_else(|| token.to_owned())
}

/// Checks the name of an object. Any text is allowed, since names are encoded in subjects, but its length is bounded.
pub(crate) fn check_name(name: &str) -> Result<&str, StoreError> {
    let refused = if name.is_empty() {
        "the name of an object cannot be empty".to_owned()
    } else if name.len() > MAX_NAME_LEN {
        format!("the name of an object cannot have more than {MAX_NAME_LEN} bytes")
    } else {
        return Ok(name);
    };
    Err(StoreError::new(StoreErrorKind::InvalidKey, refused))
}

pub(crate) fn incomplete(name: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Incomplete,
        format!("object `{name}` is incomplete or damaged"),
    )
}
