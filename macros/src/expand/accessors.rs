//! The functions of the client that read and write the stores of a method, and make their keys.
//!
//! Assumes the names and kinds of `model::accessor`; writes each of them with its documentation and its body.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote};

use super::expander::{Expander, doc};
use super::signature::{ClientTypes, client_types};
use crate::attribute::StoreKind;
use crate::model::accessor::{Accessor, AccessorKind, handle_name};
use crate::model::method::Method;

/// The functions of a method's stores.
pub(super) fn of_stores(expander: &Expander<'_>, method: &Method) -> TokenStream {
    if method.stores.is_empty() {
        return TokenStream::new();
    }
    let types = client_types(expander, method);
    let accessors = method.accessors().into_iter();
    accessors
        .filter(|accessor| !method.is_suppressed(&accessor.name))
        .filter_map(|accessor| function(expander, method, &accessor, types.as_ref()))
        .collect()
}

/// ```text
/// pub fn save_profile_key(id: impl #krate::store::KeyToken) -> Result<#krate::Key, #krate::store::InvalidKey> { .. }
/// pub fn save_profile_pattern(id: impl #krate::store::PatternToken) -> Result<#krate::store::Pattern, #krate::store::InvalidKey> { .. }
/// pub fn save_profile_cached(&self, request: SaveProfileRequest) -> #krate::CachedCall<Profile, Status> { .. }
/// pub fn save_profile_kv(&self) -> #krate::KvStore<Profile> { .. }
/// pub async fn get_save_profile_from_kv(&self, key: impl AsRef<str>) -> Result<Option<Profile>, #krate::store::StoreError> { .. }
/// pub async fn put_save_profile_to_kv(&self, key: impl AsRef<str>, value: &Profile) -> Result<u64, #krate::store::StoreError> { .. }
/// ```
fn function(
    expander: &Expander<'_>,
    method: &Method,
    accessor: &Accessor<'_>,
    types: Option<&ClientTypes<'_>>,
) -> Option<TokenStream> {
    match accessor.kind {
        AccessorKind::Key | AccessorKind::Pattern => Some(of_key(expander, method, accessor)),
        AccessorKind::Handle | AccessorKind::Get | AccessorKind::Put | AccessorKind::Cached => {
            // Without the types of the method it cannot be written.
            types.map(|types| of_store(expander, method, accessor, types))
        }
    }
}

/// A function that uses a store. Each is one template, since tokens that are put together in steps are copied in each.
fn of_store(
    expander: &Expander<'_>,
    method: &Method,
    accessor: &Accessor<'_>,
    types: &ClientTypes<'_>,
) -> TokenStream {
    let krate = expander.krate;
    let (cfgs, lints) = (&method.attrs.cfgs, &method.attrs.lints);
    let ClientTypes {
        ok,
        error,
        generics,
        clause,
    } = types;
    // A deprecated method has deprecated accessors, and they use each other.
    let deprecated = method
        .attrs
        .deprecated
        .then(|| quote!(#[allow(deprecated)]));
    let doc = doc(documentation(expander, method, accessor));
    let name = format_ident!("{}", accessor.name);
    let body = expander.body(body(expander, method, accessor));
    match accessor.kind {
        AccessorKind::Get => quote! {
            #[doc = #doc]
            #(#cfgs)*
            #(#lints)*
            #deprecated
            pub async fn #name #generics (&self, key: impl ::core::convert::AsRef<::core::primitive::str>)
                -> ::core::result::Result<::core::option::Option<#ok>, #krate::store::StoreError> #clause #body
        },
        AccessorKind::Put => quote! {
            #[doc = #doc]
            #(#cfgs)*
            #(#lints)*
            #deprecated
            pub async fn #name #generics (&self, key: impl ::core::convert::AsRef<::core::primitive::str>, value: &#ok)
                -> ::core::result::Result<::core::primitive::u64, #krate::store::StoreError> #clause #body
        },
        AccessorKind::Cached => {
            let request = &method.request;
            quote! {
                #[doc = #doc]
                #(#cfgs)*
                #(#lints)*
                pub fn #name #generics (&self, #request) -> #krate::CachedCall<#ok, #error> #clause #body
            }
        }
        _ => {
            let handle = handle(accessor.store.kind);
            quote! {
                #[doc = #doc]
                #(#cfgs)*
                #(#lints)*
                pub fn #name #generics (&self) -> #krate::#handle<#ok> #clause #body
            }
        }
    }
}

/// What a function of a store does.
fn body(expander: &Expander<'_>, method: &Method, accessor: &Accessor<'_>) -> TokenStream {
    let (krate, p) = (expander.krate, &expander.private);
    let kind = accessor.store.kind;
    let handle = handle(kind);
    let store = format_ident!("{}", handle_name(&method.name(), kind));
    match accessor.kind {
        AccessorKind::Get => return quote!(#krate::#handle::get(&self.#store(), key).await),
        AccessorKind::Put => return quote!(#krate::#handle::put(&self.#store(), key, value).await),
        _ => {}
    }
    let (descriptor, constant) = (expander.descriptor(), method.constant());
    if accessor.kind == AccessorKind::Cached {
        let cached = match kind {
            StoreKind::Kv => format_ident!("kv_cached"),
            StoreKind::Object => format_ident!("object_cached"),
        };
        let request = method.request.as_ref().map(|request| &request.ident);
        let request = request.map_or_else(|| quote!(()), ToTokens::to_token_stream);
        return quote!(#p::ServiceClient::#cached(&self.inner, &#descriptor::#constant, &#request));
    }
    let open = match kind {
        StoreKind::Kv => format_ident!("kv_store"),
        StoreKind::Object => format_ident!("object_store"),
    };
    quote!(#p::ServiceClient::#open(&self.inner, &#descriptor::#constant))
}

/// A function that makes keys or patterns, with a parameter for each placeholder.
fn of_key(expander: &Expander<'_>, method: &Method, accessor: &Accessor<'_>) -> TokenStream {
    let (krate, p) = (expander.krate, &expander.private);
    let (cfgs, lints) = (&method.attrs.cfgs, &method.attrs.lints);
    let doc = doc(documentation(expander, method, accessor));
    let name = format_ident!("{}", accessor.name);
    let (descriptor, constant) = (expander.descriptor(), method.constant());
    let fields = accessor.fields();
    let idents = fields.iter().map(|field| &field.ident);
    let bounds = fields.iter().map(|field| {
        if field.is_open {
            format_ident!("PatternToken")
        } else {
            format_ident!("KeyToken")
        }
    });
    let values = accessor.store.usage.key.placeholders();
    let values = values.filter_map(|wanted| {
        let mut fields = fields.iter();
        Some(&fields.find(|field| field.placeholder == wanted)?.ident)
    });
    let (make, result) = match (accessor.kind, accessor.store.kind) {
        (AccessorKind::Pattern, _) => (format_ident!("kv_pattern"), quote!(store::Pattern)),
        (_, StoreKind::Kv) => (format_ident!("kv_key"), quote!(Key)),
        (_, StoreKind::Object) => (format_ident!("object_key"), quote!(Key)),
    };
    let body = expander.body(quote!(#p::Method::#make(&#descriptor::#constant, &[#(&#values),*])));
    quote! {
        #[doc = #doc]
        #(#cfgs)*
        #(#lints)*
        pub fn #name(#(#idents: impl #krate::store::#bounds),*) -> ::core::result::Result<#krate::#result, #krate::store::InvalidKey> #body
    }
}

/// The type of a handle.
fn handle(kind: StoreKind) -> Ident {
    match kind {
        StoreKind::Kv => format_ident!("KvStore"),
        StoreKind::Object => format_ident!("ObjectStore"),
    }
}

fn documentation(expander: &Expander<'_>, method: &Method, accessor: &Accessor<'_>) -> String {
    let (name, store) = (method.name(), accessor.store);
    let (bucket, key) = (store.bucket.value(), store.usage.key.lit.value());
    let (place, entry) = match store.kind {
        StoreKind::Kv => ("bucket", "entry"),
        StoreKind::Object => ("object store", "object"),
    };
    match accessor.kind {
        AccessorKind::Handle => {
            format!("A handle on the `{bucket}` {place}, where `{name}` stores its responses.")
        }
        AccessorKind::Get => format!(
            "The {entry} that `{name}` stored under `key` in the `{bucket}` {place}, if there is one."
        ),
        AccessorKind::Put => format!(
            "Stores `value` under `key` in the `{bucket}` {place}, as `{name}` does; gives the revision."
        ),
        AccessorKind::Cached => format!(
            "The response of `{name}` from its store, or from `{name}` itself if it is not there."
        ),
        AccessorKind::Key => format!("The key under which `{name}` stores its response: `{key}`."),
        AccessorKind::Pattern => format!(
            "A pattern of the keys under which `{name}` stores its responses, `{key}`: takes a value or [`Any`]({}::store::Any) for each field.",
            expander.krate.doc_path(),
        ),
    }
}
