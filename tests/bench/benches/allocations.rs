//! How often a call allocates memory, on both sides. The counting slows everything down: rates and ratios are for `calls`.
//!
//! `cargo bench -p natsmicro-bench --bench allocations`

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

use natsmicro_bench::Bench;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let mut cases = calls::cases();
    cases.extend(stores::cases());
    // What is of another size or number has the same count.
    cases.retain(|case| {
        let name = format!("{case:?}");
        name.contains("256 in flight") && name.contains("128 B")
    });
    natsmicro_bench::main(&Bench {
        cases,
        targets: Vec::new(),
        service: |serving| Box::pin(service::run(serving)),
        allocations: Some(|| {
            let stats = ALLOCATOR.stats();
            stats.allocations + stats.reallocations
        }),
    });
}
