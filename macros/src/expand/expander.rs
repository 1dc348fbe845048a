//! What every part of the expansion needs: the service, the path of the runtime, and the names of what is generated.
//!
//! Assumes the model. Knows whether an error was reported, when nothing stands in the bodies of what is generated.

use std::fmt::Display;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{format_ident, quote};

use crate::krate::Krate;
use crate::model::method::Method;
use crate::model::service::Service;

/// What every part of the expansion needs.
pub(super) struct Expander<'a> {
    pub(super) service: &'a Service,
    pub(super) krate: &'a Krate,
    /// The runtime's module for generated code, `#p` in what follows.
    pub(super) private: Krate,
    pub(super) broken: bool,
}

impl<'a> Expander<'a> {
    pub(super) fn new(service: &'a Service, broken: bool) -> Self {
        Self {
            service,
            krate: &service.krate,
            private: service.krate.private(),
            broken,
        }
    }

    pub(super) fn descriptor(&self) -> Ident {
        self.service.derived("Descriptor")
    }

    pub(super) fn client(&self) -> Ident {
        self.service.derived("Client")
    }

    /// The body of a generated function, with its braces; there is nothing in it behind a service with mistakes.
    pub(super) fn body(&self, body: TokenStream) -> Group {
        let body = if self.broken {
            quote!(::core::unimplemented!())
        } else {
            body
        };
        Group::new(Delimiter::Brace, body)
    }

    /// The attributes of every item made from the trait: it is there if the trait is, and does not warn if the user does not use it.
    pub(super) fn item_attrs(&self) -> TokenStream {
        let cfgs = &self.service.cfgs;
        let broken = self
            .broken
            .then(|| quote!(#[allow(unused_variables, deprecated)]));
        // rustc has already spoken about the trait's name, or was told not to.
        let name = self.service.name();
        let is_unusual = name.contains('_') || name.starts_with(char::is_lowercase);
        let unusual = is_unusual.then(|| quote!(#[allow(non_camel_case_types)]));
        quote!(#(#cfgs)* #[allow(dead_code)] #unusual #broken)
    }

    /// Lets generated code name what the user has deprecated.
    pub(super) fn allow_deprecated<'m>(
        &self,
        mut methods: impl Iterator<Item = &'m Method>,
    ) -> Option<TokenStream> {
        let deprecated = self.service.deprecated || methods.any(|method| method.attrs.deprecated);
        (deprecated && !self.broken).then(|| quote!(#[allow(deprecated)]))
    }

    /// A name for the type of an implementation that is not the trait's own.
    pub(super) fn implementation(&self) -> Ident {
        let name = if self.service.ident == "S" { "T" } else { "S" };
        format_ident!("{name}", span = Span::call_site())
    }
}

/// The text of a doc comment for `#[doc = ..]`. `///` inside `quote!` would show `#name` as written.
pub(super) fn doc(text: impl Display) -> String {
    format!(" {text}")
}
