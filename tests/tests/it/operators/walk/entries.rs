//! Walks through `nats kv`.

use natsmicro::store::StoreErrorKind::BucketNotFound;

use super::steps::{Step, done, refused};
use super::{Place, walk, walk_at};

#[tokio::test]
async fn keys() {
    walk(&keys_and_values()).await;
}

pub fn keys_and_values() -> Vec<Step> {
    vec![
        done("kv put notes a.1 {1}"),
        done("kv put notes a.2 {2}"),
        done("kv put notes b.1 {3}"),
        refused("kv create notes a.1 {4}", "key exists"),
        done("kv create notes a.3 {4}"),
        refused("kv update notes a.1 {5} 999", "key revision mismatch"),
        done("kv update notes a.1 {5} @a.1"),
        done("kv update notes a.1 {6} @a.1"),
        done("kv get notes a.1 --raw").prints("\"n\":6"),
        done("kv get notes a.1 --revision @first:a.1 --raw").prints("\"n\":1"),
        done("kv history notes a.1").prints("PUT"),
        done("kv watch notes").prints("a.1"),
        done("kv revert notes a.1 @first:a.1"),
        done("kv revert notes a.1 @first:a.1 --force"),
        done("kv del notes a.2 -f"),
        done("kv create notes a.2 {7}"),
        done("kv purge notes a.2 -f"),
        done("kv del notes a.none -f"),
        done("kv put notes a.2 {8}"),
        done("kv del notes b.1"),
        refused(
            "kv create notes t.1 {9} --ttl=2s",
            "per-message TTL is disabled",
        ),
        done("kv compact notes -f"),
        done("kv compact notes"),
        done("kv ls notes").prints("a.1"),
        done("kv ls notes a.1"),
        done("kv ls").prints("notes"),
        done("kv ls --names").prints("notes"),
        done("kv ls notes --verbose --display-value").prints("a.1"),
        done("kv info notes").prints("notes"),
    ]
}

#[tokio::test]
async fn settings() {
    walk(&settings_of_buckets()).await;
}

pub fn settings_of_buckets() -> Vec<Step> {
    vec![
        done("kv put notes a.1 {1} ; kv put notes a.1 {2} ; kv put notes a.1 {3}"),
        done("kv put notes b.1 {4} ; kv put notes b.1 {5} ; kv del notes b.1 -f"),
        done("kv edit notes --description=Notes"),
        done("kv edit notes --history=5"),
        done("kv put notes a.1 {4}"),
        done("kv edit notes --history=1"),
        done("kv edit notes --history=3"),
        done("kv edit notes --ttl=1h"),
        done("kv put notes a.1 {5}"),
        done("kv edit notes --ttl=0s"),
        done("kv edit notes --marker-ttl=1s"),
        done("kv create notes t.1 {6} --ttl=2s").expires("t.1"),
        done("kv purge notes a.1 --ttl=2s -f"),
        done("kv put notes a.1 {7}"),
        refused(
            "kv edit notes --replicas=3",
            "replicas > 1 not supported in non-clustered mode",
        ),
        done("kv edit notes --max-value-size=10KB"),
        done("kv edit notes --max-bucket-size=1MB"),
        done("kv edit notes --max-bucket-size=100"),
        refused("kv put notes b.2 {1}", "maximum bytes exceeded"),
        done("kv edit notes --max-bucket-size=2MB"),
        done("kv edit notes --tags=ssd"),
        done("kv edit notes --cluster=here"),
        done("kv edit notes --compress"),
        done("kv edit notes --no-compress"),
        done("kv edit notes --metadata=owner:ops"),
        done("kv edit notes --republish-source=$KV.notes.> --republish-destination=copies.>"),
        done(
            "kv edit notes --republish-source=$KV.notes.> --republish-destination=copies.> --republish-headers",
        ),
        done("kv edit notes --no-mirror"),
        done("kv add other ; kv put other o.1 {8}"),
        done("kv edit notes --source=other"),
        done("kv add mirrored --mirror=notes"),
        done("kv put mirrored a.1 {9}"),
        done("kv del mirrored -f"),
    ]
}

#[tokio::test]
async fn made_again() {
    walk(&buckets_made_again()).await;
}

/// The service writes in batches where the bucket takes them.
#[tokio::test]
async fn made_again_with_batches() {
    let place = Place::server().await.with_batches();
    walk_at(place, "kv add notes --history=3", &buckets_made_again()).await;
}

pub fn buckets_made_again() -> Vec<Step> {
    vec![
        done("kv put notes a.1 {1} ; kv put notes a.2 {2} ; kv del notes a.2 -f"),
        done("kv del notes -f").fails(BucketNotFound),
        done("kv add notes --history=3"),
        done("kv put notes a.1 {2}"),
        done("kv del notes -f ; kv add notes --history=3").ends_watch(BucketNotFound),
        done("kv put notes a.1 {2}"),
        done("kv del notes -f ; kv add notes --history=3 ; kv put notes a.1 {3}")
            .ends_watch(BucketNotFound),
        done("kv del notes").fails(BucketNotFound),
        done("kv add notes --storage=memory --ttl=1h --description=Notes"),
        done("kv put notes a.1 {4} ; kv put notes a.2 {5}"),
        done("kv del notes -f").fails(BucketNotFound),
        done(
            "kv add notes --history=10 --marker-ttl=1s --max-value-size=10KB --max-bucket-size=1MB --compress --metadata=owner:ops",
        ),
        done("kv create notes t.1 {6} --ttl=2s").expires("t.1"),
        done("kv add other ; kv put other o.1 {7}"),
        done("kv del notes -f").fails(BucketNotFound),
        done("kv add notes --source=other --republish-source=$KV.notes.> --republish-destination=copies.>").arrives("o.1"),
        done("kv put notes a.1 {8}"),
        done("kv del notes -f").fails(BucketNotFound),
        done("kv add notes --mirror=other --replicas=1"),
    ]
}
