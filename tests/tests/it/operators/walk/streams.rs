//! Walks through `nats stream` and `nats consumer` on the stream of a bucket.

use natsmicro::store::StoreErrorKind::{BucketNotFound, Nats};

use super::steps::{Step, done, refused};
use super::walk;

#[tokio::test]
async fn contents() {
    walk(&contents_of_streams()).await;
}

pub fn contents_of_streams() -> Vec<Step> {
    vec![
        done("kv put notes a.1 {1} ; kv put notes a.2 {2} ; kv put notes a.3 {3}"),
        done("kv put notes a.1 {4} ; kv put notes b.1 {5} ; kv put notes b.1 {6}"),
        done("stream ls -a").prints("KV_notes"),
        done("stream report").prints("KV_notes"),
        done("stream find --names").prints("KV_notes"),
        done("stream info KV_notes").prints("$KV.notes.>"),
        done("stream state KV_notes").prints("Messages"),
        done("stream subjects KV_notes").prints("$KV.notes.a.1"),
        done("stream view KV_notes 2").prints("$KV.notes."),
        done("stream get KV_notes @a.1").prints("\"n\":4"),
        done("stream get KV_notes -S $KV.notes.a.1").prints("\"n\":4"),
        done("stream gaps KV_notes -f").prints("gaps found"),
        done("stream graph KV_notes").prints("Message"),
        refused(
            "stream rmm KV_notes @a.1 -f",
            "message delete not permitted",
        ),
        done("stream purge KV_notes -f --subject=$KV.notes.b.1 --keep=1"),
        done("stream purge KV_notes -f --subject=$KV.notes.b.1").untold(&["b.1"]),
        done("kv del notes a.3 -f"),
        done("stream purge KV_notes -f --subject=$KV.notes.a.3"),
        done("kv put notes c.1 {7}"),
        done("stream purge KV_notes -f --seq @c.1").untold(&["a.1", "a.2"]),
        done("kv put notes a.1 {8}"),
        done("stream purge KV_notes -f --keep=1").untold(&["a.1", "c.1"]),
        done("kv put notes a.1 {9} ; kv put notes a.2 {9}"),
        done("stream purge KV_notes -f").untold(&["a.1", "a.2"]),
        done("kv put notes a.1 {10}"),
        refused("stream cluster step-down KV_notes", "not clustered"),
        done("stream copy KV_notes KV_copied --subjects=$KV.copied.>"),
        done("kv put copied a.1 {11}"),
        done("stream add KV_added --subjects=$KV.added.> --defaults"),
    ]
}

#[tokio::test]
async fn settings() {
    walk(&settings_of_streams()).await;
}

pub fn settings_of_streams() -> Vec<Step> {
    vec![
        done("kv put notes a.1 {1} ; kv put notes a.1 {2} ; kv put notes b.1 {3}"),
        done("stream edit KV_notes -f --description=Notes"),
        done("stream edit KV_notes -f --compression=s2"),
        done("stream edit KV_notes -f --no-allow-direct"),
        done("stream edit KV_notes -f --allow-direct"),
        done("stream edit KV_notes -f --max-age=1h"),
        done("stream edit KV_notes -f --max-msgs-per-subject=1"),
        done("stream edit KV_notes -f --max-msgs-per-subject=5"),
        done("stream edit KV_notes -f --discard=old"),
        done("stream edit KV_notes -f --max-msgs=3").untold(&["a.1", "b.1"]),
        done("stream edit KV_notes -f --max-msgs=1000"),
        done("stream edit KV_notes -f --max-bytes=100000"),
        done("stream edit KV_notes -f --max-msg-size=10000"),
        done("stream edit KV_notes -f --max-consumers=100"),
        done("stream edit KV_notes -f --dupe-window=1m"),
        done("stream edit KV_notes -f --discard=new"),
        done("stream edit KV_notes -f --discard-per-subject")
            .becomes_no_bucket()
            .read_only(),
        done("stream edit KV_notes -f --no-discard-per-subject"),
        done("stream edit KV_notes -f --allow-batch"),
        done("stream edit KV_notes -f --no-allow-batch"),
        done("stream edit KV_notes -f --allow-fast"),
        done("stream edit KV_notes -f --no-allow-fast"),
        done("stream edit KV_notes -f --allow-msg-ttl"),
        done("stream edit KV_notes -f --subject-del-markers-ttl=1m"),
        refused(
            "stream edit KV_notes -f --allow-schedules",
            "message scheduling cannot use discard new",
        ),
        done("stream edit KV_notes -f --metadata=owner:ops"),
        done(
            "stream edit KV_notes -f --republish-source=$KV.notes.> --republish-destination=copies.>",
        ),
        done("stream edit KV_notes -f --no-republish"),
        done("stream edit KV_notes -f --deny-delete"),
        refused(
            "stream edit KV_notes -f --no-deny-delete",
            "can not cancel deny message deletes",
        ),
        refused(
            "stream edit KV_notes -f --deny-purge",
            "roll-ups require the purge permission",
        ),
        refused(
            "stream edit KV_notes -f --retention=work",
            "can not change retention policy",
        ),
        refused(
            "stream edit KV_notes -f --replicas=3",
            "replicas > 1 not supported",
        ),
        refused("stream edit KV_notes -f --allow-counter", "counter"),
        refused("stream edit KV_notes -f --mirror=KV_other", ""),
        done("stream edit KV_notes -f --no-mirror"),
        done("stream edit KV_notes -f --tag=ssd"),
        done("stream edit KV_notes -f --cluster=here"),
        done(
            "stream edit KV_notes -f --republish-source=$KV.notes.> --republish-destination=copies.> --republish-headers",
        ),
        done("kv add other"),
        refused(
            "stream edit KV_notes -f --source=KV_other",
            "cannot edit mirrors, or sources",
        ),
        done("stream edit KV_notes -f --allow-mirror-direct"),
        refused(
            "stream edit KV_notes -f --dry-run --description=Other",
            "Other",
        ),
    ]
}

/// What makes the stream something else than a bucket.
#[tokio::test]
async fn no_bucket() {
    walk(&streams_that_are_no_buckets()).await;
}

pub fn streams_that_are_no_buckets() -> Vec<Step> {
    vec![
        done("kv put notes a.1 {1} ; kv put notes b.1 {3}"),
        done("stream edit KV_notes -f --no-ack").becomes_no_bucket().read_only(),
        done("stream edit KV_notes -f --ack"),
        done("stream edit KV_notes -f --no-allow-rollup").becomes_no_bucket(),
        done("stream edit KV_notes -f --allow-rollup"),
        done("stream edit KV_notes -f --subjects=other.>")
            .becomes_no_bucket()
            .read_only(),
        done("stream edit KV_notes -f --subjects=$KV.notes.>"),
        done("stream edit KV_notes -f --retention=interest")
            .untold(&["a.1", "b.1"])
            .becomes_no_bucket(),
        done("stream edit KV_notes -f --retention=limits"),
        done("stream edit KV_notes -f --transform-source=$KV.notes.> --transform-destination=$KV.other.>").becomes_no_bucket().misled(),
        done("stream edit KV_notes -f --no-transform"),
    ]
}

#[tokio::test]
async fn restored() {
    walk(&streams_restored()).await;
}

pub fn streams_restored() -> Vec<Step> {
    vec![
        done("kv put notes a.1 {1} ; kv put notes a.2 {2}"),
        done("backup stream KV_notes saved --no-progress"),
        done("stream backup KV_notes deprecated --no-progress"),
        done("kv put notes a.1 {3} ; kv put notes a.3 {4}"),
        done("stream rm KV_notes -f").fails(BucketNotFound),
        done("backup restore stream saved --no-progress"),
        done("kv put notes a.1 {5} ; kv del notes a.2 -f"),
        done("stream rm KV_notes -f ; stream restore deprecated --no-progress").ends_watch(BucketNotFound),
        done("kv put notes a.1 {6} ; kv put notes a.4 {6}"),
        done("stream rm KV_notes -f ; stream restore deprecated --no-progress ; kv put notes a.1 {7} ; kv put notes a.1 {7} ; kv put notes a.1 {7} ; kv put notes a.1 {7} ; kv put notes a.1 {7} ; kv put notes a.1 {7} ; kv put notes a.1 {8}").ends_watch(BucketNotFound),
    ]
}

#[tokio::test]
async fn sealed() {
    walk(&streams_sealed()).await;
}

pub fn streams_sealed() -> Vec<Step> {
    vec![
        done("kv put notes a.1 {1} ; kv put notes a.2 {2} ; kv del notes a.2 -f"),
        done("stream seal KV_notes -f").read_only(),
        refused("kv put notes a.1 {2}", "invalid operation on sealed stream").read_only(),
        done("stream edit KV_notes -f --description=Notes").read_only(),
        refused("stream purge KV_notes -f", "").read_only(),
        done("stream rm KV_notes -f").fails(BucketNotFound),
        done("kv add notes --history=3"),
    ]
}

#[tokio::test]
async fn consumers() {
    walk(&consumers_of_streams()).await;
}

pub fn consumers_of_streams() -> Vec<Step> {
    vec![
        done("kv put notes a.1 {1} ; kv put notes b.1 {2}"),
        done("consumer ls -a KV_notes"),
        done("consumer info KV_notes @consumer"),
        done("consumer state KV_notes @consumer"),
        done("consumer report KV_notes"),
        done("consumer find KV_notes"),
        done("consumer rm KV_notes @consumer -f"),
        done("kv put notes a.1 {3}"),
        done("consumer rm KV_notes @consumer -f ; kv put notes a.1 {4} ; kv del notes b.1 -f"),
        done("consumer pause KV_notes @consumer 1h -f ; kv put notes a.1 {5}"),
        done("consumer reset KV_notes @consumer -f"),
        refused(
            "consumer edit KV_notes @consumer -f --description=edited",
            "only durable consumers can be edited",
        ),
        done("consumer add KV_notes mine --pull --defaults"),
        done("consumer edit KV_notes mine -f --description=edited"),
        done("consumer copy KV_notes mine yours"),
        done("consumer next KV_notes mine --no-ack"),
        done("consumer reset KV_notes mine --sequence=1 -f"),
        done("consumer pause KV_notes mine 1h -f"),
        done("consumer resume KV_notes mine -f"),
        done("consumer rm KV_notes mine -f"),
        refused("consumer unpin KV_notes yours group -f", ""),
        done(
            "kv put notes a.1 {9} ; stream purge KV_notes -f --subject=$KV.notes.a.1 ; consumer rm KV_notes @consumer -f",
        )
        .ends_watch(Nats),
    ]
}
