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
    let of_service = of_service(service).into_iter();
    let of_service =
        of_service.map(|warning| tokens(warning, levels(&service.attrs), &service.cfgs));
    let of_methods = service.endpoints().flat_map(|method| {
        let warnings = of(method).into_iter();
        warnings.map(move |warning| {
            let levels = levels(&service.attrs).chain(levels(&method.attrs.lints));
            let cfgs = service.cfgs.iter().chain(&method.attrs.cfgs);
            tokens(warning, levels, cfgs)
        })
    });
    of_service.chain(of_methods).collect()
}

/// What decides over a warning: the cfgs, and `#[allow(deprecated)]` on the method or on the trait.
fn tokens<'a>(
    warning: Warning,
    levels: impl Iterator<Item = &'a Attribute>,
    cfgs: impl IntoIterator<Item = &'a Attribute>,
) -> TokenStream {
    let Warning { span, name, note } = warning;
    let name = format_ident!("{name}", span = span);
    let attrs = cfgs.into_iter().chain(levels);
    quote_spanned! {span=>
        #(#attrs)*
        const _: () = {
            #[deprecated(note = #note)]
            const #name: bool = true;
            let _ = #name;
        };
    }
}

/// The attributes that set the level of a lint.
fn levels(attrs: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attrs.iter().filter(|attr| {
        let path = attr.path();
        ["allow", "warn", "deny", "forbid"]
            .iter()
            .any(|level| path.is_ident(level))
    })
}

fn of_service(service: &Service) -> Option<Warning> {
    let doc = service.settings.unreadable_doc.as_ref()?;
    Some(Warning {
        span: doc.span(),
        name: "SERVICE_WITHOUT_A_DESCRIPTION",
        note: format!(
            "`{}` has no description, since `#[service]` cannot read this documentation; set `description = \"..\"`",
            service.name()
        ),
    })
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
