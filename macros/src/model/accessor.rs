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

/// What a generated function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessorKind {
    /// Gives a handle on the store.
    Handle,
    /// Reads an entry.
    Get,
    /// Writes an entry.
    Put,
    /// Calls the method if the store does not have the response.
    Cached,
    /// Makes the key of an entry.
    Key,
    /// Makes a pattern of keys.
    Pattern,
}

/// How a generated function is declared.
#[derive(Debug)]
pub(crate) struct Signature<'a> {
    pub(crate) is_async: bool,
    pub(crate) takes_self: bool,
    pub(crate) parameters: Vec<Parameter<'a>>,
    pub(crate) returns: Returns,
}

/// A parameter of a generated function.
#[derive(Debug)]
pub(crate) enum Parameter<'a> {
    /// The key of an entry.
    Key,
    /// A response of the method.
    Value,
    /// The request of the method, if it takes one.
    Request,
    /// The value of a placeholder.
    Field {
        placeholder: (Source, &'a str),
        ident: Ident,
        /// Whether the value can be left open.
        is_open: bool,
    },
}

/// What a generated function returns.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Returns {
    Handle,
    /// The response, if there is an entry, or an error of the store.
    Entry,
    /// The revision of the entry, or an error of the store.
    Revision,
    CachedCall,
    Key,
    Pattern,
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
        let what = match store.kind {
            StoreKind::Kv => "kv",
            StoreKind::Object => "object_store",
        };
        add(format!("{method}_{what}"), AccessorKind::Handle, store);
        add(
            format!("get_{method}_from_{what}"),
            AccessorKind::Get,
            store,
        );
        add(format!("put_{method}_to_{what}"), AccessorKind::Put, store);
    }
    accessors
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
    pub(crate) fn signature(&self) -> Signature<'a> {
        let template = &self.store.usage.key;
        let is_pattern = self.kind == AccessorKind::Pattern;
        let fields = || {
            let arguments = key_arguments(template).into_iter();
            arguments.map(|(placeholder, ident)| Parameter::Field {
                placeholder,
                ident,
                is_open: is_pattern && template.is_token(placeholder),
            })
        };
        let (takes_self, is_async, parameters, returns) = match self.kind {
            AccessorKind::Handle => (true, false, Vec::new(), Returns::Handle),
            AccessorKind::Get => (true, true, vec![Parameter::Key], Returns::Entry),
            AccessorKind::Put => {
                let parameters = vec![Parameter::Key, Parameter::Value];
                (true, true, parameters, Returns::Revision)
            }
            AccessorKind::Cached => (true, false, vec![Parameter::Request], Returns::CachedCall),
            AccessorKind::Key => (false, false, fields().collect(), Returns::Key),
            AccessorKind::Pattern => (false, false, fields().collect(), Returns::Pattern),
        };
        Signature {
            is_async,
            takes_self,
            parameters,
            returns,
        }
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
