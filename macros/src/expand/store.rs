//! The settings of stores and the keys as calls of the runtime's builders.

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};

use super::Expander;
use crate::args::composite::{Key, Metadata};
use crate::args::quantity::Period;
use crate::args::value::{Bucket, OneOf, Text};
use crate::args::{KvDeleteArgs, KvStoreArgs, ObjectStoreArgs, Setting};
use crate::key::{Part, Source, Template, field_ident};
use crate::krate::Krate;
use crate::model::{Helper, call_site_at};

/// `::core::time::Duration::from_secs(3600)`
pub(super) fn duration(period: Period) -> TokenStream {
    let millis = u64::try_from(period.0.as_millis()).unwrap_or(u64::MAX);
    let (function, number) = if millis.is_multiple_of(1000) {
        ("from_secs", millis / 1000)
    } else {
        ("from_millis", millis)
    };
    let (function, number) = (format_ident!("{function}"), Literal::u64_unsuffixed(number));
    quote!(::core::time::Duration::#function(#number))
}

/// `&[("team", "platform")]`
pub(super) fn metadata(metadata: &Metadata) -> TokenStream {
    let pairs = metadata.0.iter().map(|(key, value)| quote!((#key, #value)));
    quote!(&[#(#pairs),*])
}

/// `.name(value)` for a setting that is set.
pub(super) fn setting<T>(
    setting: &Setting<T>,
    name: &str,
    value: impl FnOnce(&T) -> TokenStream,
) -> Option<TokenStream> {
    let value = setting.get().map(value)?;
    let name = format_ident!("{name}");
    Some(quote!(.#name(#value)))
}

/// ```text
/// .kv_store(
///     #p::BucketDescriptor::kv("user_profiles").max_history(5).ttl(..),
///     #p::Usage::new().write(..),
///     #p::StoreKey::new(&[#p::KeyPart::Text("user."), #p::KeyPart::Request("id")], |request, key| key.bind(&[&((*request).id)])),
/// )
/// ```
pub(super) fn kv_store(expander: &Expander<'_>, args: &KvStoreArgs) -> Option<TokenStream> {
    let p = &expander.private;
    let (head, key) = head(expander, "BucketDescriptor::kv", &args.bucket, &args.key)?;
    let settings = [
        setting(&args.description, "description", lit),
        setting(&args.max_history, "max_history", |number| {
            let number = u8::try_from(number.0).unwrap_or(u8::MAX);
            Literal::u8_unsuffixed(number).to_token_stream()
        }),
        setting(&args.ttl, "ttl", |period| duration(*period)),
        setting(&args.purge_ttl, "purge_ttl", |period| duration(*period)),
        setting(&args.marker_ttl, "marker_ttl", |period| duration(*period)),
        setting(&args.compression, "compression", |flag| {
            let on = flag.0;
            quote!(#on)
        }),
        setting(&args.storage, "storage", |choice| {
            variant(p, "Storage", choice.variant)
        }),
        setting(&args.replicas, "replicas", |number| replicas(number.0)),
        setting(&args.max_bytes, "max_bytes", |bytes| max_bytes(bytes.0)),
        setting(&args.max_consumers, "max_consumers", |number| {
            max_consumers(number.0)
        }),
        setting(&args.max_value_size, "max_value_size", |bytes| {
            let bytes = i32::try_from(bytes.0).unwrap_or(i32::MAX);
            Literal::i32_unsuffixed(bytes).to_token_stream()
        }),
        setting(&args.metadata, "metadata", metadata),
    ];
    let usage = [
        client_only(args.client_only.get().is_some_and(|flag| flag.0)),
        choice(p, &args.persist, "persist", "Persist"),
        choice(p, &args.write, "write", "Write"),
        setting(&args.key_ttl, "key_ttl", |period| duration(*period)),
    ];
    Some(quote!(.kv_store(#head #(#settings)*, #p::Usage::new() #(#usage)*, #key)))
}

/// `.object_store(..)`, like [`kv_store`].
pub(super) fn object_store(expander: &Expander<'_>, args: &ObjectStoreArgs) -> Option<TokenStream> {
    let p = &expander.private;
    let (head, key) = head(
        expander,
        "BucketDescriptor::object",
        &args.bucket,
        &args.key,
    )?;
    let settings = [
        setting(&args.description, "description", lit),
        setting(&args.ttl, "ttl", |period| duration(*period)),
        setting(&args.compression, "compression", |flag| {
            let on = flag.0;
            quote!(#on)
        }),
        setting(&args.storage, "storage", |choice| {
            variant(p, "Storage", choice.variant)
        }),
        setting(&args.replicas, "replicas", |number| replicas(number.0)),
        setting(&args.max_bytes, "max_bytes", |bytes| max_bytes(bytes.0)),
        setting(&args.max_consumers, "max_consumers", |number| {
            max_consumers(number.0)
        }),
    ];
    let usage = [
        client_only(args.client_only.get().is_some_and(|flag| flag.0)),
        choice(p, &args.persist, "persist", "Persist"),
    ];
    Some(quote!(.object_store(#head #(#settings)*, #p::Usage::new() #(#usage)*, #key)))
}

/// ```text
/// .kv_deletes(
///     &[#p::Deletion::new("user_profiles").purge()],
///     &[#p::StoreKey::new(&[#p::KeyPart::Text("user."), #p::KeyPart::Request("id")], |request, key| key.bind(&[&((*request).id)]))],
/// )
/// ```
pub(super) fn kv_deletes(
    expander: &Expander<'_>,
    deletions: &[Helper<KvDeleteArgs>],
) -> Option<TokenStream> {
    let p = &expander.private;
    let (deletions, keys): (Vec<_>, Vec<_>) = deletions
        .iter()
        .filter_map(|Helper { args, .. }| {
            let (head, key) = head(expander, "Deletion::new", &args.bucket, &args.key)?;
            let persist = choice(p, &args.persist, "persist", "Persist");
            let purges = args.purge.get().is_some_and(|flag| flag.0);
            let purge = purges.then(|| quote!(.purge()));
            Some((quote!(#head #persist #purge), key))
        })
        .unzip();
    (!deletions.is_empty()).then(|| quote!(.kv_deletes(&[#(#deletions),*], &[#(#keys),*])))
}

pub(super) fn lit<G>(text: &Text<G>) -> TokenStream {
    let lit = &text.lit;
    quote!(#lit)
}

fn client_only(on: bool) -> Option<TokenStream> {
    on.then(|| quote!(.client_only()))
}

/// `.persist(#p::Persist::BeforeResponse)`; nothing for what is the default anyway.
fn choice<G>(p: &Krate, set: &Setting<OneOf<G>>, name: &str, of: &str) -> Option<TokenStream> {
    let default = |choice: &OneOf<G>| matches!(choice.variant, "AfterResponse" | "Put");
    if set.get().is_some_and(default) {
        return None;
    }
    setting(set, name, |choice| variant(p, of, choice.variant))
}

fn variant(p: &Krate, name: &str, variant: &str) -> TokenStream {
    let (name, variant) = (format_ident!("{name}"), format_ident!("{variant}"));
    quote!(#p::#name::#variant)
}

fn replicas(number: u64) -> TokenStream {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    Literal::usize_unsuffixed(number).to_token_stream()
}

fn max_consumers(number: u64) -> TokenStream {
    let number = i32::try_from(number).unwrap_or(i32::MAX);
    Literal::i32_unsuffixed(number).to_token_stream()
}

fn max_bytes(number: u64) -> TokenStream {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    Literal::i64_unsuffixed(number).to_token_stream()
}

/// What all of them begin with: the bucket, made by a function of the runtime, and how the key is made.
fn head(
    expander: &Expander<'_>,
    function: &str,
    bucket: &Setting<Text<Bucket>>,
    key: &Setting<Key>,
) -> Option<(TokenStream, TokenStream)> {
    let p = &expander.private;
    let path = function.split("::").map(|part| format_ident!("{part}"));
    let bucket = &bucket.get()?.lit;
    let head = quote!(#p::#(#path)::*(#bucket));
    Some((head, store_key(expander, &key.get()?.0)))
}

/// How a key is made from the messages.
/// ```text
/// #p::StoreKey::with_response(
///     &[#p::KeyPart::Text("user."), #p::KeyPart::Response("number")],
///     |_, key| key.bind(&[]),
///     |response, key| key.complete(&[&((*response).number)]),
/// )
/// ```
fn store_key(expander: &Expander<'_>, template: &Template) -> TokenStream {
    let p = &expander.private;
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
