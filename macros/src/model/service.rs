//! The trait.

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Generics, LitStr, Token, TraitItem, TypeParamBound, Visibility};

use super::method::{Method, OwnGroup};
use crate::args::composite::{Codec, Metadata};
use crate::args::quantity::Period;
use crate::krate::Krate;

/// A trait under `#[service]`.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) krate: Krate,
    pub(crate) settings: ServiceSettings,
    /// The user's attributes on the trait.
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) cfgs: Vec<Attribute>,
    /// An `#[async_trait]` among them; reported.
    pub(crate) async_trait: Option<Attribute>,
    pub(crate) deprecated: bool,
    pub(crate) vis: Visibility,
    pub(crate) unsafety: Option<Token![unsafe]>,
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) supertraits: Punctuated<TypeParamBound, Token![+]>,
    pub(crate) items: Vec<Item>,
}

/// An item of the trait.
#[derive(Debug)]
pub(crate) enum Item {
    Method(Box<Method>),
    /// Not allowed, but kept: the implementations have it too.
    Other(Box<TraitItem>),
}

/// The settings of `#[service]`, and their defaults.
#[derive(Debug)]
pub(crate) struct ServiceSettings {
    /// The name under which the service is discovered.
    pub(crate) name: LitStr,
    pub(crate) subject_prefix: LitStr,
    pub(crate) version: Option<LitStr>,
    pub(crate) description: Option<LitStr>,
    /// Documentation that would be the description if the macro could read it.
    pub(crate) unreadable_doc: Option<Expr>,
    pub(crate) timeout: Option<Period>,
    pub(crate) codec: Codec,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) queue_group: OwnGroup,
    /// Whether only the trait is generated.
    pub(crate) skipped: bool,
}

impl Service {
    /// The trait's name without `r#`, as it shows on NATS and in messages.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// `UserServiceClient` for the suffix `Client`; keeps the span of the trait's name, so that "go to definition" leads there.
    pub(crate) fn derived(&self, suffix: &str) -> Ident {
        Ident::new(
            &format!("{}{suffix}", self.ident.unraw()),
            self.ident.span(),
        )
    }

    /// All methods but repeated ones, in the order of the trait.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &Method> {
        self.items.iter().filter_map(|item| match item {
            Item::Method(method) if !method.repeated => Some(&**method),
            _ => None,
        })
    }

    /// The methods of the trait, to change them.
    pub(crate) fn methods_mut(&mut self) -> impl Iterator<Item = &mut Method> {
        self.items.iter_mut().filter_map(|item| match item {
            Item::Method(method) => Some(&mut **method),
            Item::Other(_) => None,
        })
    }

    /// The methods that are on NATS.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Method> {
        self.methods().filter(|method| !method.endpoint.skipped)
    }
}
