//! Load on a service: calls that follow each other, a number of them at once.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::process;

/// What one turn of a case has found.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// How many operations were counted.
    pub operations: u64,
    /// How many were done, with those before the counting began.
    pub all: u64,
    /// How many of them failed.
    pub failures: u64,
    /// The time from the first to the last.
    pub seconds: f64,
    /// The CPU time of the client.
    pub client_cpu: f64,
    /// The median time of one operation, in microseconds.
    pub p50: f64,
    /// The time within which 99 of 100 operations were done.
    pub p99: f64,
    /// By how much the memory of the client grew at most.
    pub peak_mib: f64,
    /// How often the client allocated memory, in a program that counts it.
    pub allocations: usize,
}

/// What one of the loops has found.
struct Loop {
    micros: Vec<f64>,
    turns: u64,
    failures: u64,
    from: Instant,
    to: Instant,
}

/// Does `operation` again and again in `in_flight` loops. It is told the number of its loop and of its turn there, and says
/// whether it went well. What begins in the first fifth of the time is not counted; at least one operation per loop is.
pub async fn closed_loop<F>(
    in_flight: usize,
    seconds: f64,
    operation: impl Fn(usize, u64) -> F + Clone + Send + Sync + 'static,
) -> Sample
where
    F: Future<Output = bool> + Send,
{
    let warm = Instant::now() + Duration::from_secs_f64(seconds * 0.2);
    let end = warm + Duration::from_secs_f64(seconds);
    let loops: Vec<_> = (0..in_flight)
        .map(|number| {
            let operation = operation.clone();
            tokio::spawn(async move { run(warm, end, |turn| operation(number, turn)).await })
        })
        .collect();
    tokio::time::sleep_until(warm.into()).await;
    let me = Some(std::process::id());
    let cpu = process::cpu_seconds(me);
    let mut found = Vec::with_capacity(in_flight);
    for one in loops {
        found.push(one.await.expect("a loop that ends"));
    }
    let client_cpu = process::cpu_seconds(me) - cpu;
    summary(&found, client_cpu)
}

async fn run<F>(warm: Instant, end: Instant, operation: impl Fn(u64) -> F) -> Loop
where
    F: Future<Output = bool>,
{
    let mut found = Loop {
        micros: Vec::new(),
        turns: 0,
        failures: 0,
        from: end,
        to: end,
    };
    for turn in 0.. {
        let begin = Instant::now();
        let is_done = operation(turn).await;
        let now = Instant::now();
        found.turns += 1;
        if begin >= warm {
            found.from = found.from.min(begin);
            found.to = now;
            found.failures += u64::from(!is_done);
            found.micros.push((now - begin).as_secs_f64() * 1e6);
            if now >= end {
                break;
            }
        }
    }
    found
}

fn summary(loops: &[Loop], client_cpu: f64) -> Sample {
    let mut micros: Vec<f64> = loops.iter().flat_map(|one| &one.micros).copied().collect();
    micros.sort_by(f64::total_cmp);
    let at = |share: usize| micros[(micros.len() - 1) * share / 100];
    let from = loops.iter().map(|one| one.from).min().expect("a loop");
    let to = loops.iter().map(|one| one.to).max().expect("a loop");
    Sample {
        operations: micros.len() as u64,
        all: loops.iter().map(|one| one.turns).sum(),
        failures: loops.iter().map(|one| one.failures).sum(),
        seconds: (to - from).as_secs_f64(),
        client_cpu,
        p50: at(50),
        p99: at(99),
        peak_mib: 0.0,
        allocations: 0,
    }
}
