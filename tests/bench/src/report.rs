//! Medians, their spread, and ratios.

use crate::{Bench, By, Case, Sample};

/// What one turn of a case has cost everywhere.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) sample: Sample,
    pub(crate) service_cpu: f64,
    pub(crate) server_cpu: f64,
    pub(crate) service_allocations: usize,
}

impl Measured {
    fn rate(&self) -> f64 {
        (self.sample.operations - self.sample.failures) as f64 / self.sample.seconds
    }

    fn speed(&self) -> f64 {
        1.0 / self.sample.p50
    }

    fn service_cpu_us(&self) -> f64 {
        self.service_cpu * 1e6 / self.sample.all as f64
    }

    fn service_allocations(&self) -> f64 {
        self.service_allocations as f64 / self.sample.all as f64
    }
}

/// All turns of all cases.
pub(crate) struct Report<'a> {
    bench: &'a Bench,
    rows: Vec<(usize, Vec<Turn>)>,
}

/// What one round has found; nothing if the client has failed.
type Turn = Option<Measured>;

/// What two cases have found in the same rounds.
fn pairs<'a>(
    one: &'a [Turn],
    other: &'a [Turn],
) -> impl Iterator<Item = (&'a Measured, &'a Measured)> {
    let pairs = one.iter().zip(other);
    pairs.filter_map(|(one, other)| Some((one.as_ref()?, other.as_ref()?)))
}

fn has_failed(turns: &[Turn]) -> bool {
    let is_sound = |turn: &Turn| matches!(turn, Some(measured) if measured.sample.failures == 0);
    !turns.iter().all(is_sound)
}

/// Median, smallest and largest.
struct Spread([f64; 3]);

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Some(Self([
            *values.get(values.len().checked_sub(1)? / 2)?,
            *values.first()?,
            *values.last()?,
        ]))
    }
}

impl<'a> Report<'a> {
    pub(crate) fn new(bench: &'a Bench, wanted: &[usize]) -> Self {
        let rows = wanted.iter().map(|&at| (at, Vec::new())).collect();
        Self { bench, rows }
    }

    pub(crate) fn add(&mut self, at: usize, measured: Turn) {
        if let Some((_, turns)) = self.rows.iter_mut().find(|(case, _)| *case == at) {
            turns.push(measured);
        }
    }

    pub(crate) fn print(&self) {
        let mut group = "";
        let mut base: &[Turn] = &[];
        for (at, turns) in &self.rows {
            let case = &self.bench.cases[*at];
            if case.group != group {
                (group, base) = (case.group, turns);
                println!(
                    "\n{:<46}{:>9} {:>17}  {:>6} {:>13}{:>10}{:>10}  {:>20}{:>8}{}",
                    group,
                    "op/s",
                    "(min..max)",
                    "ratio",
                    "(min..max)",
                    "p50 us",
                    "p99 us",
                    "CPU us/op c/s/nats",
                    "MiB",
                    self.bench
                        .allocations
                        .map_or("", |_| "  allocations/op c/s")
                );
            }
            self.print_row(case, turns, base);
        }
        println!();
        self.print_targets();
        self.print_budgets();
    }

    /// The turns of two cases of a group, if both were measured.
    fn pair(&self, group: &str, names: [&str; 2]) -> Option<[&[Turn]; 2]> {
        let turns = |name| {
            self.rows.iter().find_map(|(at, turns)| {
                let case = &self.bench.cases[*at];
                (case.group == group && case.name == name).then_some(turns.as_slice())
            })
        };
        let [one, other] = names;
        Some([turns(one)?, turns(other)?])
    }

    fn print_budgets(&self) {
        for budget in &self.bench.budgets {
            let Some([one, other]) = self.pair(budget.group, [budget.case, budget.against]) else {
                continue;
            };
            for (what, of, at_most) in [
                (
                    "us CPU",
                    Measured::service_cpu_us as fn(&Measured) -> f64,
                    budget.cpu_us,
                ),
                (
                    "allocations",
                    Measured::service_allocations,
                    budget.allocations,
                ),
            ] {
                let differences = pairs(one, other).map(|(one, other)| of(one) - of(other));
                let Some(Spread([median, min, max])) = Spread::of(differences) else {
                    continue;
                };
                println!(
                    "{}: {} costs the service {median:.2} ({min:.2}..{max:.2}) {what} per operation more than {}; aim {at_most}: {}",
                    budget.group,
                    budget.case,
                    budget.against,
                    verdict((median * 10.0).round() / 10.0 <= at_most, [one, other])
                );
            }
        }
    }

    fn print_targets(&self) {
        for target in &self.bench.targets {
            let Some([one, other]) = self.pair(target.group, [target.case, target.against]) else {
                continue;
            };
            let speed = match target.by {
                By::Rate => Measured::rate,
                By::Median => Measured::speed,
            };
            let Some(Spread([median, min, max])) = ratios(one, other, speed) else {
                continue;
            };
            println!(
                "{}: {} is {median:.2} ({min:.2}..{max:.2}) of {}; aim {:.2}: {}",
                target.group,
                target.case,
                target.against,
                target.at_least,
                verdict(median >= target.at_least, [one, other])
            );
        }
    }

    fn print_row(&self, case: &Case, turns: &[Turn], base: &[Turn]) {
        let spread = |of: fn(&Measured) -> f64| Spread::of(turns.iter().flatten().map(of));
        let median = |of| spread(of).map_or(0.0, |Spread([median, ..])| median);
        let (Some(Spread(rate)), Some(Spread(ratio))) =
            (spread(Measured::rate), ratios(turns, base, Measured::rate))
        else {
            println!("  {:<44} no result", case.name);
            return;
        };
        let failed = turns.iter().flatten().map(|turn| turn.sample.failures);
        let failures =
            failed.sum::<u64>() + turns.iter().filter(|turn| turn.is_none()).count() as u64;
        println!(
            "  {:<44}{:>9.0} {:>17}  {:>6.2} {:>13}{:>10.0}{:>10.0}  {:>20}{:>8.1}{}{}",
            case.name,
            rate[0],
            format!("({:.0}..{:.0})", rate[1], rate[2]),
            ratio[0],
            format!("({:.2}..{:.2})", ratio[1], ratio[2]),
            median(|turn| turn.sample.p50),
            median(|turn| turn.sample.p99),
            format!(
                "{:.1}/{:.1}/{:.1}",
                median(|turn| turn.sample.client_cpu * 1e6 / turn.sample.operations as f64),
                median(Measured::service_cpu_us),
                median(|turn| turn.server_cpu * 1e6 / turn.sample.all as f64),
            ),
            median(|turn| turn.sample.peak_mib),
            self.bench.allocations.map_or_else(String::new, |_| format!(
                "{:>19}",
                format!(
                    "{:.1}/{:.1}",
                    median(|turn| turn.sample.allocations as f64 / turn.sample.all as f64),
                    median(Measured::service_allocations),
                )
            )),
            if failures > 0 {
                format!("  {failures} FAILED")
            } else {
                String::new()
            }
        );
    }
}

fn verdict(is_met: bool, cases: [&[Turn]; 2]) -> &'static str {
    match is_met {
        _ if cases.into_iter().any(has_failed) => "FAILED",
        true => "met",
        false => "MISSED",
    }
}

fn ratios(turns: &[Turn], base: &[Turn], of: fn(&Measured) -> f64) -> Option<Spread> {
    Spread::of(pairs(turns, base).map(|(one, other)| of(one) / of(other)))
}
