//! The rounds: each case takes its turn in each.

use natsmicro::testing::NatsServer;

use crate::options::Options;
use crate::process::{Process, cpu_seconds};
use crate::report::{Measured, Report};
use crate::{ALLOCATIONS, Bench};

pub(crate) async fn run(bench: &Bench, options: &Options) {
    let wanted: Vec<usize> = (0..bench.cases.len())
        .filter(|&at| options.wants(&format!("{:?}", bench.cases[at])))
        .collect();
    if options.list || wanted.is_empty() {
        for case in &bench.cases {
            println!("{case:?}");
        }
        return;
    }
    let nats = NatsServer::start().await.expect("a nats-server");
    let mut service = Process::start(&["--service", nats.url()]);
    service.ready().await;
    let connection = nats.connect().await.expect("a connection");
    let allocated = async || -> usize {
        if bench.allocations.is_none() {
            return 0;
        }
        let answer = connection.request(ALLOCATIONS, "".into()).await;
        let answer = answer.expect("an answer").payload;
        String::from_utf8_lossy(&answer).parse().expect("a number")
    };

    let mut report = Report::new(bench, &wanted);
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        // There and back, so that a machine that gets slower or faster does not favour what stands first.
        let mut turns = wanted.clone();
        if round % 2 == 0 {
            turns.reverse();
        }
        for at in turns {
            let allocations = allocated().await;
            let processes = [service.id(), nats.pid()];
            let before = processes.map(cpu_seconds);
            let (number, seconds) = (at.to_string(), options.seconds.to_string());
            let client = Process::start(&["--client", nats.url(), &number, "--seconds", &seconds]);
            let sample = client.sample().await;
            if sample.is_none() {
                eprintln!("{:?}: the client has failed", bench.cases[at]);
            }
            let after = processes.map(cpu_seconds);
            let service_allocations = allocated().await - allocations;
            let measured = sample.map(|sample| Measured {
                sample,
                service_cpu: after[0] - before[0],
                server_cpu: after[1] - before[1],
                service_allocations,
            });
            report.add(at, measured);
        }
    }
    report.print();
}
