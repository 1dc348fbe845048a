use std::collections::HashMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, MessageCodec};
use crate::descriptor::operation::Operation;
use crate::store::bucket::handle::decode;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::entry::Entry;
use crate::store::reader::ordered::Delivered;

/// What is known of an object without reading it; see [`ObjectStore::info`](crate::store::object::handle::ObjectStore::info).
///
/// ```no_run
/// # use natsmicro::{ObjectStore, StoreError};
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
    /// Its name.
    pub name: String,
    /// What it says about itself.
    pub description: Option<String>,
    /// Its metadata.
    pub metadata: HashMap<String, String>,
    /// How many bytes it has.
    pub size: u64,
    /// In how many chunks they are stored.
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

/// The metadata of an object as it is stored, and where.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) meta: Meta,
    pub(crate) revision: u64,
    pub(crate) modified: SystemTime,
}

/// As ADR-20 has it. The time is that of the message: what clients write into it is not read, and some of it is no time.
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

const META: MessageCodec<Meta> = MessageCodec {
    encode: |meta| {
        serde_json::to_vec(meta)
            .map(Into::into)
            .map_err(CodecError::new)
    },
    decode: |json| serde_json::from_slice(&json).map_err(CodecError::new),
};

pub(crate) fn encode_meta(meta: &Meta) -> Result<bytes::Bytes, CodecError> {
    (META.encode)(meta)
}

impl Stored {
    pub(crate) fn read(
        name: &str,
        revision: u64,
        modified: SystemTime,
        json: bytes::Bytes,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            meta: decode(&META, name, revision, json)?,
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

/// An object in a message on a subject of metadata.
pub(crate) fn entry(message: Delivered) -> Result<Entry<ObjectInfo>, StoreError> {
    let Delivered {
        subject,
        payload,
        sequence,
        published,
        ..
    } = message;
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

pub(crate) fn incomplete(name: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Incomplete,
        format!("object `{name}` is incomplete or damaged"),
    )
}
