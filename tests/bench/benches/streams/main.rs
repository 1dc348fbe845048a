//! Streams of each kind, and plain publish and subscribe of the same messages by hand on async-nats.
//!
//! `cargo bench -p natsmicro-bench --bench streams`; what it does and takes is told in `natsmicro_bench`. By hand there is no
//! flow control: what a reader does not keep up with is lost, and only what arrives is counted.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a program")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run ends"
)]

mod by_hand;
mod ours;

use std::time::{Duration, Instant};

use bytes::Bytes;
use natsmicro_bench::{Bench, By, Case, Target};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Item {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
}

/// How many milliseconds of messages of which size.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Order {
    #[prost(uint64, tag = "1")]
    pub(crate) millis: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) size: u64,
    #[prost(string, tag = "3")]
    pub(crate) inbox: String,
}

impl Order {
    pub(crate) fn of(seconds: f64, size: u64, inbox: String) -> Self {
        let millis = u64::try_from(Duration::from_secs_f64(seconds).as_millis()).unwrap();
        Self {
            millis,
            size,
            inbox,
        }
    }

    /// The messages, until the time is over.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item> + Send + use<> {
        let end = Instant::now() + Duration::from_millis(self.millis);
        let data = Bytes::from(vec![7; usize::try_from(self.size).unwrap()]);
        (0..).map_while(move |number| {
            let data = data.clone();
            (Instant::now() < end).then_some(Item { number, data })
        })
    }
}

const BY_HAND: &str = "by hand: publish and subscribe";
const OURS: &str = "natsmicro";

fn main() {
    let mut cases = Vec::new();
    let mut targets = Vec::new();
    for (size, [responses, requests, both], at_least) in [
        (
            112,
            [
                "service streams, 128 B",
                "caller streams, 128 B",
                "both stream, 128 B",
            ],
            0.8,
        ),
        (
            4080,
            [
                "service streams, 4 KiB",
                "caller streams, 4 KiB",
                "both stream, 4 KiB",
            ],
            0.8,
        ),
    ] {
        cases.extend([
            Case::new(responses, BY_HAND, move |calling| {
                by_hand::responses(calling, size)
            }),
            Case::new(responses, OURS, move |calling| {
                ours::responses(calling, size)
            }),
            Case::new(requests, BY_HAND, move |calling| {
                by_hand::requests(calling, size)
            }),
            Case::new(requests, OURS, move |calling| ours::requests(calling, size)),
            Case::new(both, BY_HAND, move |calling| by_hand::both(calling, size)),
            Case::new(both, OURS, move |calling| ours::both(calling, size)),
        ]);
        targets.extend([responses, requests, both].map(|group| Target {
            group,
            case: OURS,
            against: BY_HAND,
            by: By::Rate,
            at_least,
        }));
    }
    natsmicro_bench::main(&Bench {
        cases,
        targets,
        service: |serving| {
            Box::pin(async move {
                let _server = ours::serve(&serving.nats).await;
                by_hand::serve(&serving.nats).await;
                serving.ready().await;
            })
        },
        budgets: Vec::new(),
        single_threaded: false,
        allocations: None,
    });
}
