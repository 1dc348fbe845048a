//! What to say about a setting that an attribute does not have: where it belongs, or what was probably meant.
//!
//! Assumes the name of a setting that the attribute does not take.

use syn::Path;

use super::settings::names;
use super::value::{Choice, Persist, Storage, Write};
use crate::attribute::{AttrName, StoreKind};
use crate::diag::error_with_help;

/// The error for the setting `name` in an attribute.
pub(super) fn error(path: &Path, name: &str, attr: AttrName) -> syn::Error {
    const KV_STORE: AttrName = AttrName::Store(StoreKind::Kv);
    let names = &names(attr)[..];
    let message = format!("unknown setting `{name}`");
    let is_object_store = attr == AttrName::Store(StoreKind::Object);
    if is_object_store && matches!(name, "max_history" | "history") {
        return error_with_help(
            path,
            "an object store keeps no history",
            "remove it, or use `#[kv_store]`",
        );
    }
    let mut of_methods = AttrName::OF_METHODS.into_iter();
    if attr == AttrName::Service && of_methods.any(|attr| attr.as_str() == name) {
        return error_with_help(
            path,
            format!("`{name}` is an attribute of a method"),
            format!("write `#[{name}(..)]` above the method"),
        );
    }
    if let Some(written) = value_alone(name, names) {
        return error_with_help(path, message, format!("write `{written}`"));
    }
    if let Some(meant) = other_name(name, names) {
        return error_with_help(path, message, format!("did you mean `{meant}`?"));
    }
    // Objects are not deleted by any attribute.
    let elsewhere =
        elsewhere(name, attr).filter(|(home, _)| !is_object_store || *home != AttrName::KvDelete);
    if let Some((home, what)) = elsewhere {
        let help = if is_object_store && home == KV_STORE {
            "remove it, or use `#[kv_store]`".to_owned()
        } else {
            format!("write it in `#[{}(..)]`", home.as_str())
        };
        return error_with_help(path, format!("`{name}` is a setting of {what}"), help);
    }
    if let Some(meant) = similar(name, names) {
        return error_with_help(path, message, format!("did you mean `{meant}`?"));
    }
    let help = if let [only] = names {
        format!("the only setting is `{only}`")
    } else {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        format!("the settings are {}", names.join(", "))
    };
    error_with_help(path, message, help)
}

/// A setting of which only the value was written: `persist = "before_response"` for `before_response`.
fn value_alone(name: &str, names: &[&str]) -> Option<String> {
    fn words<C: Choice>() -> Vec<&'static str> {
        C::WORDS.iter().map(|(word, _)| *word).collect()
    }
    let values = [
        ("persist", words::<Persist>()),
        ("storage", words::<Storage>()),
        ("write", words::<Write>()),
    ];
    if matches!(name, "in_order" | "ordered") && names.contains(&"max_in_flight") {
        return Some("max_in_flight = 1".to_owned());
    }
    let (setting, _) = values
        .into_iter()
        .find(|(setting, words)| names.contains(setting) && words.contains(&name))?;
    Some(format!("{setting} = \"{name}\""))
}

/// A setting in capitals, or under a name that it has elsewhere.
fn other_name<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let meant: &[&str] = match name {
        "prefix" => &["subject_prefix"],
        "subject" => &["subject_prefix", "name"],
        "group" | "queue" => &["queue_group"],
        "validator" | "validate_with" | "validation" | "check" => &["validate"],
        "concurrency" | "max_concurrency" | "parallel" | "parallelism" => &["max_in_flight"],
        "deadline" => &["timeout"],
        "ignore" => &["skip"],
        "retry" | "retryable" | "retriable" | "repeatable" | "safe" => &["idempotent"],
        "doc" | "docs" => &["description"],
        "buffer" | "buffer_size" | "capacity" | "credit" | "credits" => &["window"],
        "bytes" | "max_bytes" | "window_size" => &["window_bytes"],
        "size" => &["max_bytes", "window_bytes"],
        "limit" => &["max_bytes", "max_in_flight"],
        "name" | "store" => &["bucket"],
        "id" | "pattern" | "template" => &["key"],
        "expiration" | "expires" | "expiry" | "lifetime" | "max_age" => &["ttl"],
        "history" | "max_entries" | "max_revisions" | "revisions" => &["max_history"],
        "mode" | "overwrite" => &["write"],
        "all" | "all_revisions" | "rollup" => &["purge"],
        _ => &[],
    };
    let find = |wanted: &str| names.iter().copied().find(|name| *name == wanted);
    find(&name.to_ascii_lowercase()).or_else(|| meant.iter().copied().find_map(find))
}

/// The attribute that does take this setting: those of a service and of its methods are easily mixed up.
fn elsewhere(name: &str, attr: AttrName) -> Option<(AttrName, &'static str)> {
    if attr == AttrName::ServiceError {
        return None;
    }
    let homes = [
        (AttrName::Endpoint, "a method"),
        (AttrName::Service, "the whole service"),
        (AttrName::Stream, "a stream"),
        (AttrName::Store(StoreKind::Kv), "a key-value store"),
        (AttrName::Store(StoreKind::Object), "an object store"),
        (AttrName::KvDelete, "a deletion"),
    ];
    let mut homes = homes.into_iter();
    homes.find(|(home, _)| names(*home).contains(&name))
}

/// The setting that is spelled most like this.
fn similar<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    names
        .iter()
        .map(|&candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
