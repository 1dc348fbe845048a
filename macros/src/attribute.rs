//! The attributes of this crate by name, and the two kinds of stores.
//!
//! Assumes nothing. What each attribute accepts is in `args`.

use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, Path, Token};

use crate::diag::error_with_help;

/// The kinds of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum StoreKind {
    Kv,
    Object,
}

/// An attribute of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttrName {
    Service,
    Endpoint,
    Stream,
    Store(StoreKind),
    KvDelete,
    ServiceError,
}

impl AttrName {
    /// The attributes that `#[service]` understands on a method.
    pub(crate) const OF_METHODS: [Self; 5] = [
        Self::Endpoint,
        Self::Stream,
        Self::Store(StoreKind::Kv),
        Self::Store(StoreKind::Object),
        Self::KvDelete,
    ];

    /// As it is written between `#[` and `]`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Endpoint => "endpoint",
            Self::Stream => "stream",
            Self::Store(StoreKind::Kv) => "kv_store",
            Self::Store(StoreKind::Object) => "object_store",
            Self::KvDelete => "kv_delete",
            Self::ServiceError => "service_error",
        }
    }

    /// The attribute of a method that a path names. The last segment decides: the runtime can be imported under any name.
    pub(crate) fn of_method(path: &Path) -> Option<Self> {
        let last = &path.segments.last()?.ident;
        let mut names = Self::OF_METHODS.into_iter();
        names.find(|name| last == name.as_str())
    }

    /// The error for an attribute of methods that stands on the trait itself.
    pub(crate) fn on_the_trait(self, attr: impl ToTokens) -> syn::Error {
        let help = match self {
            Self::Stream => {
                "every stream has its own window; move it above the method that streams"
            }
            Self::KvDelete => "move it above the method whose success makes the entry stale",
            Self::Store(_) => {
                "every method has its own key; move it above the method whose response is stored"
            }
            Self::Endpoint | Self::Service | Self::ServiceError => {
                "the settings of all methods go into `#[service(..)]`; those of one method above it"
            }
        };
        let message = format!("`#[{}]` goes on a method", self.as_str());
        error_with_help(attr, message, help)
    }
}

/// Whether an attribute decides over the existence of its item: `#[cfg(..)]`, also in a `#[cfg_attr(.., cfg(..))]`.
pub(crate) fn is_cfg(attr: &Attribute) -> bool {
    attr.path().is_ident("cfg")
        || conditional(attr)
            .iter()
            .any(|meta| meta.path().is_ident("cfg"))
}

/// The attributes in a `#[cfg_attr(condition, attributes..)]`.
pub(crate) fn conditional(attr: &Attribute) -> Vec<Meta> {
    if !attr.path().is_ident("cfg_attr") {
        return Vec::new();
    }
    let metas = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    metas
        .map(|metas| metas.into_iter().skip(1).collect())
        .unwrap_or_default()
}
