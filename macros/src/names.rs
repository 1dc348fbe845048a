//! The grammar of names: services, endpoints, buckets, prefixes, versions and queue groups.
//!
//! Assumes nothing; every function takes the text of a string literal and says in a sentence what is wrong with it. Whether a name
//! is used twice is not decided here but in `validate`.

/// What is wrong with a text, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Fault {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: Some(help.into()),
        }
    }
}

/// The longest name in bytes: nats-server allows 255 for a stream, and that of an object store is called `OBJ_` and the bucket.
const MAX_NAME_LEN: usize = 251;

/// The longest subject prefix in bytes: a subject travels in a protocol line of at most 4,096.
const MAX_PREFIX_LEN: usize = 512;

/// `[A-Za-z0-9_-]+`, the grammar of services, endpoints and buckets. `what` is what the message calls it: `a service name`.
pub(crate) fn plain(what: &str, text: &str) -> Result<(), Fault> {
    const HELP: &str = "use letters, digits, `-` and `_`";
    if text.is_empty() {
        return Err(Fault::new(format!("{what} cannot be empty"), HELP));
    }
    match text
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'))
    {
        Some(c) => Err(Fault::new(
            format!("`{}` is not allowed in {what}", c.escape_debug()),
            HELP,
        )),
        None => bounded(what, text, MAX_NAME_LEN),
    }
}

fn bounded(what: &str, text: &str, bound: usize) -> Result<(), Fault> {
    if text.len() > bound {
        return Err(Fault {
            message: format!("{what} cannot have more than {bound} bytes"),
            help: None,
        });
    }
    Ok(())
}

/// Three numbers, and what semantic versioning allows after them.
pub(crate) fn version(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::new(
            "a version cannot be empty",
            "write three numbers, such as \"1.0.0\"",
        ));
    }
    match semver::Version::parse(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::new(
            format!("`{}` is not a semantic version", text.escape_debug()),
            "write three numbers, such as \"1.0.0\"",
        )),
    }
}

/// The tokens of a NATS subject, without wildcards.
pub(crate) fn subject_prefix(text: &str) -> Result<(), Fault> {
    const HELP: &str = "write tokens separated by single dots, such as \"api.v1\"";
    let shown = text.escape_debug();
    if text.is_empty() {
        return Err(Fault::new("the subject prefix cannot be empty", HELP));
    }
    if text.starts_with('$') {
        return Err(Fault::new(
            format!(
                "the subject prefix `{shown}` cannot start with `$`: those subjects belong to the NATS server"
            ),
            HELP,
        ));
    }
    if text.starts_with('_') {
        return Err(Fault::new(
            format!(
                "the subject prefix `{shown}` cannot start with `_`: those subjects are inboxes, to which services send replies"
            ),
            HELP,
        ));
    }
    if let Some(what) = not_in_a_token(text) {
        return Err(Fault::new(
            format!("the subject prefix `{shown}` cannot contain {what}"),
            HELP,
        ));
    }
    if text.split('.').any(str::is_empty) {
        return Err(Fault::new(
            format!("the subject prefix `{shown}` has an empty token"),
            HELP,
        ));
    }
    bounded("the subject prefix", text, MAX_PREFIX_LEN)
}

/// One token of a NATS subject.
pub(crate) fn queue_group(text: &str) -> Result<(), Fault> {
    const HELP: &str = "write a single word, such as \"workers\"";
    if text.is_empty() {
        return Err(Fault::new(
            "a queue group cannot be empty",
            "write `queue_group = false` to answer without a queue group",
        ));
    }
    let what = if text.contains('.') {
        Some("a dot")
    } else {
        not_in_a_token(text)
    };
    match what {
        Some(what) => Err(Fault::new(
            format!(
                "the queue group `{}` cannot contain {what}",
                text.escape_debug()
            ),
            HELP,
        )),
        None => bounded("a queue group", text, MAX_NAME_LEN),
    }
}

/// What a text contains that no token of a subject may contain.
fn not_in_a_token(text: &str) -> Option<&'static str> {
    text.chars().find_map(|c| match c {
        '*' | '>' => Some("a wildcard"),
        ' ' => Some("a space"),
        c if c.is_whitespace() || c.is_control() => Some("white space"),
        c if !c.is_ascii() => Some("anything but ASCII"),
        _ => None,
    })
}

/// The snake case that all generators of this protocol share; `heck` and others disagree with it on digits and acronyms.
pub(crate) fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    let mut previous: Option<char> = None;
    for (i, &c) in chars.iter().enumerate() {
        if c.is_ascii_uppercase() {
            let next_is_lower = chars.get(i + 1).is_some_and(char::is_ascii_lowercase);
            let starts_a_word = previous.is_some_and(|previous| {
                previous.is_ascii_lowercase()
                    || previous.is_ascii_digit()
                    || (previous.is_ascii_uppercase() && next_is_lower)
            });
            if starts_a_word {
                snake.push('_');
            }
        }
        snake.push(c.to_ascii_lowercase());
        previous = Some(c);
    }
    snake
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
