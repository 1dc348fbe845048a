//! The descriptor: the service and its methods as constants, and the one place where the user's types are checked.

use std::borrow::Cow;

use std::collections::HashMap;

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

use super::store::{duration, kv_deletes, kv_store, lit, metadata, object_store, setting};
use super::{Expander, doc};
use crate::args::Setting;
use crate::args::composite::{Codec, QueueGroup};
use crate::args::value::{Bucket, Text};
use crate::model::{Method, Request, Service, call_site_at};
use crate::names::snake_case;

/// ```text
/// #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
/// pub enum UserServiceDescriptor {}
/// ```
pub(super) fn type_(expander: &Expander<'_>) -> TokenStream {
    let (vis, descriptor, attrs) = (
        &expander.service.vis,
        expander.descriptor(),
        expander.item_attrs(),
    );
    let doc = doc(format!(
        "How [`{}`] looks on NATS: its names, settings and message types.",
        expander.service.name()
    ));
    quote! {
        #[doc = #doc]
        #attrs
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        #vis enum #descriptor {}
    }
}

/// ```text
/// impl UserServiceDescriptor {
///     const PING: #p::Method<(), Pong, Status> = #p::Method::new(
///         0, "ping", <() as #p::ProtobufMessage>::CODEC, <Pong as #p::ProtobufMessage>::CODEC, <Status as #krate::ServiceError>::CODEC,
///     );
/// }
/// ```
pub(super) fn constants(expander: &Expander<'_>) -> TokenStream {
    let descriptor = expander.descriptor();
    let attrs = expander.item_attrs();
    let constants: TokenStream = expander
        .service
        .endpoints()
        .map(|method| constant(expander, method))
        .collect();
    quote! {
        #attrs
        impl #descriptor {
            #constants
        }
    }
}

fn constant(expander: &Expander<'_>, method: &Method) -> TokenStream {
    let krate = expander.krate;
    let p = &expander.private;
    let cfgs = &method.attrs.cfgs;
    let name = method.constant("");
    let index = Literal::usize_unsuffixed(method.index);
    let endpoint = method.endpoint_name();
    let output = &method.output;
    let request_type = method.request.as_ref().map(Request::message);
    let request =
        request_type.map_or_else(|| Cow::Owned(Type::Verbatim(quote!(()))), Cow::Borrowed);
    let (response, error) = (output.message(krate), output.error(krate));

    let (response_type, error_type) = match (&output.item, &output.result) {
        (Some(item), Some((_, error))) => (item, error),
        (None, Some((ok, error))) => (ok, error),
        (Some(item), None) => (item, &output.ty),
        (None, None) => (&output.ty, &output.ty),
    };
    let request_codec = message(expander, request_type, &request);
    let response_codec = message(expander, Some(response_type), &response);
    let error_span = call_site_at(error_type.span());
    let error_krate = krate.at(error_span);
    let error_codec = quote_spanned!(error_span=> <#error as #error_krate::ServiceError>::CODEC);

    let args = &method.endpoint;
    let settings = [
        setting(&args.timeout, "timeout", |period| duration(*period)),
        setting(&args.metadata, "metadata", metadata),
        queue_group(&args.queue_group),
        setting(&args.max_in_flight, "max_in_flight", |number| {
            let number = usize::try_from(number.0).unwrap_or(usize::MAX);
            Literal::usize_unsuffixed(number).to_token_stream()
        }),
    ];
    let stream = method.stream.as_ref().and_then(|stream| {
        setting(&stream.args.window, "window", |number| {
            let number = u32::try_from(number.0).unwrap_or(u32::MAX);
            Literal::u32_unsuffixed(number).to_token_stream()
        })
    });
    let kv = method
        .kv
        .as_ref()
        .and_then(|store| kv_store(expander, &store.args));
    let object = method
        .object
        .as_ref()
        .and_then(|store| object_store(expander, &store.args));
    let deletions = kv_deletes(expander, &method.deletions);
    quote! {
        #(#cfgs)*
        const #name: #p::Method<#request, #response, #error> =
            #p::Method::new(#index, #endpoint, #request_codec, #response_codec, #error_codec) #(#settings)* #stream #kv #object #deletions;
    }
}

/// `<T as #p::ProtobufMessage>::CODEC` at `T`, the only place with a bound on `T`.
fn message(expander: &Expander<'_>, ty: Option<&Type>, written: &Type) -> TokenStream {
    let span = call_site_at(ty.map_or_else(proc_macro2::Span::call_site, Spanned::span));
    let p = expander.private.at(span);
    match expander.service.args.codec.get() {
        None | Some(Codec::Protobuf) => {
            quote_spanned!(span=> <#written as #p::ProtobufMessage>::CODEC)
        }
        Some(Codec::Json) => quote_spanned!(span=> <#written as #p::JsonMessage>::CODEC),
        Some(Codec::Custom(codec)) => quote_spanned!(span=> #p::message::<#codec, #written>()),
    }
}

fn queue_group(group: &Setting<QueueGroup>) -> Option<TokenStream> {
    setting(group, "queue_group", |group| match group {
        QueueGroup::Named(name) => quote!(::core::option::Option::Some(#name)),
        QueueGroup::Off => quote!(::core::option::Option::None),
    })
}

/// ```text
/// impl #p::Describe for UserServiceDescriptor {
///     const SERVICE: #p::ServiceDescriptor = #p::ServiceDescriptor::new("UserService", "api.v1", 4).version("1.2.0");
/// }
/// ```
pub(super) fn describe(expander: &Expander<'_>) -> TokenStream {
    let service = expander.service;
    let p = &expander.private;
    let descriptor = expander.descriptor();
    let cfgs = &service.cfgs;
    let args = &service.args;
    let name = args
        .name
        .get()
        .map_or_else(|| service.name().to_token_stream(), lit);
    let prefix = args
        .subject_prefix
        .get()
        .map_or_else(|| snake_case(&service.name()).to_token_stream(), lit);
    let last = service.methods().map(|method| method.index).max();
    let methods = Literal::usize_unsuffixed(last.map_or(0, |last| last + 1));
    let description = match args.description.get() {
        Some(text) => Some(lit(text)),
        None => description(service).map(|text| text.to_token_stream()),
    };
    let description = description.map(|text| quote!(.description(#text)));
    let settings = [
        setting(&args.version, "version", lit),
        description,
        setting(&args.timeout, "timeout", |period| duration(*period)),
        setting(&args.metadata, "metadata", metadata),
        queue_group(&args.queue_group),
        stores(expander),
    ];
    quote! {
        #(#cfgs)*
        impl #p::Describe for #descriptor {
            const SERVICE: #p::ServiceDescriptor = #p::ServiceDescriptor::new(#name, #prefix, #methods) #(#settings)*;
        }
    }
}

/// `.stores(&[#p::Method::stores(&Self::SAVE_PROFILE), ..])` of the methods that share a bucket.
fn stores(expander: &Expander<'_>) -> Option<TokenStream> {
    let (service, p) = (expander.service, expander.krate.private());
    let mut users: HashMap<_, usize> = HashMap::new();
    for bucket in service.endpoints().flat_map(buckets) {
        *users.entry(bucket).or_default() += 1;
    }
    let is_shared = |method: &&Method| {
        let mut buckets = buckets(method);
        buckets.any(|bucket| users.get(&bucket).is_some_and(|&users| users > 1))
    };
    let shared = service.endpoints().filter(is_shared).map(|method| {
        let (cfgs, name) = (&method.attrs.cfgs, method.constant(""));
        quote!(#(#cfgs)* #p::Method::stores(&Self::#name))
    });
    let shared: Vec<TokenStream> = shared.collect();
    (!shared.is_empty()).then(|| quote!(.stores(&[#(#shared),*])))
}

/// The buckets of a method: the names, each with the attribute that says it.
fn buckets(method: &Method) -> impl Iterator<Item = (&'static str, String)> {
    let name = |bucket: &Setting<Text<Bucket>>| Some(bucket.get()?.lit.value());
    let kv = method.kv.as_ref().and_then(|kv| name(&kv.args.bucket));
    let object = method.object.as_ref();
    let object = object.and_then(|object| name(&object.args.bucket));
    let kv = kv.map(|name| ("kv_store", name));
    kv.into_iter()
        .chain(object.map(|name| ("object_store", name)))
}

/// The doc comment of the trait in one line.
fn description(service: &Service) -> Option<String> {
    let lines = service
        .attrs
        .iter()
        .filter(|attr| attr.path().is_ident("doc"))
        .filter_map(|attr| {
            let pair = attr.meta.require_name_value().ok()?;
            match &pair.value {
                syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Str(text),
                    ..
                }) => Some(text.value()),
                _ => None,
            }
        });
    let text: Vec<String> = lines
        .flat_map(|text| {
            text.lines()
                .map(|line| line.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .filter(|line| !line.is_empty())
        .collect();
    (!text.is_empty()).then(|| text.join(" "))
}
