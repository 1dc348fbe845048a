//! What the methods of a server declare of the buckets that they write to, merged per bucket.

use crate::descriptor::bucket::{BucketDescriptor, Disagreement};
use crate::descriptor::declared::{DeclaredBucket, MethodStore, MethodStores};
use crate::descriptor::method::MethodSettings;
use crate::descriptor::usage::{Persist, Write};
use crate::log::warn_limited;
use crate::persist::open::error::{OpenError, OpenErrorKind};

/// A method of a service that the server serves.
#[derive(Clone, Copy)]
pub(crate) struct ServedMethod<'a> {
    pub(crate) service: &'a str,
    pub(crate) settings: &'a MethodSettings,
}

impl ServedMethod<'_> {
    pub(crate) fn text(&self) -> String {
        format!("`{}.{}`", self.service, self.settings.name)
    }
}

pub(crate) fn writes(method: &ServedMethod<'_>) -> bool {
    let settings = method.settings;
    !settings.deletions.is_empty() || settings.stores.iter().any(is_written)
}

/// Whether a reply of the method waits for a write.
fn waits(method: &ServedMethod<'_>) -> bool {
    let stores = method.settings.stores.iter();
    let stores = stores.filter(|store| is_written(store));
    let deletions = method.settings.deletions.iter();
    stores
        .map(|store| store.usage.persist)
        .chain(deletions.map(|deletion| deletion.persist))
        .any(|persist| persist == Persist::BeforeResponse)
}

/// Whether the service itself writes to the store.
pub(crate) fn is_written(store: &MethodStore) -> bool {
    !store.usage.client_only
}

/// Without JetStream nothing is stored, which is an error where a reply depends on it.
pub(crate) fn check_without_jetstream(methods: &[ServedMethod<'_>]) -> Result<(), OpenError> {
    let names = |wanted: fn(&ServedMethod<'_>) -> bool| {
        let wanted = methods.iter().filter(|method| wanted(method));
        wanted
            .map(ServedMethod::text)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let required = names(waits);
    if !required.is_empty() {
        return Err(OpenError::new(
            OpenErrorKind::JetStreamRequired,
            format!(
                "{required} must write to a bucket before the response is sent, and the server has no JetStream: call \
                 `Server::with_jetstream`"
            ),
        ));
    }
    warn_limited!(
        methods = names(writes),
        "nothing is stored or deleted: the server has no JetStream; call `Server::with_jetstream`"
    );
    Ok(())
}

/// A bucket that the server stores into.
pub(crate) struct WrittenBucket {
    pub(crate) declared: DeclaredBucket,
    /// A method of the server compares revisions before it writes.
    pub(crate) is_compared: bool,
}

/// Each bucket that a method stores into, once, with the settings of all methods merged. The methods must agree on the settings; the
/// macro checks this only within one trait.
pub(crate) fn written_buckets(
    methods: &[ServedMethod<'_>],
) -> Result<Vec<WrittenBucket>, OpenError> {
    let mut written: Vec<WrittenBucket> = Vec::new();
    for store in stores(methods)
        .map(|(_, store)| store)
        .filter(|store| is_written(store))
    {
        let bucket = &store.bucket;
        let known = |known: &WrittenBucket| known.declared.bucket.is_same_bucket(bucket);
        if written.iter().any(known) {
            continue;
        }
        let users: Vec<_> = stores(methods)
            .filter(|(_, other)| other.bucket.is_same_bucket(bucket))
            .collect();
        check_agreement(&users)?;
        let declared = DeclaredBucket::new(store, users.iter().map(|(_, user)| *user));
        let usages = users.iter().map(|(_, user)| user.usage);
        let mut writers = usages.filter(|usage| !usage.client_only);
        written.push(WrittenBucket {
            declared,
            is_compared: writers.any(|usage| usage.write == Write::Update),
        });
    }
    Ok(written)
}

fn stores<'a>(
    methods: &'a [ServedMethod<'a>],
) -> impl Iterator<Item = (ServedMethod<'a>, &'a MethodStore)> {
    methods.iter().flat_map(|method| {
        MethodStores::iter(&method.settings.stores).map(|store| (*method, store))
    })
}

/// Fails at the first two methods that contradict each other.
fn check_agreement(users: &[(ServedMethod<'_>, &MethodStore)]) -> Result<(), OpenError> {
    for (at, (method, store)) in users.iter().enumerate() {
        for (earlier, other) in &users[..at] {
            let disagreements = other.disagreements(store);
            if !disagreements.is_empty() {
                return Err(disagree(&store.bucket, *earlier, *method, &disagreements));
            }
        }
    }
    Ok(())
}

fn disagree(
    bucket: &BucketDescriptor,
    one: ServedMethod<'_>,
    other: ServedMethod<'_>,
    disagreements: &[Disagreement],
) -> OpenError {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
    let settings: Vec<_> = disagreements
        .iter()
        .map(|Disagreement { setting, values }| {
            format!(
                "`{setting}` is {} and {}",
                value(&values[0]),
                value(&values[1])
            )
        })
        .collect();
    OpenError::new(
        OpenErrorKind::BucketMismatch,
        format!(
            "{} `{}` is declared with different settings by {} and {}: {}",
            bucket.kind.noun(),
            bucket.name,
            one.text(),
            other.text(),
            settings.join(", ")
        ),
    )
}
