//! The stores of a method and the entries that it deletes.
//!
//! Holds checked settings. A bucket without a name and a key without parts stand in for what was reported; they equal no other.

use syn::{Attribute, LitStr};

use crate::args::quantity::Period;
use crate::args::settings::BucketSettings;
use crate::args::value::{Persist, Write};
use crate::attribute::StoreKind;
use crate::key::Template;

/// Where a method stores its responses: `#[kv_store]` or `#[object_store]`.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) kind: StoreKind,
    pub(crate) attr: Attribute,
    /// The name of the bucket.
    pub(crate) bucket: LitStr,
    /// What all methods that share the bucket agree on.
    pub(crate) settings: BucketSettings,
    pub(crate) usage: Usage,
}

/// How one method uses a bucket.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) key: Template,
    pub(crate) key_ttl: Option<Period>,
    pub(crate) client_only: bool,
    pub(crate) persist: Option<Persist>,
    pub(crate) write: Option<Write>,
}

/// An entry that a method makes stale: `#[kv_delete]`.
#[derive(Debug)]
pub(crate) struct Deletion {
    pub(crate) attr: Attribute,
    /// The name of the bucket.
    pub(crate) bucket: LitStr,
    pub(crate) key: Template,
    pub(crate) persist: Option<Persist>,
    pub(crate) purge: bool,
}

impl Store {
    /// The name of the bucket; `None` if it was reported.
    pub(crate) fn bucket_name(&self) -> Option<String> {
        name_of(&self.bucket)
    }
}

impl Deletion {
    /// Whether this is the entry under `key` in `bucket`, whatever the messages say.
    pub(crate) fn is_of(&self, bucket: &LitStr, key: &Template) -> bool {
        let name = name_of(&self.bucket);
        name.is_some() && name == name_of(bucket) && self.key.same_keys(key)
    }
}

fn name_of(bucket: &LitStr) -> Option<String> {
    Some(bucket.value()).filter(|name| !name.is_empty())
}
