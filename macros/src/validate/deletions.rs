//! A method can make an entry stale once, and not the one that it stores.

use syn::Attribute;

use crate::args::composite::Key;
use crate::args::value::{Bucket, Flag, Text};
use crate::args::{KvDeleteArgs, Setting};
use crate::diag::{Diagnostics, error, error_with_help};
use crate::model::{Helper, Method};

pub(super) fn once(method: &Method, diags: &mut Diagnostics) {
    for (position, deletion) in method.deletions.iter().enumerate() {
        let mut earlier = method.deletions.iter().take(position);
        if let Some(first) =
            earlier.find(|earlier| is_same(deletion, &earlier.args.bucket, &earlier.args.key))
        {
            pair(
                deletion,
                "this entry is deleted twice",
                "remove one of them",
                (&first.attr, "it is first deleted here"),
                diags,
            );
        } else if let Some(store) = &method.kv
            && is_written(&store.args.client_only)
            && is_same(deletion, &store.args.bucket, &store.args.key)
        {
            let message = format!("`{}` stores this entry, and would delete it", method.name());
            pair(
                deletion,
                &message,
                "remove one of them, or name another entry",
                (&store.attr, "it is stored here"),
                diags,
            );
        }
    }
}

fn pair(
    deletion: &Helper<KvDeleteArgs>,
    message: &str,
    help: &str,
    (other, note): (&Attribute, &str),
    diags: &mut Diagnostics,
) {
    diags.pair(
        error_with_help(&deletion.attr, message, help),
        error(other, note),
    );
}

/// Whether the deletion names this entry, whatever the messages say.
fn is_same(
    deletion: &Helper<KvDeleteArgs>,
    bucket: &Setting<Text<Bucket>>,
    key: &Setting<Key>,
) -> bool {
    let of = |bucket: &Setting<Text<Bucket>>| bucket.get().map(|bucket| bucket.lit.value());
    let same_bucket = of(&deletion.args.bucket).is_some_and(|name| of(bucket) == Some(name));
    let keys = deletion.args.key.get().zip(key.get());
    same_bucket && keys.is_some_and(|(Key(one), Key(other))| one.same_keys(other))
}

fn is_written(client_only: &Setting<Flag>) -> bool {
    !client_only.get().is_some_and(|flag| flag.0)
}

#[cfg(test)]
#[path = "deletions_tests.rs"]
mod tests;
