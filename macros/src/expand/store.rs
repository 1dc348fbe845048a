//! The settings of stores as calls of the runtime's builders, and the keys.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};

use super::Expander;
use crate::args::composite::Metadata;
use crate::args::quantity::Period;
use crate::args::value::{Bucket, Text};
use crate::args::{KvStoreArgs, ObjectStoreArgs, Setting};
use crate::key::{Part, Source, Template, field_ident};
use crate::model::{Method, MethodKey, call_site_at};

/// `::core::time::Duration::from_millis(3_600_000u64)`
pub(super) fn duration(period: Period) -> TokenStream {
    let millis = u64::try_from(period.0.as_millis()).unwrap_or(u64::MAX);
    quote!(::core::time::Duration::from_millis(#millis))
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
) -> TokenStream {
    let Some(value) = setting.get().map(value) else {
        return TokenStream::new();
    };
    let name = format_ident!("{name}");
    quote!(.#name(#value))
}

/// The constants of a method's keys.
/// ```text
/// const SAVE_PROFILE_KEY: #p::KeyTemplate =
///     #p::KeyTemplate::new("user.<id>", &[#p::KeyPart::Literal("user."), #p::KeyPart::Request("id")]);
/// ```
pub(super) fn key_constants(expander: &Expander<'_>, method: &Method) -> TokenStream {
    let p = expander.krate.private();
    let cfgs = &method.attrs.cfgs;
    method
        .keys()
        .into_iter()
        .map(|key| {
            let name = key_constant(method, key);
            let lit = &key.template.lit;
            let parts = key.template.parts.iter().map(|part| match part {
                Part::Literal(text) => quote!(#p::KeyPart::Literal(#text)),
                Part::Field(Source::Request, name) => quote!(#p::KeyPart::Request(#name)),
                Part::Field(Source::Response, name) => quote!(#p::KeyPart::Response(#name)),
            });
            quote! {
                #(#cfgs)*
                const #name: #p::KeyTemplate = #p::KeyTemplate::new(#lit, &[#(#parts),*]);
            }
        })
        .collect()
}

pub(super) fn key_constant(method: &Method, key: MethodKey<'_>) -> Ident {
    method.constant(&key.suffix.to_ascii_uppercase())
}

/// ```text
/// .kv_store(
///     #p::StoreDescriptor::kv("user_profiles").ttl(..).max_history(5u8),
///     #p::StoreKey::request(|request| { .. }),
/// )
/// ```
pub(super) fn kv_store(
    expander: &Expander<'_>,
    method: &Method,
    args: &KvStoreArgs,
) -> TokenStream {
    let p = expander.krate.private();
    let new = quote!(#p::StoreDescriptor::kv);
    let Some((head, key)) = head(
        expander,
        method,
        &args.bucket,
        args.key.get().map(|key| &key.0),
        &new,
    ) else {
        return TokenStream::new();
    };
    let settings = [
        setting(&args.description, "description", lit),
        setting(&args.max_history, "max_history", |number| {
            let number = u8::try_from(number.0).unwrap_or(u8::MAX);
            quote!(#number)
        }),
        setting(&args.ttl, "ttl", |period| duration(*period)),
        setting(&args.key_ttl, "key_ttl", |period| duration(*period)),
        setting(&args.purge_ttl, "purge_ttl", |period| duration(*period)),
        setting(&args.marker_ttl, "marker_ttl", |period| duration(*period)),
        client_only(args.client_only.get().is_some_and(|flag| flag.0)),
        setting(&args.persist, "persist", |choice| {
            variant(&p, "Persist", choice.variant)
        }),
        setting(&args.write, "write", |choice| {
            variant(&p, "Write", choice.variant)
        }),
        setting(&args.compression, "compression", |flag| {
            let on = flag.0;
            quote!(#on)
        }),
        setting(&args.storage, "storage", |choice| {
            variant(&p, "Storage", choice.variant)
        }),
        setting(&args.replicas, "replicas", |number| replicas(number.0)),
        setting(&args.max_bytes, "max_bytes", |bytes| max_bytes(bytes.0)),
        setting(&args.max_value_size, "max_value_size", |bytes| {
            let bytes = i32::try_from(bytes.0).unwrap_or(i32::MAX);
            quote!(#bytes)
        }),
        setting(&args.metadata, "metadata", metadata),
    ];
    quote!(.kv_store(#head #(#settings)*, #key))
}

/// `.object_store(..)`, like [`kv_store`].
pub(super) fn object_store(
    expander: &Expander<'_>,
    method: &Method,
    args: &ObjectStoreArgs,
) -> TokenStream {
    let p = expander.krate.private();
    let new = quote!(#p::StoreDescriptor::object);
    let Some((head, key)) = head(
        expander,
        method,
        &args.bucket,
        args.key.get().map(|key| &key.0),
        &new,
    ) else {
        return TokenStream::new();
    };
    let settings = [
        setting(&args.description, "description", lit),
        setting(&args.ttl, "ttl", |period| duration(*period)),
        client_only(args.client_only.get().is_some_and(|flag| flag.0)),
        setting(&args.persist, "persist", |choice| {
            variant(&p, "Persist", choice.variant)
        }),
        setting(&args.compression, "compression", |flag| {
            let on = flag.0;
            quote!(#on)
        }),
        setting(&args.storage, "storage", |choice| {
            variant(&p, "Storage", choice.variant)
        }),
        setting(&args.replicas, "replicas", |number| replicas(number.0)),
        setting(&args.max_bytes, "max_bytes", |bytes| max_bytes(bytes.0)),
    ];
    quote!(.object_store(#head #(#settings)*, #key))
}

pub(super) fn lit<G>(text: &Text<G>) -> TokenStream {
    let lit = &text.lit;
    quote!(#lit)
}

fn client_only(on: bool) -> TokenStream {
    if on {
        quote!(.client_only())
    } else {
        TokenStream::new()
    }
}

fn variant(p: &TokenStream, name: &str, variant: &str) -> TokenStream {
    let (name, variant) = (format_ident!("{name}"), format_ident!("{variant}"));
    quote!(#p::#name::#variant)
}

fn replicas(number: u64) -> TokenStream {
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    quote!(#number)
}

fn max_bytes(number: u64) -> TokenStream {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    quote!(#number)
}

/// What both stores begin with: the bucket with its key, and how the key is made.
fn head(
    expander: &Expander<'_>,
    method: &Method,
    bucket: &Setting<Text<Bucket>>,
    template: Option<&Template>,
    new: &TokenStream,
) -> Option<(TokenStream, TokenStream)> {
    let template = template?;
    let key = method
        .keys()
        .into_iter()
        .find(|key| key.template.same_keys(template))?;
    let constant = key_constant(method, key);
    let bucket = lit(bucket.get()?);
    Some((
        quote!(#new(#bucket)),
        store_key(expander, method, template, &constant),
    ))
}

/// How a key is made from the messages.
/// ```text
/// #p::StoreKey::request(|request| { let field_0 = &(*request).id; Self::SAVE_PROFILE_KEY.bind(&[field_0]) })
///     .response(|response, key| { let field_0 = &(*response).number; key.complete(&[field_0]) })
/// ```
/// Each access is a statement of its own, and its field an identifier that rustc takes for generated although it stands at the
/// literal: it then points at the literal and does not offer to replace it by the name of a field.
fn store_key(
    expander: &Expander<'_>,
    method: &Method,
    template: &Template,
    constant: &Ident,
) -> TokenStream {
    let p = expander.krate.private();
    let request = key_function(
        template,
        Source::Request,
        &|fields| quote!(Self::#constant.bind(#fields)),
    );
    if template.fields(Source::Response).next().is_none() {
        return quote!(#p::StoreKey::request(#request));
    }
    // In front of a method call rustc does not infer the type of a closure's parameter from what the whole is used for.
    let (request_type, response_type) = (method.request_type(), method.output.ok(expander.krate));
    let response = key_function(
        template,
        Source::Response,
        &|fields| quote!(key.complete(#fields)),
    );
    quote!(#p::StoreKey::<#request_type, #response_type>::request(#request).response(#response))
}

fn key_function(
    template: &Template,
    source: Source,
    call: &dyn Fn(TokenStream) -> TokenStream,
) -> TokenStream {
    let span = template.lit.span();
    let message = match source {
        Source::Request => format_ident!("request"),
        Source::Response => format_ident!("response"),
    };
    let fields: Vec<Ident> = template
        .fields(source)
        .map(|name| field_ident(name, call_site_at(span)))
        .collect();
    let values: Vec<Ident> = (0..fields.len())
        .map(|i| format_ident!("field_{i}", span = span))
        .collect();
    let accesses = fields.iter().zip(&values).map(
        |(field, value)| quote_spanned!(call_site_at(span)=> let #value = &(*#message).#field;),
    );
    let slice = quote_spanned!(span=> &[#(#values),*]);
    let call = call(slice);
    match (source, fields.is_empty()) {
        (Source::Request, true) => quote!(|_request| #call),
        (Source::Request, false) => quote!(|request| { #(#accesses)* #call }),
        (Source::Response, _) => quote!(|response, key| { #(#accesses)* #call }),
    }
}
