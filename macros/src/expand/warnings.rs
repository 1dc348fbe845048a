//! Warnings: what compiles and is most likely not wanted, but may be.
//!
//! Assumes a sound model. Stable macros can only warn by using something deprecated.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote_spanned};
use syn::Attribute;
use syn::spanned::Spanned;

use super::expander::Expander;
use crate::args::value::Write;
use crate::model::method::Method;
use crate::model::service::Service;
use crate::model::store::Store;

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
    let of_store = |store| {
        [
            constant_key(method, store),
            empty_value(method, store),
            larger_than_the_bucket(store),
        ]
    };
    method.stores.iter().flat_map(of_store).flatten().collect()
}

fn constant_key(method: &Method, store: &Store) -> Option<Warning> {
    let template = &store.usage.key;
    let (name, entry) = (method.name(), template.lit.value());
    let happens = if store.usage.write == Some(Write::Create) {
        format!("only the first call of `{name}` stores anything, as the entry `{entry}`")
    } else {
        format!("every call of `{name}` overwrites the same entry `{entry}`")
    };
    (!store.usage.client_only && template.is_constant()).then(|| Warning {
        span: template.lit.span(),
        name: "KEY_WITHOUT_A_FIELD",
        note: format!("{happens}; name a field of the request in the key, or set `client_only`"),
    })
}

fn empty_value(method: &Method, store: &Store) -> Option<Warning> {
    (!store.usage.client_only && method.output.is_nothing()).then(|| Warning {
        span: store.attr.path().span(),
        name: "STORE_OF_NOTHING",
        note: format!(
            "`{}` returns nothing, so what is stored is empty; return the message to store",
            method.name()
        ),
    })
}

fn larger_than_the_bucket(store: &Store) -> Option<Warning> {
    let settings = &store.settings;
    let (value, bucket) = (
        settings.max_value_size.given()?,
        settings.max_bytes.value()?,
    );
    (value.value.0 > bucket.0).then(|| Warning {
        span: value.label.span(),
        name: "VALUE_LARGER_THAN_ITS_BUCKET",
        note: "no value can be larger than `max_bytes` of the whole bucket; make it smaller, or leave it out".to_owned(),
    })
}
