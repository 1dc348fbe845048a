//! The calling side: a client with a method for each method of the service, and functions for its stores.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::FnArg;

use super::{Expander, doc, fallback};
use crate::key::{Source, Template, field_ident};
use crate::model::{Method, MethodKey};

/// ```text
/// #[derive(::core::clone::Clone, ::core::fmt::Debug)]
/// pub struct UserServiceClient { inner: #p::ServiceClient }
/// ```
pub(super) fn type_(expander: &Expander<'_>) -> TokenStream {
    let p = expander.krate.private();
    let (vis, client, attrs) = (
        &expander.service.vis,
        expander.client(),
        expander.item_attrs(),
    );
    let doc = doc(format!(
        "Calls [`{}`] over NATS and reads and writes its stores. Cheap to clone.",
        expander.service.name()
    ));
    quote! {
        #doc
        #attrs
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #vis struct #client { inner: #p::ServiceClient }
    }
}

/// The client's own methods.
pub(super) fn methods(expander: &Expander<'_>) -> TokenStream {
    let krate = expander.krate;
    let p = krate.private();
    let (client, descriptor, attrs) = (
        expander.client(),
        expander.descriptor(),
        expander.item_attrs(),
    );
    let name = expander.service.name();
    let new_doc = doc(format!(
        "A client of [`{name}`]; takes an `async_nats::Client` or a [`Client`]({}::Client) with options.",
        krate.doc_path()
    ));
    let prefix_doc =
        doc("Calls the service under another subject prefix than the one it declares.");
    let new =
        expander.body(quote!(Self { inner: #p::ServiceClient::new::<#descriptor>(client.into()) }));
    let with_prefix = expander.body(quote!(Self {
        inner: self.inner.with_subject_prefix(prefix.into())
    }));
    let methods = expander.service.endpoints().map(|method| {
        let call = call(expander, method);
        let stores = stores(expander, method);
        quote!(#call #stores)
    });
    quote! {
        #attrs
        impl #client {
            #new_doc
            #[must_use]
            pub fn new(client: impl ::core::convert::Into<#krate::Client>) -> Self { #new }

            #prefix_doc
            #[must_use]
            pub fn with_subject_prefix(self, prefix: impl ::core::convert::Into<#p::String>) -> Self { #with_prefix }

            #(#methods)*
        }
    }
}

/// ```text
/// pub fn save_profile(&self, request: SaveProfileRequest) -> #krate::Call<Profile, Status> {
///     self.inner.call(&UserServiceDescriptor::SAVE_PROFILE, &request)
/// }
/// ```
fn call(expander: &Expander<'_>, method: &Method) -> TokenStream {
    let krate = expander.krate;
    let Some((ok, error)) =
        fallback::types(expander, method).filter(|_| !method.is_suppressed(&method.name()))
    else {
        return TokenStream::new();
    };
    let descriptor = expander.descriptor();
    let (cfgs, docs, lints) = (&method.attrs.cfgs, &method.attrs.docs, &method.attrs.lints);
    let generated_doc = docs
        .is_empty()
        .then(|| doc(format!("Calls `{}`.", method.name())));
    let name = &method.sig.ident;
    let (generics, clause) = fallback::generics(expander, method);
    let constant = method.constant("");
    let (parameter, argument) = match &method.request {
        Some(request) => {
            let (ident, ty) = (&request.ident, &request.ty);
            (quote!(, #ident: #ty), quote!(&#ident))
        }
        None => (quote!(), quote!(&())),
    };
    let body = expander.body(quote!(self.inner.call(&#descriptor::#constant, #argument)));
    quote! {
        #(#docs)*
        #generated_doc
        #(#cfgs)*
        #(#lints)*
        pub fn #name #generics (&self #parameter) -> #krate::Call<#ok, #error> #clause { #body }
    }
}

/// The functions of a method's stores.
fn stores(expander: &Expander<'_>, method: &Method) -> TokenStream {
    let keys = method
        .keys()
        .into_iter()
        .filter(|key| !method.is_suppressed(&format!("{}{}", method.name(), key.suffix)))
        .map(|key| key_function(expander, method, key));
    let kv = method.kv.as_ref().map(|store| {
        let bucket = store
            .args
            .bucket
            .get()
            .map(|bucket| bucket.lit.value())
            .unwrap_or_default();
        store_functions(expander, method, &bucket, &KV)
    });
    let object = method.object.as_ref().map(|store| {
        let bucket = store
            .args
            .bucket
            .get()
            .map(|bucket| bucket.lit.value())
            .unwrap_or_default();
        store_functions(expander, method, &bucket, &OBJECT)
    });
    quote!(#(#keys)* #kv #object)
}

/// What differs between the functions of the two stores.
struct Kind {
    suffix: &'static str,
    handle: &'static str,
    open: &'static str,
    bucket: &'static str,
    entry: &'static str,
}

const KV: Kind = Kind {
    suffix: "_kv",
    handle: "KvStore",
    open: "kv_store",
    bucket: "bucket",
    entry: "entry",
};
const OBJECT: Kind = Kind {
    suffix: "_object_store",
    handle: "ObjectStore",
    open: "object_store",
    bucket: "object store",
    entry: "object",
};

/// ```text
/// pub fn save_profile_kv(&self) -> #krate::KvStore<Profile> { .. }
/// pub async fn get_save_profile_from_kv(&self, key: impl AsRef<str>) -> Result<Option<Profile>, #krate::StoreError> { .. }
/// pub async fn put_save_profile_to_kv(&self, key: impl AsRef<str>, value: &Profile) -> Result<u64, #krate::StoreError> { .. }
/// ```
fn store_functions(
    expander: &Expander<'_>,
    method: &Method,
    bucket: &str,
    kind: &Kind,
) -> TokenStream {
    let krate = expander.krate;
    let Some((ok, _)) = fallback::types(expander, method) else {
        return TokenStream::new();
    };
    let descriptor = expander.descriptor();
    let (cfgs, lints, name) = (&method.attrs.cfgs, &method.attrs.lints, method.name());
    let (generics, clause) = fallback::generics(expander, method);
    let constant = method.constant("");
    let (handle, open) = (
        format_ident!("{}", kind.handle),
        format_ident!("{}", kind.open),
    );
    let store = method.derived("", kind.suffix);
    let get = method.derived("get_", &format!("_from{}", kind.suffix));
    let put = method.derived("put_", &format!("_to{}", kind.suffix));
    let store_doc = doc(format!(
        "A handle on the `{bucket}` {}, where `{name}` stores its responses.",
        kind.bucket
    ));
    let get_doc = doc(format!(
        "The {} that `{name}` stored under `key` in the `{bucket}` {}, if there is one.",
        kind.entry, kind.bucket
    ));
    let put_doc = doc(format!(
        "Stores `value` under `key` in the `{bucket}` {}, as `{name}` does; gives the revision.",
        kind.bucket
    ));
    let store_body = expander.body(quote!(self.inner.#open(&#descriptor::#constant)));
    let get_body = expander.body(quote!(self.#store().get(key).await));
    let put_body = expander.body(quote!(self.#store().put(key, value).await));
    // A deprecated method has deprecated accessors, and they use each other.
    let deprecated = method
        .attrs
        .deprecated
        .then(|| quote!(#[allow(deprecated)]));
    let store_function = quote! {
        #store_doc
        #(#cfgs)*
        #(#lints)*
        pub fn #store #generics (&self) -> #krate::#handle<#ok> #clause { #store_body }
    };
    let get_function = quote! {
        #get_doc
        #(#cfgs)*
        #(#lints)*
        #deprecated
        pub async fn #get #generics (&self, key: impl ::core::convert::AsRef<::core::primitive::str>)
            -> ::core::result::Result<::core::option::Option<#ok>, #krate::StoreError> #clause { #get_body }
    };
    let put_function = quote! {
        #put_doc
        #(#cfgs)*
        #(#lints)*
        #deprecated
        pub async fn #put #generics (&self, key: impl ::core::convert::AsRef<::core::primitive::str>, value: &#ok)
            -> ::core::result::Result<::core::primitive::u64, #krate::StoreError> #clause { #put_body }
    };
    let functions = [
        (store, store_function),
        (get, get_function),
        (put, put_function),
    ];
    functions
        .into_iter()
        .filter(|(name, _)| !method.is_suppressed(&name.to_string()))
        .map(|(_, function)| function)
        .collect()
}

/// ```text
/// pub fn save_profile_key(id: impl #krate::KeyToken) -> ::core::result::Result<#krate::Key, #krate::InvalidKey> {
///     UserServiceDescriptor::SAVE_PROFILE.kv_key(&[&id])
/// }
/// ```
fn key_function(expander: &Expander<'_>, method: &Method, key: MethodKey<'_>) -> TokenStream {
    let krate = expander.krate;
    let descriptor = expander.descriptor();
    let (cfgs, lints) = (&method.attrs.cfgs, &method.attrs.lints);
    let name = method.derived("", key.suffix);
    let constant = method.constant("");
    let arguments = key_arguments(key.template);
    let parameters = arguments
        .iter()
        .map(|(_, ident)| quote!(#ident: impl #krate::KeyToken));
    let values = key.template.placeholders().filter_map(|placeholder| {
        let (_, ident) = arguments
            .iter()
            .find(|(argument, _)| *argument == placeholder)?;
        Some(quote!(&#ident))
    });
    let make = format_ident!("{}", key.of);
    let body = expander.body(quote!(#descriptor::#constant.#make(&[#(#values),*])));
    let doc = doc(format!(
        "The key under which `{}` stores its response: `{}`.",
        method.name(),
        key.template.lit.value()
    ));
    quote! {
        #doc
        #(#cfgs)*
        #(#lints)*
        pub fn #name(#(#parameters),*) -> ::core::result::Result<#krate::Key, #krate::InvalidKey> { #body }
    }
}

/// One argument for each distinct placeholder, in the order of their first occurrence. A field of the response is named after its
/// message only if a field of the request has the same name.
fn key_arguments(template: &Template) -> Vec<((Source, &str), Ident)> {
    let mut arguments: Vec<((Source, &str), Ident)> = Vec::new();
    for placeholder @ (source, name) in template.placeholders() {
        if arguments.iter().any(|(earlier, _)| *earlier == placeholder) {
            continue;
        }
        let is_shared = source == Source::Response
            && template.fields(Source::Request).any(|other| other == name);
        let mut argument = if is_shared {
            format!("response_{name}")
        } else {
            name.to_owned()
        };
        while is_shared && template.placeholders().any(|(_, other)| other == argument) {
            argument.push('_');
        }
        arguments.push((placeholder, field_ident(&argument, Span::call_site())));
    }
    arguments
}

/// The trait for the client, so that code generic over the service takes it. A call through the trait hands on the context.
/// ```text
/// impl UserService for UserServiceClient {
///     async fn generate_report(&self, cx: &Context, request: ReportRequest) -> Result<Report, Status> {
///         UserServiceClient::generate_report(self, request).with_context(cx).await
///     }
/// }
/// ```
pub(super) fn implementation(expander: &Expander<'_>) -> TokenStream {
    let service = expander.service;
    let (ident, client, service_cfgs) = (&service.ident, expander.client(), &service.cfgs);
    let deprecated = expander.allow_deprecated(service.methods());
    let methods = service.methods().map(|method| {
        let cfgs = &method.attrs.cfgs;
        let method = if method.skipped() {
            skipped(expander, method)
        } else {
            forwarded(expander, method)
        };
        quote!(#(#cfgs)* #method)
    });
    quote! {
        #(#service_cfgs)*
        #deprecated
        impl #ident for #client {
            #(#methods)*
        }
    }
}

fn forwarded(expander: &Expander<'_>, method: &Method) -> TokenStream {
    let client = expander.client();
    let (name, output) = (&method.sig.ident, &method.output.ty);
    let context_type = method
        .sig
        .inputs
        .iter()
        .find_map(|input| match (&method.context, input) {
            (Some(_), FnArg::Typed(typed)) => Some(&typed.ty),
            _ => None,
        });
    let context = method.context.as_ref();
    let context_parameter = context_type.map(|ty| quote!(, #context: #ty));
    let with_context = context.map(|cx| quote!(.with_context(#cx)));
    let (parameter, argument) = match &method.request {
        Some(request) => {
            let (ident, ty) = (&request.ident, &request.ty);
            (quote!(, #ident: #ty), quote!(, #ident))
        }
        None => (quote!(), quote!()),
    };
    let call = quote!(#client::#name(self #argument) #with_context.await);
    let call = if method.output.result.is_some() {
        call
    } else {
        let p = expander.krate.private();
        quote!(#p::Outcome::from_result(#call))
    };
    quote! {
        async fn #name(&self #context_parameter #parameter) -> #output { #call }
    }
}

/// A skipped method is there, but nobody answers.
fn skipped(expander: &Expander<'_>, method: &Method) -> TokenStream {
    let p = expander.krate.private();
    let (sig, output) = (&method.sig, &method.output.ty);
    let (service, name) = (expander.service.name(), method.name());
    quote! {
        #[allow(unused_variables)]
        #sig { <#output as #p::Outcome>::unimplemented(#service, #name) }
    }
}
