//! What to say about a setting that an attribute does not have: where it belongs, or what was probably meant.

use syn::Path;

use super::value::{Choice as _, Persist, Storage, Write};
use super::{
    EndpointArgs, KvDeleteArgs, KvStoreArgs, ObjectStoreArgs, ServiceArgs, Settings as _,
    StreamArgs,
};
use crate::diag::error_with_help;
use crate::parse::HELPERS;

/// The error for the setting `name` in an attribute that takes `names`.
pub(super) fn error(path: &Path, name: &str, names: &[&str]) -> syn::Error {
    let message = format!("unknown setting `{name}`");
    let is_object_store = names == ObjectStoreArgs::NAMES;
    if is_object_store && matches!(name, "max_history" | "history") {
        return error_with_help(
            path,
            "an object store keeps no history",
            "remove it, or use `#[kv_store]`",
        );
    }
    if names == ServiceArgs::NAMES && HELPERS.contains(&name) {
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
        elsewhere(name, names).filter(|(home, _)| !is_object_store || *home != "kv_delete");
    if let Some((home, what)) = elsewhere {
        let help = if is_object_store && home == "kv_store" {
            "remove it, or use `#[kv_store]`".to_owned()
        } else {
            format!("write it in `#[{home}(..)]`")
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
    let values = [
        ("persist", Persist::WORDS),
        ("storage", Storage::WORDS),
        ("write", Write::WORDS),
    ];
    if matches!(name, "in_order" | "ordered") && names.contains(&"max_in_flight") {
        return Some("max_in_flight = 1".to_owned());
    }
    let (setting, _) = values.into_iter().find(|(setting, words)| {
        names.contains(setting) && words.iter().any(|(word, _)| *word == name)
    })?;
    Some(format!("{setting} = \"{name}\""))
}

/// A setting in capitals, or under a name that it has elsewhere.
fn other_name<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let meant: &[&str] = match name {
        "prefix" => &["subject_prefix"],
        "subject" => &["subject_prefix", "name"],
        "group" | "queue" => &["queue_group"],
        "concurrency" | "max_concurrency" | "parallel" | "parallelism" => &["max_in_flight"],
        "deadline" => &["timeout"],
        "ignore" => &["skip"],
        "doc" | "docs" => &["description"],
        "buffer" | "buffer_size" | "capacity" | "credit" | "credits" => &["window"],
        "size" => &["max_bytes", "window"],
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
fn elsewhere(name: &str, names: &[&str]) -> Option<(&'static str, &'static str)> {
    let homes = [
        ("endpoint", "a method", EndpointArgs::NAMES),
        ("service", "the whole service", ServiceArgs::NAMES),
        ("stream", "a stream", StreamArgs::NAMES),
        ("kv_store", "a key-value store", KvStoreArgs::NAMES),
        ("object_store", "an object store", ObjectStoreArgs::NAMES),
        ("kv_delete", "a deletion", KvDeleteArgs::NAMES),
    ];
    let is_ours = homes.iter().any(|(_, _, others)| *others == names);
    let (home, what, _) = homes
        .into_iter()
        .find(|(_, _, others)| is_ours && others.contains(&name))?;
    Some((home, what))
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
