//! The functions of the client that read and write the stores of a method, and make their keys.
//!
//! Assumes names and signatures from `model::accessor`; writes each of them with its documentation and its body.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::expander::{Expander, doc};
use super::signature::{ClientTypes, client_types};
use crate::attribute::StoreKind;
use crate::model::accessor::{Accessor, AccessorKind, Parameter, Returns, Signature};
use crate::model::method::Method;
use crate::model::signature::Request;

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
    let signature = accessor.signature();
    // A function of a store cannot be written without its types; that of a key does not need them.
    let types = if signature.takes_self {
        Some(types?)
    } else {
        None
    };
    let (cfgs, lints) = (&method.attrs.cfgs, &method.attrs.lints);
    // A deprecated method has deprecated accessors, and they use each other.
    let uses_another = matches!(accessor.kind, AccessorKind::Get | AccessorKind::Put);
    let deprecated =
        (uses_another && method.attrs.deprecated).then(|| quote!(#[allow(deprecated)]));
    let doc = doc(documentation(expander, method, accessor));
    let name = format_ident!("{}", accessor.name);
    let is_async = signature.is_async.then(|| quote!(async));
    let receiver = signature.takes_self.then(|| quote!(&self,));
    let generics = types.and_then(|types| types.generics.as_ref());
    let clause = types.and_then(|types| types.clause);
    let parameters = signature
        .parameters
        .iter()
        .map(|parameter| self::parameter(expander, method, parameter, types));
    let returns = returns(expander, accessor, signature.returns, types);
    let body = expander.body(body(expander, method, accessor, &signature));
    Some(quote! {
        #[doc = #doc]
        #(#cfgs)*
        #(#lints)*
        #deprecated
        pub #is_async fn #name #generics (#receiver #(#parameters),*) -> #returns #clause #body
    })
}

fn parameter(
    expander: &Expander<'_>,
    method: &Method,
    parameter: &Parameter<'_>,
    types: Option<&ClientTypes<'_>>,
) -> TokenStream {
    let krate = expander.krate;
    match parameter {
        Parameter::Key => quote!(key: impl ::core::convert::AsRef<::core::primitive::str>),
        Parameter::Value => {
            let ok = types.map(|types| &types.ok);
            quote!(value: &#ok)
        }
        Parameter::Request => {
            let request = &method.request;
            quote!(#request)
        }
        Parameter::Field { ident, is_open, .. } => {
            let bound = if *is_open {
                format_ident!("PatternToken")
            } else {
                format_ident!("KeyToken")
            };
            quote!(#ident: impl #krate::store::#bound)
        }
    }
}

fn returns(
    expander: &Expander<'_>,
    accessor: &Accessor<'_>,
    returns: Returns,
    types: Option<&ClientTypes<'_>>,
) -> TokenStream {
    let krate = expander.krate;
    let ok = types.map(|types| &types.ok);
    match returns {
        Returns::Handle => {
            let handle = handle(accessor.store.kind);
            quote!(#krate::#handle<#ok>)
        }
        Returns::Entry => quote! {
            ::core::result::Result<::core::option::Option<#ok>, #krate::store::StoreError>
        },
        Returns::Revision => quote! {
            ::core::result::Result<::core::primitive::u64, #krate::store::StoreError>
        },
        Returns::CachedCall => {
            let error = types.map(|types| &types.error);
            quote!(#krate::CachedCall<#ok, #error>)
        }
        Returns::Key => quote!(::core::result::Result<#krate::Key, #krate::store::InvalidKey>),
        Returns::Pattern => {
            quote!(::core::result::Result<#krate::store::Pattern, #krate::store::InvalidKey>)
        }
    }
}

fn body(
    expander: &Expander<'_>,
    method: &Method,
    accessor: &Accessor<'_>,
    signature: &Signature<'_>,
) -> TokenStream {
    let (krate, p) = (expander.krate, &expander.private);
    let kind = accessor.store.kind;
    let (descriptor, constant) = (expander.descriptor(), method.constant());
    let constant = quote!(&#descriptor::#constant);
    let of_kind = |kv: &str, object: &str| match kind {
        StoreKind::Kv => format_ident!("{kv}"),
        StoreKind::Object => format_ident!("{object}"),
    };
    let store = || {
        let mut accessors = method.accessors().into_iter();
        let handle = accessors
            .find(|other| other.kind == AccessorKind::Handle && other.store.kind == kind)
            .map(|handle| format_ident!("{}", handle.name));
        quote!(&self.#handle())
    };
    let handle = handle(kind);
    match accessor.kind {
        AccessorKind::Handle => {
            let open = of_kind("kv_store", "object_store");
            quote!(#p::ServiceClient::#open(&self.inner, #constant))
        }
        AccessorKind::Get => {
            let store = store();
            quote!(#krate::#handle::get(#store, key).await)
        }
        AccessorKind::Put => {
            let store = store();
            quote!(#krate::#handle::put(#store, key, value).await)
        }
        AccessorKind::Cached => {
            let cached = of_kind("kv_cached", "object_cached");
            let request = method.request.as_ref();
            let request =
                request.map_or_else(|| quote!(()), |Request { ident, .. }| quote!(#ident));
            quote!(#p::ServiceClient::#cached(&self.inner, #constant, &#request))
        }
        AccessorKind::Key | AccessorKind::Pattern => {
            let make = match accessor.kind {
                AccessorKind::Pattern => format_ident!("kv_pattern"),
                _ => of_kind("kv_key", "object_key"),
            };
            let values = accessor.store.usage.key.placeholders();
            let values = values.filter_map(|wanted| {
                signature
                    .parameters
                    .iter()
                    .find_map(|parameter| match parameter {
                        Parameter::Field {
                            placeholder, ident, ..
                        } if *placeholder == wanted => Some(quote!(&#ident)),
                        _ => None,
                    })
            });
            quote!(#p::Method::#make(#constant, &[#(#values),*]))
        }
    }
}

fn handle(kind: StoreKind) -> proc_macro2::Ident {
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
