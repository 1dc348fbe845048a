//! The settings of `#[service]`, `#[endpoint]`, `#[stream]`, `#[kv_store]`, `#[object_store]` and `#[kv_delete]`.
//!
//! Assumes the tokens between the parentheses. Guarantees: an unknown, repeated or unnamed setting is an error at that setting, a
//! value outside its grammar is an error at the value, and none of them hides another. What is left holds only checked values;
//! rules between two settings of one attribute, or of two methods, are in `validate`.
//!
//! darling reads the fields; what it would say about a mistake speaks of metas and literals, so every field is a [`Setting`], which
//! never fails but keeps its error, and what darling could refuse is sorted out before.

pub(crate) mod composite;
pub(crate) mod quantity;
mod unknown;
pub(crate) mod value;

use darling::FromMeta;
use darling::ast::{MetaNameValueInvalidExpr, NestedMeta};
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Meta, Path};

use crate::diag::{Diagnostics, error, error_with_help};
use composite::{Codec, Key, KratePath, Metadata, QueueGroup};
use quantity::{Bytes, Number, Period};
use value::{
    Bucket, Description, Flag, MethodName, OneOf, Persist, Prefix, ProtoName, ServiceName, Storage,
    Text, Value, Version, Write,
};

/// A setting that may be absent.
#[derive(Debug, Clone)]
pub(crate) struct Setting<T> {
    written: Option<Written>,
    value: Option<T>,
    errors: Vec<syn::Error>,
}

/// Where a setting stands.
#[derive(Debug, Clone)]
struct Written {
    key: Path,
    value: TokenStream,
}

impl<T> Default for Setting<T> {
    fn default() -> Self {
        Self {
            written: None,
            value: None,
            errors: Vec::new(),
        }
    }
}

impl<T> Setting<T> {
    /// The value, if it was set and is right.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Whether the user wrote the setting, rightly or not.
    pub(crate) fn is_set(&self) -> bool {
        self.written.is_some()
    }

    /// The name of the setting, to point at.
    pub(crate) fn key(&self) -> TokenStream {
        self.written
            .as_ref()
            .map(|written| written.key.to_token_stream())
            .unwrap_or_default()
    }

    /// The value of the setting, or its name if it has none, to point at.
    pub(crate) fn label(&self) -> TokenStream {
        self.written
            .as_ref()
            .map(|written| written.value.clone())
            .unwrap_or_default()
    }

    fn report(&mut self, diags: &mut Diagnostics) {
        for error in self.errors.drain(..) {
            diags.push(error);
        }
    }
}

impl<T: Value> FromMeta for Setting<T> {
    fn from_meta(meta: &Meta) -> darling::Result<Self> {
        let mut errors = Vec::new();
        let value = T::read(meta, &mut errors);
        let label = match meta {
            Meta::NameValue(pair) => pair.value.to_token_stream(),
            Meta::Path(_) | Meta::List(_) => meta.to_token_stream(),
        };
        Ok(Self {
            written: Some(Written {
                key: meta.path().clone(),
                value: label,
            }),
            value,
            errors,
        })
    }

    fn from_invalid_expr(pair: &MetaNameValueInvalidExpr) -> darling::Result<Self> {
        let name = value::setting_name(&pair.path);
        let errors = vec![error(
            &pair.value,
            format!("`{name}` takes {}: `{}`", T::WHAT, T::example(&name)),
        )];
        Ok(Self {
            written: Some(Written {
                key: pair.path.clone(),
                value: pair.value.clone(),
            }),
            value: None,
            errors,
        })
    }
}

/// A set of settings that one attribute takes.
pub(crate) trait Settings: FromMeta + Default {
    /// What the attribute accepts, in alphabetical order.
    const NAMES: &'static [&'static str];

    /// Hands over the errors of the values.
    fn report(&mut self, diags: &mut Diagnostics);
}

/// Declares a struct of [`Setting`]s; `field ("name")` where the name is no identifier.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($field:ident $(($rename:literal))?: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, FromMeta)]
        pub(crate) struct $name {
            $(#[darling(default $(, rename = $rename)?)] pub(crate) $field: Setting<$ty>,)*
        }

        impl Settings for $name {
            const NAMES: &'static [&'static str] = &[$(settings!(@name $field $($rename)?),)*];

            fn report(&mut self, diags: &mut Diagnostics) {
                $(self.$field.report(diags);)*
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $rename:literal) => { $rename };
}

settings! {
    /// `#[service(..)]`
    ServiceArgs {
        codec: Codec,
        krate ("crate"): KratePath,
        description: Text<Description>,
        metadata: Metadata,
        name: Text<ServiceName>,
        queue_group: QueueGroup,
        skip: Flag,
        subject_prefix: Text<Prefix>,
        timeout: Period,
        version: Text<Version>,
    }
}

settings! {
    /// `#[endpoint(..)]`
    EndpointArgs {
        max_in_flight: Number<1, { u32::MAX as u64 }>,
        metadata: Metadata,
        name: Text<MethodName>,
        proto_name: Text<ProtoName>,
        queue_group: QueueGroup,
        skip: Flag,
        timeout: Period,
    }
}

settings! {
    /// `#[stream(..)]`
    StreamArgs {
        window: Number<1, 65_536>,
    }
}

settings! {
    /// `#[kv_store(..)]`
    KvStoreArgs {
        bucket: Text<Bucket>,
        client_only: Flag,
        compression: Flag,
        description: Text<Description>,
        key: Key,
        key_ttl: Period,
        marker_ttl: Period,
        max_bytes: Bytes<{ i64::MAX as u64 }>,
        max_consumers: Number<1, { i32::MAX as u64 }>,
        max_history: Number<1, 64>,
        max_value_size: Bytes<{ i32::MAX as u64 }>,
        metadata: Metadata,
        persist: OneOf<Persist>,
        purge_ttl: Period,
        replicas: Number<1, 5>,
        storage: OneOf<Storage>,
        ttl: Period,
        write: OneOf<Write>,
    }
}

settings! {
    /// `#[object_store(..)]`
    ObjectStoreArgs {
        bucket: Text<Bucket>,
        client_only: Flag,
        compression: Flag,
        description: Text<Description>,
        key: Key,
        max_bytes: Bytes<{ i64::MAX as u64 }>,
        max_consumers: Number<1, { i32::MAX as u64 }>,
        persist: OneOf<Persist>,
        replicas: Number<1, 5>,
        storage: OneOf<Storage>,
        ttl: Period,
    }
}

settings! {
    /// `#[kv_delete(..)]`
    KvDeleteArgs {
        bucket: Text<Bucket>,
        key: Key,
        persist: OneOf<Persist>,
        purge: Flag,
    }
}

settings! {
    /// `#[service_error(..)]`
    ServiceErrorArgs {
        krate ("crate"): KratePath,
    }
}

/// The settings of an attribute as far as they could be read.
#[derive(Debug)]
pub(crate) struct Read<T> {
    pub(crate) args: T,
    /// Whether a setting that seems to be missing can be among those that were not understood; one error is enough then.
    pub(crate) has_unknown: bool,
}

/// Reads the settings of the attribute `attr`, such as `kv_store`.
pub(crate) fn read<T: Settings>(
    attr: &str,
    tokens: TokenStream,
    diags: &mut Diagnostics,
) -> Read<T> {
    let nothing = || Read {
        args: T::default(),
        has_unknown: true,
    };
    let items = match NestedMeta::parse_meta_list(tokens) {
        Ok(items) => items,
        Err(error) => {
            diags.push(syn::Error::new(
                error.span(),
                format!("the settings of `#[{attr}]` are written `name = value`, with commas between them"),
            ));
            return nothing();
        }
    };
    if let Some(literal) = items.iter().find(|item| matches!(item, NestedMeta::Lit(_))) {
        diags.push(unnamed(attr, literal, &items));
        return nothing();
    }
    let (items, has_unknown) = sort_out(items, T::NAMES, diags);
    match T::from_list(&items) {
        Ok(mut args) => {
            args.report(diags);
            Read { args, has_unknown }
        }
        // Not reached: no `Setting` fails, and nothing unknown or repeated is left.
        Err(error) => {
            for error in error.flatten() {
                diags.push(error.into());
            }
            nothing()
        }
    }
}

/// `#[kv_store("b", "k")]`: one error at the first literal, and the settings these literals were probably meant for.
fn unnamed(attr: &str, first: &NestedMeta, items: &[NestedMeta]) -> syn::Error {
    let names: &[&str] = match attr {
        "kv_store" | "object_store" | "kv_delete" => &["bucket", "key"],
        "stream" => &["window"],
        _ => &["name"],
    };
    let literals = items.iter().filter_map(|item| match item {
        NestedMeta::Lit(lit @ syn::Lit::Int(_)) if attr == "stream" => {
            Some(lit.to_token_stream().to_string())
        }
        NestedMeta::Lit(lit @ syn::Lit::Str(_)) if attr != "stream" => {
            Some(lit.to_token_stream().to_string())
        }
        _ => None,
    });
    let written: Vec<String> = names
        .iter()
        .zip(literals)
        .map(|(name, literal)| format!("{name} = {literal}"))
        .collect();
    if written.is_empty() {
        return error(first, "expected `name = value`");
    }
    error_with_help(
        first,
        "expected `name = value`",
        format!("write `{}`", written.join(", ")),
    )
}

/// Reports unknown and repeated settings and leaves the others; says whether there was an unknown one.
fn sort_out(
    items: Vec<NestedMeta>,
    names: &[&str],
    diags: &mut Diagnostics,
) -> (Vec<NestedMeta>, bool) {
    let mut seen: Vec<String> = Vec::new();
    let mut has_unknown = false;
    let items = items
        .into_iter()
        .filter(|item| {
            let path = match item {
                NestedMeta::Meta(meta) => meta.path(),
                NestedMeta::NameValueInvalidExpr(pair) => &pair.path,
                NestedMeta::Lit(_) => return false,
            };
            let name = value::setting_name(path);
            if !names.contains(&name.as_str()) {
                diags.push(unknown::error(path, &name, names));
                has_unknown = true;
                return false;
            }
            if seen.contains(&name) {
                diags.error(path, format!("`{name}` is set twice"));
                return false;
            }
            seen.push(name);
            true
        })
        .collect();
    (items, has_unknown)
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
