//! The functions of the client that read and write the stores of a method, and make their keys.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};

use super::{Expander, doc, fallback};
use crate::key::{Source, Template, field_ident};
use crate::model::{Method, MethodKey, Request};

/// The functions of a method's stores.
pub(super) fn of_stores(expander: &Expander<'_>, method: &Method) -> TokenStream {
    let keys = method.keys().into_iter().flat_map(|key| {
        [
            key_function(expander, method, &key),
            pattern_function(expander, method, &key),
        ]
    });
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
    let cached = method
        .cached()
        .map(|of| cached_function(expander, method, of));
    let others = [cached, kv, object];
    keys.chain(others).flatten().collect()
}

/// What differs between the functions of the two kinds of stores.
struct Flavour {
    suffix: &'static str,
    handle: &'static str,
    open: &'static str,
    bucket: &'static str,
    entry: &'static str,
}

const KV: Flavour = Flavour {
    suffix: "_kv",
    handle: "KvStore",
    open: "kv_store",
    bucket: "bucket",
    entry: "entry",
};
const OBJECT: Flavour = Flavour {
    suffix: "_object_store",
    handle: "ObjectStore",
    open: "object_store",
    bucket: "object store",
    entry: "object",
};

/// ```text
/// pub fn save_profile_kv(&self) -> #krate::KvStore<Profile> { .. }
/// pub async fn get_save_profile_from_kv(&self, key: impl AsRef<str>) -> Result<Option<Profile>, #krate::store::StoreError> { .. }
/// pub async fn put_save_profile_to_kv(&self, key: impl AsRef<str>, value: &Profile) -> Result<u64, #krate::store::StoreError> { .. }
/// ```
fn store_functions(
    expander: &Expander<'_>,
    method: &Method,
    bucket: &str,
    flavour: &Flavour,
) -> TokenStream {
    let krate = expander.krate;
    let p = &expander.private;
    let Some((ok, _)) = fallback::types(expander, method) else {
        return TokenStream::new();
    };
    let descriptor = expander.descriptor();
    let (cfgs, lints, name) = (&method.attrs.cfgs, &method.attrs.lints, method.name());
    let (generics, clause) = fallback::generics(expander, method);
    let constant = method.constant("");
    let (handle, open) = (
        format_ident!("{}", flavour.handle),
        format_ident!("{}", flavour.open),
    );
    let store = method.derived("", flavour.suffix);
    let get = method.derived("get_", &format!("_from{}", flavour.suffix));
    let put = method.derived("put_", &format!("_to{}", flavour.suffix));
    let store_doc = doc(format!(
        "A handle on the `{bucket}` {}, where `{name}` stores its responses.",
        flavour.bucket
    ));
    let get_doc = doc(format!(
        "The {} that `{name}` stored under `key` in the `{bucket}` {}, if there is one.",
        flavour.entry, flavour.bucket
    ));
    let put_doc = doc(format!(
        "Stores `value` under `key` in the `{bucket}` {}, as `{name}` does; gives the revision.",
        flavour.bucket
    ));
    let store_body =
        expander.body(quote!(#p::ServiceClient::#open(&self.inner, &#descriptor::#constant)));
    let get_body = expander.body(quote!(#krate::#handle::get(&self.#store(), key).await));
    let put_body = expander.body(quote!(#krate::#handle::put(&self.#store(), key, value).await));
    // A deprecated method has deprecated accessors, and they use each other.
    let deprecated = method
        .attrs
        .deprecated
        .then(|| quote!(#[allow(deprecated)]));
    let store_function = quote! {
        #[doc = #store_doc]
        #(#cfgs)*
        #(#lints)*
        pub fn #store #generics (&self) -> #krate::#handle<#ok> #clause #store_body
    };
    let get_function = quote! {
        #[doc = #get_doc]
        #(#cfgs)*
        #(#lints)*
        #deprecated
        pub async fn #get #generics (&self, key: impl ::core::convert::AsRef<::core::primitive::str>)
            -> ::core::result::Result<::core::option::Option<#ok>, #krate::store::StoreError> #clause #get_body
    };
    let put_function = quote! {
        #[doc = #put_doc]
        #(#cfgs)*
        #(#lints)*
        #deprecated
        pub async fn #put #generics (&self, key: impl ::core::convert::AsRef<::core::primitive::str>, value: &#ok)
            -> ::core::result::Result<::core::primitive::u64, #krate::store::StoreError> #clause #put_body
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
/// pub fn save_profile_cached(&self, request: SaveProfileRequest) -> #krate::CachedCall<Profile, Status> {
///     #p::ServiceClient::kv_cached(&self.inner, &UserServiceDescriptor::SAVE_PROFILE, &request)
/// }
/// ```
fn cached_function(expander: &Expander<'_>, method: &Method, cached: &str) -> TokenStream {
    let krate = expander.krate;
    let p = &expander.private;
    let name = method.derived("", "_cached");
    let Some((ok, error)) =
        fallback::types(expander, method).filter(|_| !method.is_suppressed(&name.to_string()))
    else {
        return TokenStream::new();
    };
    let descriptor = expander.descriptor();
    let (cfgs, lints) = (&method.attrs.cfgs, &method.attrs.lints);
    let (generics, clause) = fallback::generics(expander, method);
    let constant = method.constant("");
    let parameter = &method.request;
    let argument = method
        .request
        .as_ref()
        .map_or_else(|| quote!(&()), |Request { ident, .. }| quote!(&#ident));
    let make = format_ident!("{cached}");
    let body = expander
        .body(quote!(#p::ServiceClient::#make(&self.inner, &#descriptor::#constant, #argument)));
    let doc = doc(format!(
        "The response of `{0}` from its store, or from `{0}` itself if it is not there.",
        method.name()
    ));
    quote! {
        #[doc = #doc]
        #(#cfgs)*
        #(#lints)*
        pub fn #name #generics (&self, #parameter) -> #krate::CachedCall<#ok, #error> #clause #body
    }
}

/// ```text
/// pub fn save_profile_key(id: impl #krate::store::KeyToken) -> ::core::result::Result<#krate::Key, #krate::store::InvalidKey> {
///     #p::Method::kv_key(&UserServiceDescriptor::SAVE_PROFILE, &[&id])
/// }
/// ```
fn key_function(
    expander: &Expander<'_>,
    method: &Method,
    key: &MethodKey<'_>,
) -> Option<TokenStream> {
    let doc = format!(
        "The key under which `{}` stores its response: `{}`.",
        method.name(),
        key.template.lit.value()
    );
    let function = FromTemplate {
        suffix: key.suffix,
        doc,
        make: key.of,
        result: quote!(Key),
    };
    function.expand(expander, method, key.template, |_| "KeyToken")
}

/// ```text
/// pub fn save_profile_pattern(id: impl #krate::store::PatternToken) -> ::core::result::Result<#krate::store::Pattern, #krate::store::InvalidKey> {
///     #p::Method::kv_pattern(&UserServiceDescriptor::SAVE_PROFILE, &[&id])
/// }
/// ```
fn pattern_function(
    expander: &Expander<'_>,
    method: &Method,
    key: &MethodKey<'_>,
) -> Option<TokenStream> {
    let doc = format!(
        "A pattern of the keys under which `{}` stores its responses, `{}`: takes a value or [`Any`]({}::store::Any) for each field.",
        method.name(),
        key.template.lit.value(),
        expander.krate.doc_path(),
    );
    let function = FromTemplate {
        suffix: key.pattern_suffix()?,
        doc,
        make: "kv_pattern",
        result: quote!(store::Pattern),
    };
    let bound = |placeholder: (Source, &str)| {
        if key.template.is_token(placeholder) {
            "PatternToken"
        } else {
            "KeyToken"
        }
    };
    function.expand(expander, method, key.template, bound)
}

/// A function with an argument for each placeholder of a template.
struct FromTemplate {
    suffix: &'static str,
    doc: String,
    /// What fills in the template in the runtime.
    make: &'static str,
    /// The type of the result, as a path in the runtime.
    result: TokenStream,
}

impl FromTemplate {
    fn expand(
        self,
        expander: &Expander<'_>,
        method: &Method,
        template: &Template,
        bound: impl Fn((Source, &str)) -> &'static str,
    ) -> Option<TokenStream> {
        let name = method.derived("", self.suffix);
        if method.is_suppressed(&name.to_string()) {
            return None;
        }
        let krate = expander.krate;
        let p = &expander.private;
        let descriptor = expander.descriptor();
        let (cfgs, lints) = (&method.attrs.cfgs, &method.attrs.lints);
        let constant = method.constant("");
        let arguments = key_arguments(template);
        let parameters = arguments.iter().map(|(placeholder, ident)| {
            let bound = format_ident!("{}", bound(*placeholder));
            quote!(#ident: impl #krate::store::#bound)
        });
        let values = template.placeholders().filter_map(|placeholder| {
            let (_, ident) = arguments
                .iter()
                .find(|(argument, _)| *argument == placeholder)?;
            Some(quote!(&#ident))
        });
        let (make, result) = (format_ident!("{}", self.make), self.result);
        let body =
            expander.body(quote!(#p::Method::#make(&#descriptor::#constant, &[#(#values),*])));
        let doc = doc(self.doc);
        Some(quote! {
            #[doc = #doc]
            #(#cfgs)*
            #(#lints)*
            pub fn #name(#(#parameters),*) -> ::core::result::Result<#krate::#result, #krate::store::InvalidKey> #body
        })
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
