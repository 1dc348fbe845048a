//! What a call costs in the service beside NATS: the time and the allocations of a call, less those of a service that sends
//! each payload back without a look at it. Both are called by the same client, and run on one thread, so that neither the
//! wake-ups of other threads nor another load blur the difference. The counting takes time too.
//!
//! `cargo bench -p natsmicro-bench --bench overhead`

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a program")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run ends"
)]

#[path = "calls/api.rs"]
mod api;
#[path = "calls/by_hand.rs"]
mod by_hand;
#[path = "calls/calls.rs"]
mod calls;
#[path = "calls/service.rs"]
mod service;
#[path = "calls/stores.rs"]
mod stores;

use std::alloc::System;

use natsmicro_bench::{Bench, Budget, Calling, Case, Sample, closed_loop};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::api::OursClient;
use crate::calls::{OURS, SHAPES, item};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NATS_ALONE: &str = "the payload sent back";

fn main() {
    let [_, _, (many, ..), ..] = SHAPES;
    let mut cases = vec![Case::new(many, NATS_ALONE, sent_back)];
    // What is of another size or number costs the same beside NATS.
    let all = calls::cases().into_iter().chain(stores::cases());
    cases.extend(all.filter(|case| {
        let name = format!("{case:?}");
        name.contains("256 in flight") && name.contains("128 B")
    }));
    let itself = Budget {
        group: many,
        case: OURS,
        against: NATS_ALONE,
        cpu_us: 1.0,
        allocations: 5.0,
    };
    natsmicro_bench::main(&Bench {
        cases,
        targets: Vec::new(),
        budgets: vec![itself],
        service: |serving| Box::pin(service::run(serving)),
        single_threaded: true,
        allocations: Some(|| {
            let stats = ALLOCATOR.stats();
            stats.allocations + stats.reallocations
        }),
    });
}

async fn sent_back(calling: Calling) -> Sample {
    let client = OursClient::new(calling.nats).with_subject_prefix(api::SENT_BACK);
    closed_loop(256, calling.seconds, move |number, turn| {
        let client = client.clone();
        async move { client.echo(item(number, turn, 128)).await.is_ok() }
    })
    .await
}
