//! What makes a stream a bucket: a stream may have the name of a bucket and be something else.

use async_nats::jetstream::stream::{Config, RetentionPolicy, Source};

use crate::descriptor::bucket::StoreKind;
use crate::store::error::{StoreError, StoreErrorKind};

/// Why nothing is written to an Object Store that is a mirror.
pub(crate) const OBJECTS_OF_MIRROR: &str = "is a mirror: objects are written to its origin alone";

/// Fails if the stream behind a bucket of this name is no bucket, and says why.
pub(crate) fn check_is_bucket(
    kind: StoreKind,
    bucket: &str,
    config: &Config,
) -> Result<(), StoreError> {
    let faults = faults(kind, bucket, config);
    if faults.is_empty() {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::NotABucket,
        format!(
            "stream `{}` is no {}: {}",
            kind.stream_name(bucket),
            kind.noun(),
            faults.join(", ")
        ),
    ))
}

/// Fails if nothing can be written to a bucket, and says why.
pub(crate) fn check_is_writable(
    kind: StoreKind,
    bucket: &str,
    config: &Config,
) -> Result<(), StoreError> {
    let noun = kind.noun();
    let fault = if config.sealed {
        "is sealed: nothing can be written to it, and its settings cannot be changed"
    } else if kind == StoreKind::Object && config.mirror.is_some() {
        OBJECTS_OF_MIRROR
    } else {
        return Ok(());
    };
    Err(StoreError::new(
        StoreErrorKind::BucketMismatch,
        format!("{noun} `{bucket}` {fault}"),
    ))
}

fn faults(kind: StoreKind, bucket: &str, config: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    match &config.mirror {
        None => faults.extend(wrong_subjects(&config.subjects, &subjects(kind, bucket))),
        Some(mirror) => faults.extend(wrong_mirror(kind, bucket, mirror)),
    }
    let mut refuse = |is_refused: bool, fault: &str| {
        if is_refused {
            faults.push(fault.to_owned());
        }
    };
    refuse(
        config.subject_transform.is_some(),
        "it stores messages under other subjects",
    );
    match config.retention {
        RetentionPolicy::Limits => {}
        RetentionPolicy::Interest => refuse(true, "it keeps messages while there is interest"),
        RetentionPolicy::WorkQueue => refuse(true, "it is a work queue"),
    }
    refuse(config.no_ack, "it acknowledges nothing");
    refuse(
        config.discard_new_per_subject,
        "it replaces no message of a subject",
    );
    refuse(config.allow_message_counter, "its messages are counters");
    // Sealing takes rollups away, and a mirror gets those of its origin.
    refuse(
        !config.allow_rollup && !config.sealed && config.mirror.is_none(),
        "it allows no rollups",
    );
    refuse(
        kind == StoreKind::Kv && config.max_messages_per_subject < 1,
        "it keeps any number of messages per subject",
    );
    faults
}

/// The subjects of a bucket, as ADR-8 and ADR-20 fix them.
pub(crate) fn subjects(kind: StoreKind, bucket: &str) -> Vec<String> {
    match kind {
        StoreKind::Kv => vec![format!("$KV.{bucket}.>")],
        StoreKind::Object => vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
    }
}

fn wrong_subjects(found: &[String], expected: &[String]) -> Option<String> {
    let mut sorted = found.to_vec();
    sorted.sort();
    let text = |subjects: &[String]| {
        let subjects = subjects.iter().map(|subject| format!("`{subject}`"));
        subjects.collect::<Vec<_>>().join(" and ")
    };
    (sorted != expected).then(|| match found {
        [] => format!("it has no subjects, and not {}", text(expected)),
        found => format!(
            "its subjects are {} and not {}",
            text(found),
            text(expected)
        ),
    })
}

fn wrong_mirror(kind: StoreKind, bucket: &str, mirror: &Source) -> Option<String> {
    let origin = &mirror.name;
    match kind {
        StoreKind::Kv if mirrored_prefix(bucket, mirror).is_none() => Some(format!(
            "it is a mirror of `{origin}` whose messages are no entries"
        )),
        StoreKind::Object if *origin != kind.stream_name(bucket) => Some(format!(
            "it is a mirror of `{origin}`, and objects are found under the name of their own bucket alone"
        )),
        _ => None,
    }
}

/// The start of the subjects under which a mirror has its entries; `None` if it is not the mirror of a Key-Value bucket.
///
/// A mirror keeps the subjects of its origin, unless it has a transform that maps them to its own.
pub(crate) fn mirrored_prefix(bucket: &str, mirror: &Source) -> Option<String> {
    let origin = mirrored_bucket(mirror)?;
    match &mirror.subject_transforms[..] {
        [] => Some(format!("$KV.{origin}.")),
        [transform]
            if transform.source == format!("$KV.{origin}.>")
                && transform.destination == format!("$KV.{bucket}.>") =>
        {
            Some(format!("$KV.{bucket}."))
        }
        _ => None,
    }
}

/// The bucket that a mirror is one of.
pub(crate) fn mirrored_bucket(mirror: &Source) -> Option<&str> {
    mirror.name.strip_prefix("KV_")
}
