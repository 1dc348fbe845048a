//! The descriptor: the service and its methods as constants, and the one place where the user's types are checked.
//!
//! Assumes a sound model, but for the type.

use std::borrow::Cow;
use std::collections::HashMap;

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

use super::expander::{Expander, doc};
use super::store::{kv_deletes, setting, store};
use crate::args::composite::{Codec, FunctionPath};
use crate::attribute::StoreKind;
use crate::krate::{Krate, call_site_at};
use crate::model::method::Method;
use crate::model::signature::Request;

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
///         0, ("UserService", "ping"), <() as #p::ProtobufMessage>::CODEC, <Pong as #p::ProtobufMessage>::CODEC, <Status as #krate::ServiceError>::CODEC,
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
    let name = method.constant();
    let index = Literal::usize_unsuffixed(method.index);
    let (service_name, method_name) = (expander.service.name(), method.name());
    let endpoint_name = Some(&method.endpoint.name)
        .filter(|name| **name != method.name())
        .map(|name| quote!(.endpoint_name(#name)));
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

    let endpoint = &method.endpoint;
    let settings = [
        setting(p, "timeout", endpoint.timeout.as_ref()),
        setting(p, "metadata", endpoint.metadata.as_ref()),
        setting(p, "queue_group", endpoint.queue_group.group.as_ref()),
        setting(p, "max_in_flight", endpoint.max_in_flight.as_ref()),
    ];
    let idempotent = endpoint.idempotent.then(|| quote!(.idempotent()));
    let validate = endpoint
        .validate
        .as_ref()
        .map(|path| validate(p, path, &request));
    let stream = method.stream.as_ref();
    let windows = [
        setting(p, "window", stream.and_then(|it| it.window.as_ref())),
        setting(
            p,
            "window_bytes",
            stream.and_then(|it| it.window_bytes.as_ref()),
        ),
    ];
    let stores = method
        .stores
        .iter()
        .map(|of_method| store(expander, of_method));
    let deletions = kv_deletes(expander, &method.deletions);
    quote! {
        #(#cfgs)*
        const #name: #p::Method<#request, #response, #error> =
            #p::Method::new(#index, (#service_name, #method_name), #request_codec, #response_codec, #error_codec) #endpoint_name #(#settings)* #idempotent #validate #(#windows)* #(#stores)* #deletions;
    }
}

/// ```text
/// .validate(|request, into_status| {
///     let function: fn(&Line) -> _ = check;
///     #p::validated(function(request), into_status)
/// })
/// ```
///
/// The names are hygienic: the function may have one of them. With the type rustc shows the function that it expected.
fn validate(p: &Krate, FunctionPath(path): &FunctionPath, request_type: &Type) -> TokenStream {
    let span = call_site_at(path.span());
    let p = p.at(span);
    let [request, function, into_status] = ["request", "function", "into_status"]
        .map(|name| Ident::new(name, Span::mixed_site().located_at(span)));
    quote_spanned! {span=>
        .validate(|#request, #into_status| {
            let #function: fn(&#request_type) -> _ = #path;
            #p::validated(#function(#request), #into_status)
        })
    }
}

/// `<T as #p::ProtobufMessage>::CODEC` at `T`, the only place with a bound on `T`.
fn message(expander: &Expander<'_>, ty: Option<&Type>, written: &Type) -> TokenStream {
    let span = call_site_at(ty.map_or_else(Span::call_site, Spanned::span));
    let p = expander.private.at(span);
    match &expander.service.settings.codec {
        Codec::Protobuf => {
            quote_spanned!(span=> <#written as #p::ProtobufMessage>::CODEC)
        }
        Codec::Json => quote_spanned!(span=> <#written as #p::JsonMessage>::CODEC),
        Codec::Custom(codec) => quote_spanned!(span=> #p::message::<#codec, #written>()),
    }
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
    let settings = &service.settings;
    let (name, prefix) = (&settings.name, &settings.subject_prefix);
    let last = service.methods().map(|method| method.index).max();
    let methods = Literal::usize_unsuffixed(last.map_or(0, |last| last + 1));
    let calls = [
        setting(p, "version", settings.version.as_ref()),
        setting(p, "description", settings.description.as_ref()),
        setting(p, "timeout", settings.timeout.as_ref()),
        setting(p, "metadata", settings.metadata.as_ref()),
        setting(p, "queue_group", settings.queue_group.group.as_ref()),
        stores(expander),
    ];
    quote! {
        #(#cfgs)*
        impl #p::Describe for #descriptor {
            const SERVICE: #p::ServiceDescriptor = #p::ServiceDescriptor::new(#name, #prefix, #methods) #(#calls)*;
        }
    }
}

/// `.stores(&[#p::Method::stores(&Self::SAVE_PROFILE), ..])` of the methods that share a bucket.
fn stores(expander: &Expander<'_>) -> Option<TokenStream> {
    let (service, p) = (expander.service, &expander.private);
    let mut users: HashMap<_, usize> = HashMap::new();
    for bucket in service.endpoints().flat_map(buckets) {
        *users.entry(bucket).or_default() += 1;
    }
    let is_shared = |method: &&Method| {
        let mut buckets = buckets(method);
        buckets.any(|bucket| users.get(&bucket).is_some_and(|&users| users > 1))
    };
    let shared = service.endpoints().filter(is_shared).map(|method| {
        let (cfgs, name) = (&method.attrs.cfgs, method.constant());
        quote!(#(#cfgs)* #p::Method::stores(&Self::#name))
    });
    let shared: Vec<TokenStream> = shared.collect();
    (!shared.is_empty()).then(|| quote!(.stores(&[#(#shared),*])))
}

/// The buckets of a method; two kinds of stores may have the same name.
fn buckets(method: &Method) -> impl Iterator<Item = (StoreKind, String)> {
    let stores = method.stores.iter();
    stores.map(|store| (store.kind, store.bucket.value()))
}
