//! What to say about a setting that an attribute does not have: where it belongs, or what was probably meant.

use syn::Path;

use super::{EndpointArgs, KvStoreArgs, ObjectStoreArgs, ServiceArgs, Settings as _, StreamArgs};
use crate::diag::error_with_help;

/// The error for the setting `name` in an attribute that takes `names`.
pub(super) fn error(path: &Path, name: &str, names: &[&str]) -> syn::Error {
    let message = format!("unknown setting `{name}`");
    let is_object_store = names.contains(&"bucket") && !names.contains(&"max_history");
    if is_object_store && matches!(name, "max_history" | "history") {
        return error_with_help(
            path,
            "an object store keeps no history",
            "remove it, or use `#[kv_store]`",
        );
    }
    if let Some((home, what)) = elsewhere(name, names) {
        let help = if is_object_store && home == "kv_store" {
            "remove it, or use `#[kv_store]`".to_owned()
        } else {
            format!("write it in `#[{home}(..)]`")
        };
        return error_with_help(path, format!("`{name}` is a setting of {what}"), help);
    }
    match nearest(name, names) {
        Some(nearest) => error_with_help(path, message, format!("did you mean `{nearest}`?")),
        None if names.len() == 1 => error_with_help(
            path,
            message,
            format!("the only setting is `{}`", names.concat()),
        ),
        None => {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            error_with_help(
                path,
                message,
                format!("the settings are {}", names.join(", ")),
            )
        }
    }
}

/// The attribute that does take this setting: those of a service and of its methods are easily mixed up.
fn elsewhere(name: &str, names: &[&str]) -> Option<(&'static str, &'static str)> {
    let homes = [
        ("endpoint", "a method", EndpointArgs::NAMES),
        ("service", "the whole service", ServiceArgs::NAMES),
        ("stream", "a stream", StreamArgs::NAMES),
        ("kv_store", "a key-value store", KvStoreArgs::NAMES),
        ("object_store", "an object store", ObjectStoreArgs::NAMES),
    ];
    let is_ours = homes.iter().any(|(_, _, others)| *others == names);
    let (home, what, _) = homes
        .into_iter()
        .find(|(_, _, others)| is_ours && others.contains(&name))?;
    Some((home, what))
}

/// The setting that was probably meant, in spelling or by its usual other name.
fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let synonym = match name {
        "prefix" | "subject" => "subject_prefix",
        "history" => "max_history",
        "group" | "queue" => "queue_group",
        "concurrency" => "max_in_flight",
        "buffer" | "buffer_size" | "capacity" | "credit" | "credits" | "size" => "window",
        _ => "",
    };
    names
        .iter()
        .copied()
        .find(|&candidate| candidate == synonym)
        .or_else(|| {
            names
                .iter()
                .map(|&candidate| (strsim::jaro_winkler(name, candidate), candidate))
                .filter(|(score, _)| *score > 0.8)
                .max_by(|(a, _), (b, _)| a.total_cmp(b))
                .map(|(_, candidate)| candidate)
        })
}
