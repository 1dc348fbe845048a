//! The walks leave nothing out that the program can do to a bucket.

use std::collections::BTreeSet;

use natsmicro_tests::persistence::Nats;

use super::program::Program;
use super::{clusters, entries, objects, streams};

/// Commands that no walk has, and why.
const COMMANDS: [(&str, &str); 12] = [
    ("consumer cluster", "its commands are listed by themselves"),
    (
        "consumer graph",
        "draws numbers of a consumer, and changes nothing",
    ),
    ("stream cluster", "its commands are listed by themselves"),
    (
        "backup account",
        "makes the backup of each stream, as `backup stream`",
    ),
    ("backup edit", "works on a directory"),
    ("backup info", "works on a directory"),
    ("backup restore", "its commands are listed by themselves"),
    (
        "backup restore account",
        "restores each stream, as `backup restore stream`",
    ),
    ("backup validate", "works on a directory"),
    ("backup lookup", "works on a directory"),
    ("stream backup", "deprecated, and not listed"),
    ("stream restore", "deprecated, and not listed"),
];

/// Flags of the commands that change settings which no walk has, and why.
const FLAGS: [(&str, &str, &str); 4] = [
    ("stream edit", "config", "the same settings, from a file"),
    (
        "stream edit",
        "interactive",
        "the same settings, from an editor",
    ),
    ("stream edit", "json", "prints the settings in another form"),
    ("stream edit", "force", "`-f` is the same"),
];

/// The groups of commands that act on buckets.
const GROUPS: [&str; 8] = [
    "kv",
    "object",
    "stream",
    "stream cluster",
    "consumer",
    "consumer cluster",
    "backup",
    "backup restore",
];

/// All commands of all walks.
fn walked() -> Vec<&'static str> {
    let walks = [
        entries::keys_and_values(),
        entries::settings_of_buckets(),
        entries::buckets_made_again(),
        streams::contents_of_streams(),
        streams::settings_of_streams(),
        streams::streams_that_are_no_buckets(),
        streams::streams_restored(),
        streams::streams_sealed(),
        streams::consumers_of_streams(),
        objects::objects_and_files(),
        objects::settings_of_objects(),
        clusters::moves_in_clusters(),
    ];
    let steps = walks.into_iter().flatten();
    steps.flat_map(|step| step.commands.split(" ; ")).collect()
}

#[tokio::test]
async fn every_command_is_walked() {
    let nats = Nats::start().await;
    let Some(program) = Program::of(nats.server.url()) else {
        return;
    };
    let walked = walked();
    let mut missing = BTreeSet::new();
    for group in GROUPS {
        let words: Vec<&str> = group.split(' ').chain(["--help"]).collect();
        let help = program.read(&words).await.text;
        let commands = help.lines().filter_map(|line| {
            let command = line.strip_prefix(&format!("  {group} "))?;
            let name = command.split("  ").next()?.trim();
            (!name.is_empty()).then(|| format!("{group} {name}"))
        });
        let commands: Vec<String> = commands.collect();
        assert!(!commands.is_empty(), "{group}: {help}");
        for command in commands {
            let is_walked = walked.iter().any(|it| is_command(it, &command))
                // The walks begin with them.
                || ["kv add", "object add"].contains(&&*command);
            let has_reason = COMMANDS.iter().any(|(name, _)| *name == command);
            if !is_walked && !has_reason {
                missing.insert(command);
            }
        }
    }
    assert!(missing.is_empty(), "no walk has {missing:?}");
}

#[tokio::test]
async fn every_setting_is_walked() {
    let nats = Nats::start().await;
    let Some(program) = Program::of(nats.server.url()) else {
        return;
    };
    let walked = walked();
    let mut missing = BTreeSet::new();
    for command in ["kv edit", "object edit", "stream edit"] {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = program.read(&words).await.text;
        let own = help.split("Global Flags").next().unwrap();
        for flag in own.lines().filter_map(flag) {
            let is_walked = walked.iter().any(|it| {
                is_command(it, command)
                    && it.split(' ').any(|word| {
                        let name = word.split('=').next().unwrap();
                        name == format!("--{flag}") || name == format!("--no-{flag}")
                    })
            });
            let has_reason = FLAGS
                .iter()
                .any(|(of, name, _)| *of == command && *name == flag);
            if !is_walked && !has_reason {
                missing.insert(format!("{command} --{flag}"));
            }
        }
    }
    assert!(missing.is_empty(), "no walk has {missing:?}");
}

fn is_command(line: &str, command: &str) -> bool {
    let rest = line.strip_prefix(command);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// The flag that a line of a help text describes, without the dashes.
fn flag(line: &str) -> Option<&str> {
    let (before, flag) = line.split_once("--")?;
    let is_flag = before.trim().is_empty() || before.trim().len() == 3 && before.contains("-");
    let flag = flag.strip_prefix("[no-]").unwrap_or(flag);
    let end = flag.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let flag = &flag[..end.unwrap_or(flag.len())];
    (is_flag && !flag.is_empty()).then_some(flag)
}
