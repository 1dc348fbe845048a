//! Walks through what moves a bucket between the servers of a cluster.

use super::steps::{Step, done, refused};
use super::{Place, walk_at};

#[tokio::test]
async fn moved_between_servers() {
    let add = "kv add notes --history=3 --replicas=3";
    walk_at(Place::cluster().await, add, &moves_in_clusters()).await;
}

pub fn moves_in_clusters() -> Vec<Step> {
    vec![
        done("kv put notes a.1 {1} ; kv put notes a.2 {2} ; kv put notes b.1 {3}"),
        done("stream cluster step-down KV_notes -f"),
        done("kv put notes a.1 {4} ; kv del notes b.1 -f"),
        // Those of readers are on one server.
        done("consumer add KV_notes mine --pull --defaults"),
        done("consumer cluster step-down KV_notes mine"),
        done("stream cluster balance"),
        done("consumer cluster balance KV_notes"),
        // There is no fourth server.
        refused(
            "consumer cluster evacuate KV_notes mine @leader -f",
            "peer remap failed",
        ),
        refused(
            "stream cluster evacuate KV_notes @leader -f",
            "peer remap failed",
        ),
        done("kv edit notes --replicas=1"),
        done("kv put notes a.1 {5}"),
        done("stream cluster evacuate KV_notes @leader -f"),
        done("kv put notes a.1 {6}"),
        refused(
            "stream cluster cancel-move KV_notes -f",
            "stream reconfiguration not in progress",
        ),
        done("stream edit KV_notes -f --replicas=3"),
        done("kv put notes a.1 {7}"),
    ]
}
