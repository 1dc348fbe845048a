//! Methods that share a bucket must say the same about it.
//!
//! Assumes checked settings. Which settings belong to the bucket is for `args::settings` to say.

use crate::attribute::StoreKind;
use crate::diag::{Diagnostics, error, error_with_help};
use crate::model::method::Method;
use crate::model::service::Service;
use crate::model::store::Store;

/// What one method says about a bucket.
struct Declaration<'a> {
    method: &'a Method,
    store: &'a Store,
    /// The name of the bucket.
    name: String,
}

pub(super) fn agree(service: &Service, diags: &mut Diagnostics) {
    // A bucket and an object store of one name are two things.
    for kind in [StoreKind::Kv, StoreKind::Object] {
        compare(&declarations(service, kind), diags);
    }
}

/// What the methods say about the buckets of a kind.
fn declarations(service: &Service, kind: StoreKind) -> Vec<Declaration<'_>> {
    let stores = service.endpoints().flat_map(|method| {
        let stores = method.stores.iter();
        stores.map(move |store| (method, store))
    });
    // A client that only reads need not repeat how the bucket is made.
    let speaking = stores.filter(|(_, store)| {
        store.kind == kind && !(store.usage.client_only && store.settings.is_empty())
    });
    let named = speaking.filter_map(|(method, store)| {
        Some(Declaration {
            method,
            store,
            name: store.bucket_name()?,
        })
    });
    named.collect()
}

fn compare(declarations: &[Declaration<'_>], diags: &mut Diagnostics) {
    for (position, declaration) in declarations.iter().enumerate() {
        let earlier = declarations.iter().take(position);
        for earlier in earlier.filter(|earlier| earlier.name == declaration.name) {
            pair(declaration, earlier, diags);
            if declaration.method.comes_with(earlier.method) {
                break;
            }
        }
    }
}

fn pair(declaration: &Declaration<'_>, earlier: &Declaration<'_>, diags: &mut Diagnostics) {
    let (mine, theirs) = (&declaration.store.settings, &earlier.store.settings);
    let different = mine.differences(theirs);
    if different.is_empty() {
        return;
    }
    let different: Vec<String> = different.iter().map(|name| format!("`{name}`")).collect();
    let (name, different) = (&declaration.name, different.join(", "));
    diags.pair_under(
        earlier.method.together_with(declaration.method),
        error_with_help(
            &declaration.store.bucket,
            format!("bucket `{name}` is declared twice with different settings ({different})"),
            format!("settings belong to the bucket; give both methods the same {different}"),
        ),
        error(&earlier.store.bucket, "the other declaration is here"),
    );
}
