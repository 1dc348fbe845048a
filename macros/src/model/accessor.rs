//! The functions of the client that are generated for the stores of a method.
//!
//! Assumes the stores of one method, at most one of each kind, the key-value store first. Guarantees that this is the only place that
//! gives these functions their names: `validate` looks for names that are taken, and `expand` writes the functions.

use proc_macro2::{Ident, Span};

use super::store::Store;
use crate::attribute::StoreKind;
use crate::key::{Source, Template, field_ident};

/// A generated function.
#[derive(Debug)]
pub(crate) struct Accessor<'a> {
    pub(crate) name: String,
    pub(crate) kind: AccessorKind,
    /// The store that it is generated for.
    pub(crate) store: &'a Store,
}

/// What a generated function does, and with it its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessorKind {
    /// Gives a handle on the store: `fn m_kv(&self) -> KvStore<Response>`.
    Handle,
    /// Reads an entry: `async fn get_m_from_kv(&self, key) -> Result<Option<Response>, StoreError>`.
    Get,
    /// Writes an entry: `async fn put_m_to_kv(&self, key, value) -> Result<u64, StoreError>`.
    Put,
    /// Calls the method if the store does not have the response: `fn m_cached(&self, request) -> CachedCall<Response, Error>`.
    Cached,
    /// Makes the key of an entry: `fn m_key(fields..) -> Result<Key, InvalidKey>`.
    Key,
    /// Makes a pattern of keys: `fn m_pattern(fields..) -> Result<Pattern, InvalidKey>`.
    Pattern,
}

/// A parameter of a function that makes keys or patterns.
#[derive(Debug)]
pub(crate) struct Field<'a> {
    pub(crate) placeholder: (Source, &'a str),
    pub(crate) ident: Ident,
    /// Whether the value can be left open.
    pub(crate) is_open: bool,
}

/// All that is generated for the stores of the method called `method`.
pub(crate) fn accessors<'a>(method: &str, stores: &'a [Store]) -> Vec<Accessor<'a>> {
    let mut accessors = Vec::new();
    let mut add = |name, kind, store| accessors.push(Accessor { name, kind, store });
    for (store, suffix, pattern) in keys(stores) {
        add(format!("{method}{suffix}"), AccessorKind::Key, store);
        if can_be_open(&store.usage.key) && store.kind == StoreKind::Kv {
            add(format!("{method}{pattern}"), AccessorKind::Pattern, store);
        }
    }
    if let Some(store) = stores.iter().find(|store| is_known_before_the_call(store)) {
        add(format!("{method}_cached"), AccessorKind::Cached, store);
    }
    for store in stores {
        let what = suffix(store.kind);
        add(handle_name(method, store.kind), AccessorKind::Handle, store);
        add(
            format!("get_{method}_from_{what}"),
            AccessorKind::Get,
            store,
        );
        add(format!("put_{method}_to_{what}"), AccessorKind::Put, store);
    }
    accessors
}

/// The name of the function that gives a handle on a store, which those that read and write it use.
pub(crate) fn handle_name(method: &str, kind: StoreKind) -> String {
    format!("{method}_{}", suffix(kind))
}

fn suffix(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Kv => "kv",
        StoreKind::Object => "object_store",
    }
}

/// The stores whose keys are made by functions, with the suffixes of these functions: one pair of functions where the templates agree.
fn keys(stores: &[Store]) -> Vec<(&Store, &'static str, &'static str)> {
    let named = stores.iter().filter(|store| !store.usage.key.is_missing());
    match named.collect::<Vec<_>>().as_slice() {
        [kv, object] if !kv.usage.key.same_keys(&object.usage.key) => {
            // Names of objects have no patterns.
            vec![(kv, "_kv_key", "_kv_pattern"), (object, "_object_key", "")]
        }
        [store, ..] => vec![(store, "_key", "_pattern")],
        [] => Vec::new(),
    }
}

/// Whether a pattern of such keys can leave anything open.
fn can_be_open(template: &Template) -> bool {
    let mut placeholders = template.placeholders();
    placeholders.any(|placeholder| template.is_token(placeholder))
}

/// Whether the key needs nothing of the response, so that the store can be asked before the service.
fn is_known_before_the_call(store: &Store) -> bool {
    let key = &store.usage.key;
    !key.is_missing() && key.fields(Source::Response).next().is_none()
}

impl<'a> Accessor<'a> {
    /// The parameters of a function that makes keys or patterns.
    pub(crate) fn fields(&self) -> Vec<Field<'a>> {
        let template = &self.store.usage.key;
        let can_be_open = self.kind == AccessorKind::Pattern;
        let arguments = key_arguments(template).into_iter();
        let fields = arguments.map(|(placeholder, ident)| Field {
            placeholder,
            ident,
            is_open: can_be_open && template.is_token(placeholder),
        });
        fields.collect()
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
