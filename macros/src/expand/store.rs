//! The stores of a method, and the entries that it deletes, as calls of the runtime's builders.
//!
//! Assumes a sound model. What belongs to a bucket, to the method's usage of it and to a deletion is written by one function each.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};

use super::expander::Expander;
use crate::args::argument::Argument;
use crate::attribute::StoreKind;
use crate::key::{Part, Source, Template, field_ident};
use crate::krate::{Krate, call_site_at};
use crate::model::store::{Deletion, Store, Usage};

/// `.name(value)`
pub(super) fn call(p: &Krate, name: &str, value: &dyn Argument) -> TokenStream {
    let (name, value) = (format_ident!("{name}"), value.argument(p));
    quote!(.#name(#value))
}

/// `.name(value)` for a setting that is set.
pub(super) fn setting(p: &Krate, name: &str, value: Option<&impl Argument>) -> Option<TokenStream> {
    value.map(|value| call(p, name, value))
}

/// ```text
/// .kv_store(
///     #p::BucketDescriptor::kv("user_profiles").max_history(5).ttl(..),
///     #p::Usage::new().persist(..),
///     #p::StoreKey::new(&[#p::KeyPart::Text("user."), #p::KeyPart::Request("id")], |request, key| key.bind(&[&((*request).id)])),
/// )
/// ```
pub(super) fn store(expander: &Expander<'_>, store: &Store) -> TokenStream {
    let p = &expander.private;
    let add = match store.kind {
        StoreKind::Kv => format_ident!("kv_store"),
        StoreKind::Object => format_ident!("object_store"),
    };
    let (bucket, usage) = (bucket(p, store), usage(p, &store.usage));
    let key = store_key(p, &store.usage.key);
    quote!(.#add(#bucket, #usage, #key))
}

/// `#p::BucketDescriptor::kv("user_profiles").max_history(5).ttl(..)`: the settings of a bucket.
fn bucket(p: &Krate, store: &Store) -> TokenStream {
    let kind = match store.kind {
        StoreKind::Kv => format_ident!("kv"),
        StoreKind::Object => format_ident!("object"),
    };
    let name = &store.bucket;
    let calls = store.settings.calls().into_iter();
    let calls = calls.map(|(name, value)| call(p, name, value));
    quote!(#p::BucketDescriptor::#kind(#name) #(#calls)*)
}

/// `#p::Usage::new().persist(..).write(..)`: how a method uses a bucket.
fn usage(p: &Krate, usage: &Usage) -> TokenStream {
    let client_only = usage.client_only.then(|| quote!(.client_only()));
    let key_ttl = setting(p, "key_ttl", usage.key_ttl.as_ref());
    let persist = setting(p, "persist", usage.persist.as_ref());
    let write = setting(p, "write", usage.write.as_ref());
    quote!(#p::Usage::new() #client_only #key_ttl #persist #write)
}

/// `#p::Deletion::new("user_profiles").purge()`: an entry that a method deletes.
fn deletion(p: &Krate, deletion: &Deletion) -> TokenStream {
    let name = &deletion.bucket;
    let persist = setting(p, "persist", deletion.persist.as_ref());
    let purge = deletion.purge.then(|| quote!(.purge()));
    quote!(#p::Deletion::new(#name) #persist #purge)
}

/// ```text
/// .kv_deletes(
///     &[#p::Deletion::new("user_profiles").purge()],
///     &[#p::StoreKey::new(&[#p::KeyPart::Text("user."), #p::KeyPart::Request("id")], |request, key| key.bind(&[&((*request).id)]))],
/// )
/// ```
pub(super) fn kv_deletes(expander: &Expander<'_>, deletions: &[Deletion]) -> Option<TokenStream> {
    let p = &expander.private;
    let keys = deletions.iter().map(|deletion| store_key(p, &deletion.key));
    let entries = deletions.iter().map(|entry| deletion(p, entry));
    (!deletions.is_empty()).then(|| quote!(.kv_deletes(&[#(#entries),*], &[#(#keys),*])))
}

/// How a key is made from the messages.
/// ```text
/// #p::StoreKey::with_response(
///     &[#p::KeyPart::Text("user."), #p::KeyPart::Response("number")],
///     |_, key| key.bind(&[]),
///     |response, key| key.complete(&[&((*response).number)]),
/// )
/// ```
fn store_key(p: &Krate, template: &Template) -> TokenStream {
    let parts = template.parts.iter().map(|part| match part {
        Part::Literal(text) => (format_ident!("Text"), text),
        Part::Field(Source::Request, name) => (format_ident!("Request"), name),
        Part::Field(Source::Response, name) => (format_ident!("Response"), name),
    });
    let (kinds, texts): (Vec<_>, Vec<_>) = parts.unzip();
    let parts = quote!(&[#(#p::KeyPart::#kinds(#texts)),*]);
    let request = fields(template, Source::Request);
    let request = if template.fields(Source::Request).next().is_some() {
        quote!(|request, key| key.bind(#request))
    } else {
        quote!(|_, key| key.bind(#request))
    };
    if template.fields(Source::Response).next().is_none() {
        return quote!(#p::StoreKey::new(#parts, #request));
    }
    let response = fields(template, Source::Response);
    quote!(#p::StoreKey::with_response(#parts, #request, |response, key| key.complete(#response)))
}

/// `&[&((*request).id)]`. What is inside the outer parentheses is generated for rustc although it stands at the literal, so that it
/// points there and does not offer to replace the field by another; what is outside is the user's, so that it does not explain where
/// a type that cannot be part of a key comes from.
fn fields(template: &Template, source: Source) -> TokenStream {
    let span = template.lit.span();
    let message = match source {
        Source::Request => format_ident!("request"),
        Source::Response => format_ident!("response"),
    };
    let fields = template.fields(source).map(|name| {
        let field = field_ident(name, call_site_at(span));
        let access = quote_spanned!(call_site_at(span)=> (*#message).#field);
        quote_spanned!(span=> &(#access))
    });
    quote_spanned!(span=> &[#(#fields),*])
}
