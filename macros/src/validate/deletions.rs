//! A method can make an entry stale once, and not the one that it stores.
//!
//! Assumes checked buckets and keys.

use crate::attribute::StoreKind;
use crate::diag::Diagnostics;
use crate::model::method::Method;
use crate::model::store::Store;

pub(super) fn once(method: &Method, diags: &mut Diagnostics) {
    for (position, deletion) in method.deletions.iter().enumerate() {
        let mut earlier = method.deletions.iter().take(position);
        let stores_it = |store: &Store| {
            store.kind == StoreKind::Kv
                && !store.usage.client_only
                && deletion.is_of(&store.bucket, &store.usage.key)
        };
        if earlier.any(|earlier| deletion.is_of(&earlier.bucket, &earlier.key)) {
            let message = "this entry is deleted twice";
            diags.help(&deletion.attr, message, "remove one of them");
        } else if method.stores.iter().any(stores_it) {
            let message = format!("`{}` stores this entry, and would delete it", method.name());
            let help = "remove one of them, or name another entry";
            diags.help(&deletion.attr, message, help);
        }
    }
}

#[cfg(test)]
#[path = "deletions_tests.rs"]
mod tests;
