//! Tests that keep the machine busy, one at a time. A program of its own: others would miss their deadlines beside them, and
//! these would be late beside others.

mod held_replies;
mod many_calls;
mod many_readers;
mod overload;
mod server_process;
mod stopped_nats;
mod thousands_of_streams;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::sync::{Mutex, MutexGuard};

/// For the processes that say how much they hold.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Waits until no other of these tests runs.
async fn alone() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::const_new(());
    RUNNING.lock().await
}
