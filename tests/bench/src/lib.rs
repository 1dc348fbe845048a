//! Measures one thing against another: the same work done in several ways, in turns within one run.
//!
//! ```sh
//! cargo bench -p natsmicro-bench --bench calls                # everything, some three minutes
//! cargo bench -p natsmicro-bench --bench calls -- "256 in"    # the groups and cases whose name has this in it
//! cargo bench -p natsmicro-bench --bench calls -- --rounds 9 --seconds 1
//! cargo bench -p natsmicro-bench --bench streams              # streams of each kind
//! cargo bench -p natsmicro-bench --bench overhead             # what a call costs beside NATS
//! cargo bench -p natsmicro-bench --bench instructions         # the same in instructions, counted by valgrind
//! cargo bench -p natsmicro-bench --bench in_process           # a call without NATS
//! cargo bench -p natsmicro-bench --bench expansion            # what the macro costs a build
//! cargo bench -p natsmicro-bench --bench memory               # whether memory grows with the number of calls
//! ```
//!
//! A benchmark is a program that calls [`main`] with a [`Bench`]: its [`Case`]s, in groups, and a service. The program starts
//! a nats-server, and itself once more as the service and once per sample as the client, so that a sample has a process, a
//! connection and a memory of its own. In each round all cases take their turn. What is said of a case is the median of the
//! rounds, the smallest and the largest; its ratio to the first case of its group is made round by round, and the median
//! taken of that. Figures are of the machine and the hour, ratios much less so.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::cast_precision_loss,
    reason = "a benchmark that cannot run ends, and prints what it has found"
)]

mod load;
mod options;
mod process;
mod report;
mod rounds;

use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::runtime::Builder;

pub use self::load::{Sample, closed_loop, timed};
use self::options::{Options, Role};
pub use self::process::memory;

/// A program of cases that are measured in turns.
#[derive(Debug)]
pub struct Bench {
    /// What is measured; cases of one group stand together, the first of them being what the others are compared with.
    pub cases: Vec<Case>,
    /// What the ratios should be.
    pub targets: Vec<Target>,
    /// What some of them may cost.
    pub budgets: Vec<Budget>,
    /// Serves all cases on a connection, for ever once it is ready.
    pub service: fn(Serving) -> BoxFuture<'static, ()>,
    /// Whether the service has one thread, rather than one per core.
    pub single_threaded: bool,
    /// How often this process has allocated memory, in a program that counts it.
    pub allocations: Option<fn() -> usize>,
}

/// The subject on which the service process says how often it has allocated memory.
const ALLOCATIONS: &str = "bench.allocations";

/// What the service process has to work with.
#[derive(Debug)]
pub struct Serving {
    /// Its connection.
    pub nats: async_nats::Client,
}

impl Serving {
    /// Says that requests may come, and waits for the end of the process.
    pub async fn ready(self) {
        process::say_ready();
        futures::future::pending::<()>().await;
    }
}

/// One way to do something.
#[derive(Clone)]
pub struct Case {
    group: &'static str,
    name: &'static str,
    client: Arc<dyn Fn(Calling) -> BoxFuture<'static, Sample> + Send + Sync>,
}

impl Case {
    /// A case whose client side is `client`.
    pub fn new<F>(
        group: &'static str,
        name: &'static str,
        client: impl Fn(Calling) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Sample> + Send + 'static,
    {
        Self {
            group,
            name,
            client: Arc::new(move |calling| Box::pin(client(calling))),
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {}", self.group, self.name)
    }
}

/// What the client process of one sample has to work with.
#[derive(Clone, Debug)]
pub struct Calling {
    /// Its connection.
    pub nats: async_nats::Client,
    /// How long the sample takes.
    pub seconds: f64,
}

/// What two cases are compared by.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// How many operations there are in a second.
    Rate,
    /// How fast the median operation is: what one waits for, rather than what the machine does at times.
    Median,
}

/// A ratio that is aimed at: of one case to another of the same group.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The group of both.
    pub group: &'static str,
    /// The case that should be fast.
    pub case: &'static str,
    /// What it is compared with.
    pub against: &'static str,
    /// What of them.
    pub by: By,
    /// The least that the ratio should be.
    pub at_least: f64,
}

/// What one case may cost the service more than another of the same group, per operation.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The group of both.
    pub group: &'static str,
    /// The case that costs more.
    pub case: &'static str,
    /// What it is compared with.
    pub against: &'static str,
    /// Microseconds of CPU time.
    pub cpu_us: f64,
    /// Allocations.
    pub allocations: f64,
}

/// Runs the program in the role that it was started in: benchmark, service or client.
pub fn main(bench: &Bench) {
    let options = Options::from_args();
    let mut runtime = match options.role {
        Role::Service { .. } if bench.single_threaded => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match &options.role {
            Role::Bench => rounds::run(bench, &options).await,
            Role::Service { url } => {
                let nats = async_nats::connect(url).await.expect("a connection");
                if let Some(count) = bench.allocations {
                    tokio::spawn(tell_allocations(nats.clone(), count));
                }
                (bench.service)(Serving { nats }).await;
            }
            Role::Client { url, case } => {
                let nats = async_nats::connect(url).await.expect("a connection");
                let case = bench.cases.get(*case).expect("a case of this number");
                let before = memory();
                let allocations = || bench.allocations.map_or(0, |count| count());
                let allocated = allocations();
                let mut sample = (case.client)(Calling {
                    nats,
                    seconds: options.seconds,
                })
                .await;
                sample.peak_mib = process::peak_memory() - before;
                sample.allocations = allocations() - allocated;
                process::print_line(&sample);
            }
        }
    });
}

async fn tell_allocations(nats: async_nats::Client, count: fn() -> usize) {
    let mut questions = nats.subscribe(ALLOCATIONS).await.expect("a subscription");
    while let Some(question) = questions.next().await {
        if let Some(to) = question.reply {
            let answer = nats.publish(to, count().to_string().into());
            answer.await.expect("a connection");
        }
    }
}
