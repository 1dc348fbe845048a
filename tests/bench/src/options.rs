//! The command line.

use std::env;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) role: Role,
    pub(crate) filters: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) list: bool,
}

#[derive(Debug)]
pub(crate) enum Role {
    Bench,
    Service { url: String },
    Client { url: String, case: usize },
}

const HELP: &str = "\
[FILTER..]      only groups and cases whose name contains one of these
--rounds N      how often each case takes its turn (5)
--seconds S     how long one turn takes (0.4)
--list          name the cases and do nothing";

impl Options {
    pub(crate) fn from_args() -> Self {
        let mut options = Self {
            role: Role::Bench,
            filters: Vec::new(),
            rounds: 5,
            seconds: 0.4,
            list: false,
        };
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| refuse(&arg));
            match arg.as_str() {
                // From cargo.
                "--bench" => {}
                "--rounds" => options.rounds = number(&value()),
                "--seconds" => options.seconds = number(&value()),
                "--help" => {
                    println!("{HELP}");
                    std::process::exit(0);
                }
                "--list" => options.list = true,
                "--service" => options.role = Role::Service { url: value() },
                "--client" => {
                    let url = value();
                    let case = number(&value());
                    options.role = Role::Client { url, case };
                }
                flag if flag.starts_with('-') => refuse(flag),
                filter => options.filters.push(filter.to_owned()),
            }
        }
        options
    }

    /// Whether a case was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| refuse(text))
}

fn refuse(what: &str) -> ! {
    eprintln!("cannot read `{what}`\n\n{HELP}");
    std::process::exit(2)
}
