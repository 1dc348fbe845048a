//! Sorts the attributes of a method: which are ours, and where the user's go.
//!
//! Assumes the attributes as written. Guarantees that none of ours is left on the trait's method, and that the settings in them were
//! read; whether the settings fit together is for `validate`.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, Token, parse_quote};

use crate::args::{
    self, EndpointArgs, KvDeleteArgs, KvStoreArgs, ObjectStoreArgs, Setting, Settings, StreamArgs,
};
use crate::diag::{Diagnostics, error, error_with_help};
use crate::model::{Helper, MethodAttrs};

/// The attributes that `#[service]` understands on a method.
pub(crate) const HELPERS: [&str; 5] = [
    "endpoint",
    "stream",
    "kv_store",
    "object_store",
    "kv_delete",
];

/// Which of [`HELPERS`] an attribute is. The last segment decides: the runtime can be imported under any name.
pub(super) fn is_helper(attr: &Attribute) -> Option<&'static str> {
    let last = &attr.path().segments.last()?.ident;
    HELPERS.into_iter().find(|helper| last == helper)
}

/// Whether an attribute decides over the existence of its item: `#[cfg(..)]`, also in a `#[cfg_attr(.., cfg(..))]`.
pub(super) fn is_cfg(attr: &Attribute) -> bool {
    attr.path().is_ident("cfg")
        || conditional(attr)
            .iter()
            .any(|meta| meta.path().is_ident("cfg"))
}

/// The attributes in a `#[cfg_attr(condition, attributes..)]`.
fn conditional(attr: &Attribute) -> Vec<Meta> {
    if !attr.path().is_ident("cfg_attr") {
        return Vec::new();
    }
    let metas = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    metas
        .map(|metas| metas.into_iter().skip(1).collect())
        .unwrap_or_default()
}

/// The error for `#[kv_store(..)]` on the trait itself.
pub(crate) fn on_the_trait(attr: impl ToTokens, name: &str) -> syn::Error {
    let help = match name {
        "endpoint" => {
            "the settings of all methods go into `#[service(..)]`; those of one method above it"
        }
        "stream" => "every stream has its own window; move it above the method that streams",
        "kv_delete" => "move it above the method whose success makes the entry stale",
        _ => "every method has its own key; move it above the method whose response is stored",
    };
    error_with_help(attr, format!("`#[{name}]` goes on a method"), help)
}

/// Our own attributes on a method, read.
#[derive(Debug, Default)]
pub(super) struct Helpers {
    pub(super) endpoint: EndpointArgs,
    pub(super) stream: Option<Helper<StreamArgs>>,
    pub(super) kv: Option<Helper<KvStoreArgs>>,
    pub(super) object: Option<Helper<ObjectStoreArgs>>,
    pub(super) deletions: Vec<Helper<KvDeleteArgs>>,
}

/// Sorts the attributes of the method `method`.
pub(super) fn sort(
    attrs: Vec<Attribute>,
    method: &str,
    diags: &mut Diagnostics,
) -> (MethodAttrs, Helpers) {
    let mut sorted = MethodAttrs::default();
    let mut helpers = Helpers::default();
    let mut seen: Vec<(&str, Attribute)> = Vec::new();
    for attr in attrs {
        let Some(name) = is_helper(&attr) else {
            keep(attr, &mut sorted, diags);
            continue;
        };
        // A call may make several entries stale.
        if name == "kv_delete" {
            helpers.deletions.push(kv_delete(attr, diags));
            continue;
        }
        if let Some((_, first)) = seen.iter().find(|(earlier, _)| *earlier == name) {
            diags.pair(
                error(
                    &attr,
                    format!("method `{method}` has two `#[{name}]` attributes"),
                ),
                error(first, "the first one is here"),
            );
            continue;
        }
        seen.push((name, attr.clone()));
        match name {
            "endpoint" => {
                let read = settings(name, &attr, diags);
                helpers.endpoint = read.map(|read| read.args).unwrap_or_default();
            }
            "stream" => helpers.stream = Some(stream(attr, diags)),
            "kv_store" => helpers.kv = Some(kv_store(attr, diags)),
            _ => helpers.object = Some(object_store(attr, diags)),
        }
    }
    (sorted, helpers)
}

/// Notes where one of the user's attributes goes besides the trait's method.
fn keep(attr: Attribute, sorted: &mut MethodAttrs, diags: &mut Diagnostics) {
    let conditional = conditional(&attr);
    let helper = conditional.iter().find_map(|meta| {
        let last = &meta.path().segments.last()?.ident;
        HELPERS.into_iter().find(|helper| last == helper)
    });
    if let Some(name) = helper {
        diags.help(
            &attr,
            format!("`#[{name}]` cannot be conditional"),
            "declare the method twice, each under a `#[cfg(..)]` and with the attribute it needs",
        );
        return;
    }
    let path = attr.path();
    let is = |names: &[&str]| {
        names.iter().any(|name| {
            path.is_ident(name) || conditional.iter().any(|meta| meta.path().is_ident(name))
        })
    };
    if is(&["deprecated"]) {
        sorted.deprecated = true;
    }
    if is_cfg(&attr) {
        sorted.cfgs.push(attr.clone());
    } else if is(&["doc"]) {
        sorted.docs.push(attr.clone());
    } else if is(&["allow", "warn", "deny", "forbid", "deprecated"]) {
        sorted.lints.push(attr.clone());
    } else if let (true, Meta::List(list)) = (path.is_ident("expect"), &attr.meta) {
        // What is expected in the trait need not show in the client.
        let lints = &list.tokens;
        sorted.lints.push(parse_quote!(#[allow(#lints)]));
    }
    sorted.kept.push(attr);
}

fn settings<T: Settings>(
    name: &str,
    attr: &Attribute,
    diags: &mut Diagnostics,
) -> Option<args::Read<T>> {
    match &attr.meta {
        Meta::Path(_) => Some(args::read(name, TokenStream::new(), diags)),
        Meta::List(list) => Some(args::read(name, list.tokens.clone(), diags)),
        Meta::NameValue(_) => {
            diags.error(
                attr,
                format!("the settings of `#[{name}]` go in parentheses: `#[{name}(..)]`"),
            );
            None
        }
    }
}

fn stream(attr: Attribute, diags: &mut Diagnostics) -> Helper<StreamArgs> {
    let read = settings::<StreamArgs>("stream", &attr, diags);
    let complete = read.as_ref().is_none_or(|read| read.has_unknown);
    let args = read.map(|read| read.args).unwrap_or_default();
    if !complete && !args.window.is_set() {
        diags.help(
            &attr,
            "`#[stream]` needs a window",
            "write `#[stream(window = 4096)]`, or remove it: the default is 1024",
        );
    }
    Helper { attr, args }
}

fn kv_store(attr: Attribute, diags: &mut Diagnostics) -> Helper<KvStoreArgs> {
    let read = settings::<KvStoreArgs>("kv_store", &attr, diags);
    let complete = read.as_ref().is_none_or(|read| read.has_unknown);
    let args = read.map(|read| read.args).unwrap_or_default();
    if !complete {
        missing("kv_store", &attr, &args.bucket, &args.key, diags);
    }
    Helper { attr, args }
}

fn object_store(attr: Attribute, diags: &mut Diagnostics) -> Helper<ObjectStoreArgs> {
    let read = settings::<ObjectStoreArgs>("object_store", &attr, diags);
    let complete = read.as_ref().is_none_or(|read| read.has_unknown);
    let args = read.map(|read| read.args).unwrap_or_default();
    if !complete {
        missing("object_store", &attr, &args.bucket, &args.key, diags);
    }
    Helper { attr, args }
}

fn kv_delete(attr: Attribute, diags: &mut Diagnostics) -> Helper<KvDeleteArgs> {
    let read = settings::<KvDeleteArgs>("kv_delete", &attr, diags);
    let complete = read.as_ref().is_none_or(|read| read.has_unknown);
    let args = read.map(|read| read.args).unwrap_or_default();
    if !complete {
        missing("kv_delete", &attr, &args.bucket, &args.key, diags);
    }
    Helper { attr, args }
}

/// A store and a deletion cannot do without a bucket and a key.
fn missing<B, K>(
    name: &str,
    attr: &Attribute,
    bucket: &Setting<B>,
    key: &Setting<K>,
    diags: &mut Diagnostics,
) {
    let example = match name {
        "object_store" => ("reports", "report.<id>"),
        _ => ("user_profiles", "user.<id>"),
    };
    let (holds, happens) = match name {
        "kv_delete" => ("the entry", "deletes the entry of"),
        _ => ("the responses", "stores the response under"),
    };
    match (bucket.is_set(), key.is_set()) {
        (true, true) => {}
        (false, false) => diags.help(
            attr,
            format!("`#[{name}]` needs a bucket and a key"),
            format!(
                "write `#[{name}(bucket = \"{}\", key = \"{}\")]`",
                example.0, example.1
            ),
        ),
        (false, true) => diags.help(
            attr.path(),
            "missing `bucket`",
            format!(
                "`bucket = \"{}\"` names the bucket that holds {holds}",
                example.0
            ),
        ),
        (true, false) => diags.help(
            attr.path(),
            "missing `key`",
            format!("`key = \"{}\"` {happens} the request's `id`", example.1),
        ),
    }
}
