//! Warnings: what compiles and is most likely not wanted, but may be.
//!
//! Stable macros can only warn by using something deprecated.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote_spanned};
use syn::Attribute;
use syn::spanned::Spanned;

use super::Expander;
use crate::args::composite::Key;
use crate::args::value::Flag;
use crate::args::{KvStoreArgs, ObjectStoreArgs, Setting};
use crate::model::{Method, Service};

/// Something to say about a method, and where.
struct Warning {
    span: Span,
    /// What rustc calls it.
    name: &'static str,
    note: String,
}

pub(super) fn all(expander: &Expander<'_>) -> TokenStream {
    let service = expander.service;
    let of_method = |method| {
        let attrs: Vec<&Attribute> = service.cfgs.iter().chain(attrs(service, method)).collect();
        let warnings = of(method).into_iter();
        warnings.map(move |Warning { span, name, note }| {
            let name = format_ident!("{name}", span = span);
            quote_spanned! {span=>
                #(#attrs)*
                const _: () = {
                    #[deprecated(note = #note)]
                    const #name: bool = true;
                    let _ = #name;
                };
            }
        })
    };
    service.endpoints().flat_map(of_method).collect()
}

/// What decides over a warning: the cfgs of the method, and `#[allow(deprecated)]` on it or on the trait.
fn attrs<'a>(service: &'a Service, method: &'a Method) -> impl Iterator<Item = &'a Attribute> {
    let levels = service.attrs.iter().chain(&method.attrs.lints);
    let levels = levels.filter(|attr| {
        let path = attr.path();
        ["allow", "warn", "deny", "forbid"]
            .iter()
            .any(|level| path.is_ident(level))
    });
    method.attrs.cfgs.iter().chain(levels)
}

fn of(method: &Method) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(store) = &method.kv {
        let args = &store.args;
        let creates = args
            .write
            .get()
            .is_some_and(|write| write.variant == "Create");
        warnings.extend(constant_key(method, &args.key, &args.client_only, creates));
        warnings.extend(empty_value(method, &store.attr, &args.client_only));
        warnings.extend(larger_than_the_bucket(args));
    }
    if let Some(store) = &method.object {
        let args: &ObjectStoreArgs = &store.args;
        warnings.extend(constant_key(method, &args.key, &args.client_only, false));
        warnings.extend(empty_value(method, &store.attr, &args.client_only));
    }
    warnings
}

fn constant_key(
    method: &Method,
    key: &Setting<Key>,
    client_only: &Setting<Flag>,
    creates: bool,
) -> Option<Warning> {
    let template = &key.get()?.0;
    let (name, entry) = (method.name(), template.lit.value());
    let happens = if creates {
        format!("only the first call of `{name}` stores anything, as the entry `{entry}`")
    } else {
        format!("every call of `{name}` overwrites the same entry `{entry}`")
    };
    (is_persisted(client_only) && template.is_constant()).then(|| Warning {
        span: template.lit.span(),
        name: "KEY_WITHOUT_A_FIELD",
        note: format!("{happens}; name a field of the request in the key, or set `client_only`"),
    })
}

fn empty_value(method: &Method, attr: &Attribute, client_only: &Setting<Flag>) -> Option<Warning> {
    (is_persisted(client_only) && method.output.is_nothing()).then(|| Warning {
        span: attr.path().span(),
        name: "STORE_OF_NOTHING",
        note: format!(
            "`{}` returns nothing, so what is stored is empty; return the message to store",
            method.name()
        ),
    })
}

fn larger_than_the_bucket(args: &KvStoreArgs) -> Option<Warning> {
    let (value, bucket) = (args.max_value_size.get()?, args.max_bytes.get()?);
    (value.0 > bucket.0).then(|| Warning {
        span: args.max_value_size.label().span(),
        name: "VALUE_LARGER_THAN_ITS_BUCKET",
        note: "no value can be larger than `max_bytes` of the whole bucket; make it smaller, or leave it out".to_owned(),
    })
}

fn is_persisted(client_only: &Setting<Flag>) -> bool {
    !client_only.get().is_some_and(|flag| flag.0)
}
