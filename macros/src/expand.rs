//! From a [`Service`] to code.
//!
//! Assumes the model, and `broken` if any error was reported. Guarantees, for a sound model, the trait, the descriptor, the server and
//! the client; for a broken one the same names with the same signatures and nothing behind them, so that code that uses them gets no
//! second error. All paths start at `::core` or at the runtime; nothing relies on a prelude or an import of the user's. Methods are called
//! by their path, or take `self` as it is and are inherent, so that no trait of the user's that has methods for everything is asked.

mod accessors;
mod client;
mod declaration;
mod descriptor;
mod fallback;
mod server;
mod store;
mod warnings;

use std::fmt::Display;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{format_ident, quote};

use crate::krate::Krate;
use crate::model::{Method, Service};

/// Everything that `#[service]` emits but the errors.
pub(crate) fn service(service: &Service, broken: bool) -> TokenStream {
    let expander = Expander {
        service,
        krate: &service.krate,
        private: service.krate.private(),
        broken,
    };
    let declaration = declaration::service_trait(&expander);
    if service.args.skip.get().is_some_and(|skip| skip.0) {
        return declaration;
    }
    let items = [
        declaration,
        descriptor::type_(&expander),
        if broken {
            fallback::descriptor(&expander)
        } else {
            descriptor::constants(&expander)
        },
        if broken {
            TokenStream::new()
        } else {
            descriptor::describe(&expander)
        },
        if broken {
            TokenStream::new()
        } else {
            warnings::all(&expander)
        },
        if broken {
            TokenStream::new()
        } else {
            server::dispatch(&expander)
        },
        server::alias(&expander),
        client::type_(&expander),
        client::methods(&expander),
        if broken {
            fallback::client(&expander)
        } else {
            client::implementation(&expander)
        },
    ];
    items.into_iter().collect()
}

/// What every part of the expansion needs.
struct Expander<'a> {
    service: &'a Service,
    krate: &'a Krate,
    /// The runtime's module for generated code, `#p` in what follows.
    private: Krate,
    broken: bool,
}

impl Expander<'_> {
    fn descriptor(&self) -> Ident {
        self.service.derived("Descriptor")
    }

    fn client(&self) -> Ident {
        self.service.derived("Client")
    }

    /// The body of a generated function, with its braces; there is nothing in it behind a service with mistakes.
    fn body(&self, body: TokenStream) -> Group {
        let body = if self.broken {
            quote!(::core::unimplemented!())
        } else {
            body
        };
        Group::new(Delimiter::Brace, body)
    }

    /// The attributes of every item made from the trait: it is there if the trait is, and does not warn if the user does not use it.
    fn item_attrs(&self) -> TokenStream {
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
    fn allow_deprecated<'m>(
        &self,
        mut methods: impl Iterator<Item = &'m Method>,
    ) -> Option<TokenStream> {
        let deprecated = self.service.deprecated || methods.any(|method| method.attrs.deprecated);
        (deprecated && !self.broken).then(|| quote!(#[allow(deprecated)]))
    }

    /// A name for the type of an implementation that is not the trait's own.
    fn implementation(&self) -> Ident {
        let name = if self.service.ident == "S" { "T" } else { "S" };
        format_ident!("{name}", span = Span::call_site())
    }
}

/// The text of a doc comment for `#[doc = ..]`. `///` inside `quote!` would show `#name` as written.
fn doc(text: impl Display) -> String {
    format!(" {text}")
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
