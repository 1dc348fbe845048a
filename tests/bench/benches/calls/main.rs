//! Calls, stored responses, reads and objects: natsmicro and the same written by hand on async-nats.
//!
//! `cargo bench -p natsmicro-bench --bench calls`; what it does and takes is told in `natsmicro_bench`.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "a program")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run ends"
)]

mod api;
mod by_hand;
mod calls;
mod service;
mod stores;
mod targets;

use natsmicro_bench::Bench;

fn main() {
    let mut cases = calls::cases();
    cases.extend(stores::cases());
    natsmicro_bench::main(&Bench {
        cases,
        targets: targets::all(),
        budgets: Vec::new(),
        service: |serving| Box::pin(service::run(serving)),
        single_threaded: false,
        allocations: None,
    });
}
