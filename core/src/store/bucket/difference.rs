//! What is not in a bucket as the service declares it.

use std::fmt::Write as _;
use std::time::Duration;

use async_nats::jetstream::stream::{Compression, Config};

use crate::descriptor::store::{StoreDescriptor, StoreKind};
use crate::store::bucket::provision::{history_of, needs_ttls, storage_type};
use crate::store::error::{StoreError, StoreErrorKind};

/// A setting of a bucket that is not what the service declares.
#[derive(Debug)]
pub(crate) struct Difference {
    setting: &'static str,
    found: String,
    declared: String,
}

/// What matters for how the service works. History and TTL are compared with their defaults, since they decide what is kept;
/// what else is not declared is left to whoever runs the server.
pub(crate) fn differences(store: &StoreDescriptor, found: &Config) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut compare = |setting, found: String, declared: String| {
        if found != declared {
            differences.push(Difference {
                setting,
                found,
                declared,
            });
        }
    };
    if store.kind == StoreKind::Kv {
        compare(
            "max_history",
            found.max_messages_per_subject.to_string(),
            history_of(store).to_string(),
        );
    }
    compare(
        "ttl",
        age(found.max_age),
        age(store.ttl.unwrap_or_default()),
    );
    if let Some(storage) = store.storage {
        compare(
            "storage",
            format!("{:?}", found.storage),
            format!("{:?}", storage_type(storage)),
        );
    }
    if let Some(replicas) = store.replicas {
        compare(
            "replicas",
            found.num_replicas.to_string(),
            replicas.to_string(),
        );
    }
    if let Some(compression) = store.compression {
        let found = found.compression == Some(Compression::S2);
        compare("compression", found.to_string(), compression.to_string());
    }
    if let Some(max_bytes) = store.max_bytes {
        compare(
            "max_bytes",
            found.max_bytes.to_string(),
            max_bytes.to_string(),
        );
    }
    if let Some(max_value_size) = store.max_value_size {
        compare(
            "max_value_size",
            found.max_message_size.to_string(),
            max_value_size.to_string(),
        );
    }
    if needs_ttls(store) {
        compare(
            "TTLs of single entries",
            found.allow_message_ttl.to_string(),
            true.to_string(),
        );
    }
    if let Some(marker_ttl) = store.marker_ttl {
        compare(
            "marker_ttl",
            age(found.subject_delete_marker_ttl.unwrap_or_default()),
            age(marker_ttl),
        );
    }
    differences
}

pub(crate) fn is_described(store: &StoreDescriptor, found: &Config) -> bool {
    store
        .description
        .is_none_or(|description| found.description.as_deref() == Some(description))
        && store
            .metadata
            .iter()
            .all(|&(key, value)| found.metadata.get(key).is_some_and(|found| found == value))
}

pub(crate) fn mismatch(store: &StoreDescriptor, differences: &[Difference]) -> StoreError {
    let mut text = format!(
        "{} `{}` has other settings than the service declares:",
        store.kind.noun(),
        store.bucket
    );
    for (at, difference) in differences.iter().enumerate() {
        let Difference {
            setting,
            found,
            declared,
        } = difference;
        let separator = if at == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{separator} `{setting}` is {found} and not {declared}"
        );
    }
    text.push_str(if store.client_only {
        "; change the declaration or the bucket"
    } else {
        "; change the declaration or the bucket, or let the service do it with `Server::with_bucket_policy`"
    });
    StoreError::new(StoreErrorKind::BucketMismatch, text)
}

fn age(age: Duration) -> String {
    if age.is_zero() {
        "none".to_owned()
    } else {
        format!("{age:?}")
    }
}
