//! Calls without a store.

use async_nats::Client;
use natsmicro_bench::{Calling, Case, Sample, closed_loop};
use prost::Message as _;

use crate::api::{
    COMPUTING, COMPUTING_IN_PLACE, IN_PLACE, Item, MODULE, OursClient, SPAWNED, WAITING,
};

pub(crate) const SPAWNS: &str = "by hand: request(), a task per request";
pub(crate) const IS_IN_PLACE: &str = "by hand: request(), handled in place";
const IS_MODULE: &str = "by hand: request(), async_nats::service";
pub(crate) const OURS: &str = "natsmicro";

/// Name of the group, calls in flight, size.
pub(crate) const SHAPES: [(&str, usize, usize); 6] = [
    ("128 B, 1 in flight", 1, 128),
    ("128 B, 16 in flight", 16, 128),
    ("128 B, 256 in flight", 256, 128),
    ("16 KiB, 1 in flight", 1, 16_384),
    ("16 KiB, 16 in flight", 16, 16_384),
    ("16 KiB, 256 in flight", 256, 16_384),
];
pub(crate) const COMPUTE: &str = "1 ms of computing, 128 B, 16 in flight";
pub(crate) const WAIT: &str = "1 ms handler, 128 B, 256 in flight";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (group, in_flight, size) in SHAPES {
        let by_hand = [
            (SPAWNS, SPAWNED),
            (IS_IN_PLACE, IN_PLACE),
            (IS_MODULE, MODULE),
        ];
        for (name, subject) in by_hand {
            cases.push(Case::new(group, name, move |calling| {
                request(calling, subject, in_flight, size)
            }));
        }
        cases.push(Case::new(group, OURS, move |calling| {
            echo(calling, in_flight, size)
        }));
    }
    cases.push(Case::new(WAIT, SPAWNS, |calling| {
        request(calling, WAITING, 256, 128)
    }));
    cases.push(Case::new(WAIT, OURS, |calling| async move {
        let ours = OursClient::new(calling.nats);
        closed_loop(256, calling.seconds, move |number, turn| {
            let ours = ours.clone();
            async move { ours.wait(item(number, turn, 128)).await.is_ok() }
        })
        .await
    }));
    for (name, subject) in [(SPAWNS, COMPUTING), (IS_IN_PLACE, COMPUTING_IN_PLACE)] {
        cases.push(Case::new(COMPUTE, name, move |calling| {
            request(calling, subject, 16, 128)
        }));
    }
    cases.push(Case::new(COMPUTE, OURS, |calling| async move {
        let ours = OursClient::new(calling.nats);
        closed_loop(16, calling.seconds, move |number, turn| {
            let ours = ours.clone();
            async move { ours.compute(item(number, turn, 128)).await.is_ok() }
        })
        .await
    }));
    cases
}

pub(crate) fn item(number: usize, turn: u64, size: usize) -> Item {
    Item::of(format!("{number}-{}", turn % 40), size)
}

pub(crate) async fn request(
    calling: Calling,
    subject: &'static str,
    in_flight: usize,
    size: usize,
) -> Sample {
    let nats = calling.nats;
    closed_loop(in_flight, calling.seconds, move |number, turn| {
        let nats = nats.clone();
        async move { ask(&nats, subject, &item(number, turn, size)).await }
    })
    .await
}

async fn ask(nats: &Client, subject: &'static str, item: &Item) -> bool {
    let answer = nats.request(subject, item.encode_to_vec().into()).await;
    answer.is_ok_and(|message| Item::decode(message.payload).is_ok())
}

pub(crate) async fn echo(calling: Calling, in_flight: usize, size: usize) -> Sample {
    let ours = OursClient::new(calling.nats);
    closed_loop(in_flight, calling.seconds, move |number, turn| {
        let ours = ours.clone();
        async move { ours.echo(item(number, turn, size)).await.is_ok() }
    })
    .await
}
