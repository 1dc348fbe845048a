//! A method can make an entry stale once, and not the one that it stores.
//!
//! Assumes checked buckets and keys.

use syn::Attribute;

use crate::attribute::StoreKind;
use crate::diag::{Diagnostics, error, error_with_help};
use crate::model::method::Method;
use crate::model::store::{Deletion, Store};

pub(super) fn once(method: &Method, diags: &mut Diagnostics) {
    for (position, deletion) in method.deletions.iter().enumerate() {
        let mut earlier = method.deletions.iter().take(position);
        let stores_it = |store: &&Store| {
            store.kind == StoreKind::Kv
                && !store.usage.client_only
                && deletion.is_of(&store.bucket, &store.usage.key)
        };
        if let Some(first) = earlier.find(|earlier| deletion.is_of(&earlier.bucket, &earlier.key)) {
            pair(
                deletion,
                "this entry is deleted twice",
                "remove one of them",
                (&first.attr, "it is first deleted here"),
                diags,
            );
        } else if let Some(store) = method.stores.iter().find(stores_it) {
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
    deletion: &Deletion,
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

#[cfg(test)]
#[path = "deletions_tests.rs"]
mod tests;
