//! Tests that keep the machine busy, one at a time. A program of its own: others would miss their deadlines beside them, and
//! these would be late beside others.

mod many_readers;
mod thousands_of_streams;

use tokio::sync::{Mutex, MutexGuard};

/// Waits until no other of these tests runs.
async fn alone() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::const_new(());
    RUNNING.lock().await
}
